"""Calls that are prepared once give what calls prepared anew give, and are not mistaken for one another."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from lightning_attention import lightning_attention
from lightning_attention.facts import facts_of
from recurrence import gradients, make_inputs, recurrence, relative_rms
from torch.autograd import forward_ad

TOKENS = 70 if torch.cuda.is_available() else 20


@pytest.fixture
def x(device):
    return make_inputs(device, torch.float32, tokens=TOKENS, heads=2)


@pytest.fixture
def checks_made(monkeypatch):
    """A list that grows by one with every call that was not prepared."""
    from lightning_attention import interface

    made, check = [], interface.check_attention
    monkeypatch.setattr(interface, "check_attention", lambda *args: (made.append(args), check(*args)))
    return made


def run(q, k, v, slopes, **options):
    o, _ = lightning_attention(q, k, v, slopes, **options)
    return o, *torch.autograd.grad(o, (q, k, v), torch.linspace(-1, 1, o.numel(), device=o.device).view_as(o))


def test_the_second_call_is_not_checked_and_gives_the_same(x, checks_made):
    first = run(*x.sequence)
    assert len(checks_made) == 1
    for a, b in zip(first, run(*x.sequence), strict=True):
        assert torch.equal(a, b)
    y = [tensor.detach().flip(1).contiguous().requires_grad_() for tensor in (x.q, x.k, x.v)]
    found = run(*y, x.slopes)
    assert len(checks_made) == 1
    expected, _ = recurrence(*y, x.slopes)
    do = torch.linspace(-1, 1, expected.numel(), device=expected.device).view_as(expected)
    wanted = (expected, *gradients([expected], y, [do]))
    for a, b in zip(found, wanted, strict=True):
        assert relative_rms(a, b) < 2e-5


def other_calls(x):
    longer = [torch.cat([tensor.detach()] * 2, 1) for tensor in (x.q, x.k, x.v)]
    by_head = [tensor.detach().transpose(1, 2).contiguous().transpose(1, 2) for tensor in (x.q, x.k, x.v)]
    return {
        "length": (longer, {}),
        "scale": ([x.q, x.k, x.v], {"scale": 0.5}),
        "strides": (by_head, {}),
        "strides of one": ([x.q.detach(), by_head[1], x.v.detach()], {}),
        "batch": ([torch.cat([tensor.detach()] * 2) for tensor in (x.q, x.k, x.v)], {}),
        "half": ([tensor.detach().half() for tensor in (x.q, x.k, x.v)], {}),
    }


@pytest.mark.parametrize("name", ["length", "scale", "strides", "strides of one", "batch", "half"])
def test_another_call_is_not_taken_for_the_one_prepared(x, name):
    run(*x.sequence)
    tensors, options = other_calls(x)[name]
    o, _ = lightning_attention(*tensors, x.slopes, **options)
    expected, _ = recurrence(*tensors, x.slopes, **options)
    assert relative_rms(o, expected) < (1e-3 if name == "half" else 2e-5)


@pytest.mark.parametrize("how", ["in place", "data"])
def test_slopes_that_change_are_noticed(x, how):
    run(*x.sequence)
    if how == "in place":
        x.slopes.mul_(3)
    else:
        x.slopes.data = x.slopes * 3
    o, _ = lightning_attention(*x.sequence)
    assert relative_rms(o, recurrence(*x.sequence)[0]) < 2e-5


@pytest.mark.parametrize("packed", [False, True])
def test_changes_that_torch_does_not_count_make_no_kernel_read_states_that_nothing_carried(device, packed):
    length = 200_000 if torch.cuda.is_available() else 8192  # windows may be longer than a warm-up
    x = make_inputs(device, torch.float32, tokens=length, heads=1)
    cu_seqlens = torch.tensor([0, length], device=device) if packed else None
    with torch.inference_mode():
        slopes = torch.tensor([0.5], device=device)
        lightning_attention(x.q, x.k, x.v, slopes, cu_seqlens=cu_seqlens)
        slopes.mul_(1e-4)
        o, _ = lightning_attention(x.q, x.k, x.v, slopes, cu_seqlens=cu_seqlens)
        expected, _ = lightning_attention(x.q, x.k, x.v, slopes.clone(), cu_seqlens=cu_seqlens)
    assert relative_rms(o, expected) < 2e-5


def test_nothing_that_one_stream_made_is_handed_to_another(x, monkeypatch):
    from lightning_attention import prepared, shares

    run(*x.sequence)
    kept = facts_of(x.slopes)
    made = [len(kept[shares.SHARES]), len(kept[prepared.PREPARED])]
    for module in (shares, prepared):
        monkeypatch.setattr(module, "current_stream", lambda _: 7)
    run(*x.sequence)
    assert [len(kept[shares.SHARES]), len(kept[prepared.PREPARED])] == [2 * count for count in made]


def test_whole_scales_are_the_same_as_others(x):
    """Triton would compile a whole number into a kernel, which then served every scale."""
    from lightning_attention import prepared

    for _ in range(2):
        whole = run(*x.sequence, scale=2)
    for a, b in zip(whole, run(*x.sequence, scale=2.0), strict=True):
        assert torch.equal(a, b)
    known = facts_of(x.slopes)[prepared.PREPARED].values()
    assert [type(one.sequences.scale) for one in known] == [float]


def test_saved_tensors_may_come_back_with_other_strides(device):
    def pack(x):
        return torch.empty(x.shape, dtype=x.dtype, device=x.device).copy_(x)  # as torch's save_on_cpu does

    slopes = torch.tensor([0.3, 0.05], device=device)
    x = torch.randn(1, TOKENS, 2, 48, device=device, requires_grad=True)
    expected, _ = recurrence(*x.split(16, -1), slopes)
    (wanted,) = gradients([3 * expected], [x], [torch.ones_like(expected)])
    for _ in range(3):
        a, _ = lightning_attention(*x.split(16, -1), slopes)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
            b, _ = lightning_attention(*x.split(16, -1), slopes)
        (found,) = torch.autograd.grad([a, b], x, [torch.ones_like(a), torch.full_like(b, 2.0)])
        assert relative_rms(found, wanted) < 2e-5


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="an older torch")
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_torchs_newer_switch_of_tf32_is_asked(device, dtype):
    from lightning_attention.launch import allows_tf32

    x = make_inputs(device, dtype, tokens=TOKENS, heads=2)
    run(*x.sequence)
    before = torch.backends.cuda.matmul.fp32_precision
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        assert allows_tf32(x.q) == (dtype is torch.float32)
        for _ in range(2):
            run(*x.sequence)
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    assert not allows_tf32(x.q)


def test_forward_mode_is_refused(x):
    for _ in range(2):
        with forward_ad.dual_level():
            q = forward_ad.make_dual(x.q.detach(), torch.ones_like(x.q))
            with pytest.raises(RuntimeError, match="reverse mode"):
                lightning_attention(q, x.k.detach(), x.v.detach(), x.slopes)
            run(*x.sequence)


def test_bad_arguments_are_refused_after_good_ones(x):
    run(*x.sequence)
    q, k, v, slopes = x.sequence
    for bad in (
        (q, k[:, :-1], v, slopes),
        (q, k.double(), v, slopes),
        (q, None, v, slopes),
        (q, k, v, [0.1, 0.2]),
    ):
        with pytest.raises(ValueError, match="allowed"):
            lightning_attention(*bad)
    with pytest.raises(ValueError, match="scale"):
        lightning_attention(q, k, v, slopes, scale="1")
    x.slopes.neg_()
    with pytest.raises(ValueError, match="slopes has values"):
        lightning_attention(q, k, v, slopes)


@pytest.mark.parametrize("kind", ["expanded", "transposed", "one input"])
def test_output_gradients_of_any_layout(x, kind):
    run(*x.sequence)
    o, _ = lightning_attention(*x.sequence)
    expected, _ = recurrence(*x.sequence)
    wrt = [x.k] if kind == "one input" else [x.q, x.k, x.v]
    do = torch.ones(1, device=o.device).expand_as(o)
    if kind != "expanded":
        do = torch.randn(1, o.shape[2], o.shape[1], o.shape[3], device=o.device).transpose(1, 2)
    for a, b in zip(
        torch.autograd.grad(o, wrt, do), torch.autograd.grad(expected, wrt, do.double()), strict=True
    ):
        assert relative_rms(a, b) < 2e-5


def test_a_second_derivative_is_refused(x):
    run(*x.sequence)
    o, _ = lightning_attention(*x.sequence)
    (dq,) = torch.autograd.grad(o.sum(), x.q, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        dq.sum().backward()


def test_slopes_are_let_go(device):
    x = make_inputs(device, torch.float32, tokens=TOKENS, heads=2)
    run(*x.sequence)
    run(*x.sequence)
    gone = weakref.ref(x.slopes)
    x = None
    gc.collect()
    assert gone() is None
