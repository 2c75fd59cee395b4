"""Decoding one token is the forward pass of one token."""

from __future__ import annotations

import pytest
import torch
from lightning_attention import lightning_attention, lightning_attention_step
from recurrence import DTYPES, LIMITS, make_inputs, relative_rms


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [(16, 16), (24, 50), (64, 128)])
@torch.no_grad()
def test_step_is_the_forward_of_one_token(device, dtype, dims):
    x = make_inputs(device, dtype, batch=2, tokens=1, dim=dims[0], dim_out=dims[1])
    expected, last = lightning_attention(
        *x.sequence, scale=0.3, initial_state=x.initial_state, output_final_state=True
    )
    before = x.initial_state.clone()
    o, state = lightning_attention_step(x.q[:, 0], x.k[:, 0], x.v[:, 0], x.slopes, x.initial_state, scale=0.3)
    assert o.dtype is dtype
    assert relative_rms(o, expected[:, 0]) < LIMITS[dtype][0]
    assert relative_rms(state, last) < LIMITS[dtype][0]
    assert torch.equal(x.initial_state, before)


@torch.no_grad()
def test_steps_in_place_follow_the_sequence(device):
    x = make_inputs(device, torch.float32, tokens=6)
    expected, last = lightning_attention(*x.sequence, output_final_state=True)
    cache = torch.zeros(1, 3, 2, 16, 16, device=device)  # [B, layers, H, D, E]
    state = cache[:, 1]
    for t in range(6):
        o, same = lightning_attention_step(x.q[:, t], x.k[:, t], x.v[:, t], x.slopes, state, inplace=True)
        assert same is state
        assert relative_rms(o, expected[:, t]) < 1e-5
    assert relative_rms(cache[:, 1], last) < 1e-5
    assert cache[:, [0, 2]].abs().max() == 0


def test_autograd_is_told_of_a_state_that_changed(device):
    x = make_inputs(device, torch.float32, tokens=1)
    w = torch.ones_like(x.initial_state, requires_grad=True)
    loss = (x.initial_state.detach() * w).sum()
    with torch.no_grad():
        one = (x.q[:, 0], x.k[:, 0], x.v[:, 0], x.slopes)
        lightning_attention_step(*one, x.initial_state.detach(), inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@torch.no_grad()
@pytest.mark.parametrize("inplace", [False, True])
def test_states_that_are_not_aligned(device, inplace):
    x = make_inputs(device, torch.float32, tokens=1)
    shifted = torch.cat([x.initial_state.new_zeros(1), x.initial_state.flatten()])[1:].view_as(
        x.initial_state
    )
    one = (x.q[:, 0], x.k[:, 0], x.v[:, 0], x.slopes)
    expected, last = lightning_attention_step(*one, x.initial_state)
    o, state = lightning_attention_step(*one, shifted, inplace=inplace)
    # Narrower loads sum in another order.
    torch.testing.assert_close(o, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(state, last, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_transposed_state_is_copied_or_refused(device):
    x = make_inputs(device, torch.float32, tokens=1)
    state = x.initial_state.transpose(-1, -2).contiguous().transpose(-1, -2)
    one = (x.q[:, 0], x.k[:, 0], x.v[:, 0], x.slopes)
    assert torch.equal(
        lightning_attention_step(*one, state)[1], lightning_attention_step(*one, x.initial_state)[1]
    )
    with pytest.raises(ValueError, match="inplace=True needs"):
        lightning_attention_step(*one, state, inplace=True)


def test_a_gradient_is_refused(device):
    x = make_inputs(device, torch.float32, tokens=1)
    with pytest.raises(ValueError, match="no gradient"):
        lightning_attention_step(x.q[:, 0], x.k[:, 0], x.v[:, 0], x.slopes, x.initial_state)
