"""The forward pass is the recurrence, for every length, dim, dtype and decay."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_attention import lightning_attention
from recurrence import DTYPES, LIMITS, blockwise, make_inputs, recurrence, relative_rms

on_gpu = torch.cuda.is_available()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 63, 100] + [1000] * on_gpu)
def test_is_the_recurrence_at_any_length(device, dtype, tokens):
    x = make_inputs(device, dtype, tokens=tokens)
    o, final = lightning_attention(
        *x.sequence, scale=0.7, initial_state=x.initial_state, output_final_state=True
    )
    expected, expected_final = recurrence(*x.sequence, scale=0.7, initial_state=x.initial_state)
    assert o.dtype is dtype
    assert o.is_contiguous()
    assert relative_rms(o, expected) < LIMITS[dtype][0]
    assert relative_rms(final, expected_final) < LIMITS[dtype][0]


@pytest.mark.parametrize(
    "dims", [(16, 24), (24, 16), (64, 17), (100, 64), (256, 40)] + [(256, 256), (40, 256)] * on_gpu
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dims_may_differ_and_be_no_power_of_two(device, dtype, dims):
    x = make_inputs(device, dtype, tokens=70 if on_gpu else 20, heads=1, dim=dims[0], dim_out=dims[1])
    o, final = lightning_attention(*x.sequence, initial_state=x.initial_state, output_final_state=True)
    expected, expected_final = recurrence(*x.sequence, initial_state=x.initial_state)
    assert relative_rms(o, expected) < LIMITS[dtype][0]
    assert relative_rms(final, expected_final) < LIMITS[dtype][0]


@pytest.mark.parametrize("slope", [0.0, 1e-7, 100.0, 1e30])
def test_decay_from_none_to_steepest(device, slope):
    x = make_inputs(device, torch.float32, tokens=70, heads=1)
    slopes = torch.tensor([slope], device=device)
    o, final = lightning_attention(
        x.q, x.k, x.v, slopes, initial_state=x.initial_state, output_final_state=True
    )
    expected, expected_final = recurrence(x.q, x.k, x.v, slopes, initial_state=x.initial_state)
    assert relative_rms(o, expected) < 2e-5
    assert relative_rms(final, expected_final) < 2e-5


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_old_token_ten_thousand_times_larger(device, dtype):
    x = make_inputs(device, dtype, tokens=100, heads=1)
    with torch.no_grad():
        x.v[:, 3] *= 1e4
        x.v /= 32  # the output must fit fp16; scores of the raised token do not
        x.k[:, 3] *= 64
    slopes = torch.tensor([0.05], device=device)
    o, _ = lightning_attention(x.q, x.k, x.v, slopes)
    expected, _ = recurrence(x.q, x.k, x.v, slopes)
    for rows in (slice(0, 50), slice(90, 100)):
        assert relative_rms(o[:, rows], expected[:, rows]) < 1.5 * LIMITS[dtype][0]


@pytest.mark.parametrize("slope", [1e-8, 3e-5, 1e-3, 0.0077, 0.0079, 0.1, 0.3])
def test_a_state_decays_by_the_right_factor(device, slope):
    x = make_inputs(device, torch.float32, tokens=96, heads=1)
    slopes = torch.tensor([slope], device=device)
    with torch.no_grad():
        _, final = lightning_attention(
            x.q, x.k * 0, x.v, slopes, initial_state=torch.ones_like(x.initial_state), output_final_state=True
        )
    lost = 1 - final.double() if slope * 96 < 1e-4 else final.double()
    expected = slopes.double() * -96
    expected = -torch.expm1(expected) if slope * 96 < 1e-4 else torch.exp(expected)
    assert (lost / expected - 1).abs().max().item() < (0.1 if slope * 96 < 1e-4 else 1e-5)


def test_scores_and_states_beyond_fp16_do_not_overflow(device):
    x = make_inputs(device, torch.float16, tokens=70, heads=1)
    with torch.no_grad():
        x.q *= 2000
        x.k *= 2000
        x.v *= 1e-4
    slopes = torch.zeros(1, device=device)
    o, _ = lightning_attention(x.q, x.k, x.v, slopes, scale=0.01)
    expected, _ = recurrence(x.q, x.k, x.v, slopes, scale=0.01)
    assert relative_rms(o, expected) < LIMITS[torch.float16][0]


def test_a_carried_state_continues_the_sequence(device):
    x = make_inputs(device, torch.float32, tokens=90)
    whole, last = lightning_attention(*x.sequence, output_final_state=True)
    outputs, state = [], None
    for part in (slice(0, 33), slice(33, 34), slice(34, 90)):
        o, state = lightning_attention(
            x.q[:, part], x.k[:, part], x.v[:, part], x.slopes, initial_state=state, output_final_state=True
        )
        outputs.append(o)
    assert relative_rms(torch.cat(outputs, 1), whole) < 1e-6
    assert relative_rms(state, last) < 1e-6


def test_sequences_and_heads_are_independent(device):
    x = make_inputs(device, torch.float32, batch=2, tokens=40, heads=2)
    whole, _ = lightning_attention(*x.sequence, initial_state=x.initial_state)
    for b in range(2):
        for h in range(2):
            one = (slice(b, b + 1), slice(None), slice(h, h + 1))
            o, _ = lightning_attention(
                *(t[one] for t in (x.q, x.k, x.v)),
                x.slopes[h : h + 1],
                initial_state=x.initial_state[b : b + 1, h : h + 1],
            )
            assert torch.equal(o, whole[one])


@pytest.mark.parametrize(
    "layout", ["heads first", "time first", "fused", "shifted", "strided", "expanded heads"]
)
def test_layouts_give_the_same_bits(device, layout):
    x = make_inputs(device, torch.float16, tokens=20)
    q, k, v = (t.detach() for t in (x.q, x.k, x.v))
    if layout == "expanded heads":
        k, v = (t[:, :, :1].contiguous() for t in (k, v))
        views = [q, *(t.expand(-1, -1, 2, -1) for t in (k, v))]
    else:
        views = [lay_out(t, layout) for t in (q, k, v)]
        assert all(torch.equal(view, t) for view, t in zip(views, (q, k, v), strict=True))
    expected, _ = lightning_attention(*(t.contiguous() for t in views), x.slopes)
    o, _ = lightning_attention(*views, x.slopes.expand(2))
    assert torch.equal(o, expected)


def lay_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values behind other strides."""
    if layout == "heads first":
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "time first":
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "fused":
        return torch.cat([x, x], -1)[..., : x.shape[-1]]
    if layout == "shifted":
        return torch.cat([x.new_zeros(1), x.flatten()])[1:].view_as(x)
    return torch.stack([x, x], -1)[..., 0]


