"""Gradients against float64 autograd of the recurrence."""

from __future__ import annotations

import pytest
import torch
from lightning_attention import lightning_attention
from recurrence import DTYPES, LIMITS, gradients, make_inputs, recurrence, relative_rms

on_gpu = torch.cuda.is_available()


def check_gradients(x, slopes, *, scale=1.0, limit, with_final=True):
    o, final = lightning_attention(
        x.q, x.k, x.v, slopes, scale=scale, initial_state=x.initial_state, output_final_state=with_final
    )
    outputs = [o, final] if with_final else [o]
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(t.shape, generator=generator).to(t.device, t.dtype) for t in outputs]
    expected = recurrence(x.q, x.k, x.v, slopes, scale=scale, initial_state=x.initial_state)
    found = gradients(outputs, x.differentiable, upstream)
    wanted = gradients(expected[: len(outputs)], x.differentiable, upstream)
    for name, a, b in zip(("dq", "dk", "dv", "d_initial"), found, wanted, strict=True):
        if b.norm() == 0:
            assert a.norm() == 0, name
        else:
            assert relative_rms(a, b) < limit, name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tokens", [1, 17, 70] + [1000] * on_gpu)
def test_through_output_and_final_state(device, dtype, tokens):
    x = make_inputs(device, dtype, tokens=tokens)
    check_gradients(x, x.slopes, scale=0.6, limit=LIMITS[dtype][1])


@pytest.mark.parametrize(
    "dims", [(16, 24), (24, 17)] + [(128, 128), (256, 64), (64, 256), (256, 256)] * on_gpu
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dims(device, dtype, dims):
    x = make_inputs(device, dtype, tokens=70 if on_gpu else 18, heads=1, dim=dims[0], dim_out=dims[1])
    check_gradients(x, x.slopes, limit=LIMITS[dtype][1])


@pytest.mark.parametrize("slope", [0.0, 100.0])
def test_no_decay_and_steep_decay(device, slope):
    x = make_inputs(device, torch.float32, tokens=40, heads=1)
    check_gradients(x, torch.tensor([slope], device=device), limit=2e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_initial_state_that_decays_at_once(device, dtype):
    """Its gradient is 1e-7 of the others, below the range of fp16: states are fp32."""
    x = make_inputs(device, dtype, tokens=70, heads=1)
    check_gradients(x, torch.tensor([16.0], device=device), limit=LIMITS[dtype][1], with_final=False)


@pytest.mark.parametrize("scale", [0.0, -2.0, 1e-4])
def test_scales_also_zero(device, scale):
    x = make_inputs(device, torch.float32, tokens=20, heads=1)
    check_gradients(x, x.slopes, scale=scale, limit=2e-5)


def test_without_a_final_state(device):
    x = make_inputs(device, torch.float32, tokens=20)
    check_gradients(x, x.slopes, limit=2e-5, with_final=False)


@pytest.mark.parametrize("count", [2, 5])
def test_segments(device, force_shares, count):
    force_shares(count)
    x = make_inputs(device, torch.float32, tokens=150, heads=1, dim_out=24)
    check_gradients(x, torch.tensor([0.03], device=device), scale=0.6, limit=2e-5)


def test_final_state_alone(device):
    x = make_inputs(device, torch.float32, tokens=20)
    _, final = lightning_attention(*x.sequence, initial_state=x.initial_state, output_final_state=True)
    _, expected = recurrence(*x.sequence, initial_state=x.initial_state)
    inputs = [x.k, x.v, x.initial_state]
    for a, b in zip(
        torch.autograd.grad(final.sum(), inputs), torch.autograd.grad(expected.sum(), inputs), strict=True
    ):
        assert relative_rms(a, b) < 2e-5


@pytest.mark.parametrize("wanted", ["q", "k", "v", "initial_state"])
def test_only_what_is_asked_for(device, wanted):
    x = make_inputs(device, torch.float32, tokens=20)
    for name in ("q", "k", "v", "initial_state"):
        getattr(x, name).requires_grad_(name == wanted)
    o, _ = lightning_attention(*x.sequence, initial_state=x.initial_state)
    expected, _ = recurrence(*x.sequence, initial_state=x.initial_state)
    weights = torch.linspace(-1, 1, o.numel(), device=device).view_as(o)
    (found,) = torch.autograd.grad((o * weights).sum(), getattr(x, wanted))
    (right,) = torch.autograd.grad((expected * weights).sum(), getattr(x, wanted))
    assert relative_rms(found, right) < 2e-5


def test_an_output_gradient_that_is_not_dense(device):
    x = make_inputs(device, torch.float32, tokens=20, heads=1)
    o, _ = lightning_attention(*x.sequence)
    expected, _ = recurrence(*x.sequence)
    for a, b in zip(
        torch.autograd.grad(o.sum(), x.differentiable[:3]),  # its gradient is one number, expanded
        torch.autograd.grad(expected.sum(), x.differentiable[:3]),
        strict=True,
    ):
        assert relative_rms(a, b) < 2e-5


@pytest.mark.parametrize("through", ["q", "k", "upstream"])
def test_differentiable_once(device, through):
    x = make_inputs(device, torch.float32, tokens=5, heads=1)
    o, _ = lightning_attention(*x.sequence)
    upstream = torch.ones_like(o, requires_grad=True)
    (dq,) = torch.autograd.grad(o, x.q, upstream, create_graph=True)
    target = upstream if through == "upstream" else getattr(x, through)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(o.sum() + dq.sum(), target)
