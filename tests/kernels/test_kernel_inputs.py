"""What comes before the kernels: autocast, padding of odd dims, the way round autograd."""

from __future__ import annotations

import pytest
import torch
from calls import NAMES, call, detached, draw
from lightning_attention import lightning_attention, lightning_attention_step
from recurrence import DTYPES, LIMITS, gradients, make_inputs, recurrence, relative_rms

f16, f32 = torch.float16, torch.float32


@pytest.mark.parametrize("mixed", [False, True])
def test_autocast_casts_q_k_v_alone(device, mixed):
    x = make_inputs(device, f32, tokens=20, heads=1)
    if mixed:
        x.k = x.k.detach().to(f16).requires_grad_()
    rounded = [t.detach().to(f16).requires_grad_() for t in (x.q, x.k, x.v)]
    state = x.initial_state.detach().requires_grad_()
    wanted = lightning_attention(*rounded, x.slopes, initial_state=state, output_final_state=True)
    with torch.autocast(device.type, dtype=f16):
        outputs = lightning_attention(*x.sequence, initial_state=x.initial_state, output_final_state=True)
    assert [o.dtype for o in outputs] == [f16, f32]
    upstream = draw(outputs)
    found = gradients(outputs, x.differentiable, upstream)
    assert [g.dtype for g in found] == [t.dtype for t in x.differentiable]
    expected = gradients(wanted, [*rounded, state], upstream)
    for a, b in zip((*outputs, *found), (*wanted, *expected), strict=True):
        assert torch.equal(a, b.to(a.dtype))


@torch.no_grad()
def test_autocast_of_a_step_casts_q_k_v_alone(device):
    x = make_inputs(device, f32, tokens=1, heads=1)
    one = [t[:, 0] for t in (x.q, x.k, x.v)]
    wanted = lightning_attention_step(*(t.to(f16) for t in one), x.slopes, x.initial_state)
    with torch.autocast(device.type, dtype=f16):
        outputs = lightning_attention_step(*one, x.slopes, x.initial_state)
    assert [o.dtype for o in outputs] == [f16, f32]
    for a, b in zip(outputs, wanted, strict=True):
        assert torch.equal(a, b)


def test_autocast_that_is_off_or_elsewhere_casts_nothing(device):
    x = make_inputs(device, f32, tokens=3)
    with torch.autocast(device.type, dtype=f16), torch.autocast(device.type, enabled=False):
        assert lightning_attention(*x.sequence)[0].dtype is f32
    if device.type == "cuda":
        with torch.autocast("cpu", dtype=f16):
            assert lightning_attention(*x.sequence)[0].dtype is f32


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [(17, 16), (18, 33), (24, 17), (20, 36)])
@pytest.mark.parametrize("packed", [False, True])
def test_dims_that_are_padded(device, dtype, dims, packed):
    tokens = 70 if torch.cuda.is_available() else 20
    cut = tokens // 2 - 5
    sizes = {"heads": 1, "dim": dims[0], "dim_out": dims[1], "states": 2 if packed else 1}
    x = make_inputs(device, dtype, tokens=tokens, **sizes)
    cu_seqlens = torch.tensor([0, cut, tokens], device=device) if packed else None
    outputs = call(x, cu_seqlens=cu_seqlens)
    assert all(o.is_contiguous() for o in outputs)
    expected = [
        recurrence(
            *(t[:, begin:end] for t in (x.q, x.k, x.v)),
            x.slopes,
            scale=0.6,
            initial_state=x.initial_state[n : n + 1],
        )
        for n, (begin, end) in enumerate([(0, cut), (cut, tokens)] if packed else [(0, tokens)])
    ]
    expected = [torch.cat([o for o, _ in expected], 1), torch.cat([final for _, final in expected])]
    upstream = draw(outputs)
    found = gradients(outputs, x.differentiable, upstream)
    wanted = gradients(expected, x.differentiable, upstream)
    for a, b in zip(outputs, expected, strict=True):
        assert a.shape == b.shape
        assert relative_rms(a, b) < LIMITS[dtype][0]
    for a, b in zip(found, wanted, strict=True):
        assert relative_rms(a, b) < LIMITS[dtype][1]


def test_kernels_get_no_rows_off_four_bytes(device, monkeypatch):
    from lightning_attention import autograd

    seen = []
    launch = autograd.launch_walk

    def record(q, k, v, *args, **kwargs):
        seen.extend((q.shape[-1], v.shape[-1]))
        return launch(q, k, v, *args, **kwargs)

    monkeypatch.setattr(autograd, "launch_walk", record)
    x = make_inputs(device, f16, tokens=3, dim=17, dim_out=20)
    outputs = call(x)
    gradients(outputs, x.differentiable, outputs)
    assert set(seen) == {24}


@pytest.mark.parametrize("how", ["no_grad", "inference_mode", "nothing requires a gradient"])
def test_without_gradients_autograd_is_not_entered(device, monkeypatch, how):
    from lightning_attention import autograd

    monkeypatch.setattr(
        autograd.LightningAttention, "apply", lambda *_: pytest.fail("entered autograd without need")
    )
    x = make_inputs(device, f32, tokens=3)
    if how == "nothing requires a gradient":
        o, final = call(detached(x))
    else:
        with getattr(torch, how)():
            o, final = call(x)
    assert not o.requires_grad
    assert not final.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_any_input_can_ask_for_a_gradient(device, name):
    x = detached(make_inputs(device, f32, tokens=3))
    getattr(x, name).requires_grad_()
    assert all(o.requires_grad for o in call(x))