@settings(max_examples=50 if on_gpu else 6, deadline=None)
@given(
    tokens=st.integers(1, 70 if on_gpu else 40),
    argument=st.sampled_from(["q", "k", "v"]),
    factors=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    seed=st.integers(0, 2**16),
)
def test_linear_in_each_of_q_k_v(tokens, argument, factors, seed):
    device = "cuda" if on_gpu else "cpu"
    x, y = (make_inputs(device, torch.float32, tokens=tokens, heads=1, seed=seed + i) for i in range(2))

    def run(value):
        return lightning_attention(**{"q": x.q, "k": x.k, "v": x.v, argument: value}, slopes=x.slopes)[0]

    first, second = getattr(x, argument), getattr(y, argument)
    mixed = run(factors[0] * first + factors[1] * second)
    parts = factors[0] * run(first) + factors[1] * run(second)
    size = (abs(factors[0]) * run(first).abs().max() + abs(factors[1]) * run(second).abs().max()).item()
    assert (mixed - parts).abs().max().item() <= 1e-5 * size + 1e-30


def test_the_references_agree(device):
    x = make_inputs(device, torch.float32, batch=2, tokens=77)
    for a, b in zip(
        recurrence(*x.sequence, scale=0.3, initial_state=x.initial_state),
        blockwise(*x.sequence, scale=0.3, initial_state=x.initial_state, block=16),
        strict=True,
    ):
        assert relative_rms(b, a) < 1e-13
