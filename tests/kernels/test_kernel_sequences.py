"""Segments of a sequence, and packed documents."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_attention import lightning_attention
from lightning_attention.shares import REACH
from recurrence import gradients, make_inputs, recurrence, relative_rms


@pytest.mark.parametrize(("tokens", "count"), [(1, 2), (100, 2), (150, 3), (200, 7)])
def test_segments_change_nothing(device, force_shares, tokens, count):
    x = make_inputs(device, torch.float32, tokens=tokens)
    slopes = torch.tensor([0.0, 1.5], device=device)
    force_shares(count)
    o, final = lightning_attention(
        x.q, x.k, x.v, slopes, initial_state=x.initial_state, output_final_state=True
    )
    expected, expected_final = recurrence(x.q, x.k, x.v, slopes, initial_state=x.initial_state)
    assert relative_rms(o, expected) < 2e-5
    assert relative_rms(final, expected_final) < 2e-5


@pytest.mark.parametrize("offsets", [[0, 20], [0, 0, 7, 7, 40, 40], [0, 65, 66]])
@pytest.mark.parametrize("count", [1, 2])
def test_packed_documents_do_not_see_each_other(device, force_shares, offsets, count):
    force_shares(count)
    documents = len(offsets) - 1
    x = make_inputs(device, torch.float32, tokens=offsets[-1], heads=1, states=documents)
    cu_seqlens = torch.tensor(offsets, device=device, dtype=torch.int32 if count == 1 else torch.int64)
    o, final = lightning_attention(
        *x.sequence, scale=0.5, initial_state=x.initial_state, output_final_state=True, cu_seqlens=cu_seqlens
    )
    expected, states = [], []
    for n in range(documents):
        part = slice(offsets[n], offsets[n + 1])
        state = x.initial_state[n : n + 1]
        if offsets[n] < offsets[n + 1]:
            y, state = recurrence(
                x.q[:, part], x.k[:, part], x.v[:, part], x.slopes, scale=0.5, initial_state=state
            )
            expected.append(y)
        states.append(state.double())
    outputs, wanted = [o, final], [torch.cat(expected, 1), torch.cat(states)]
    for a, b in zip(outputs, wanted, strict=True):
        assert relative_rms(a, b) < 2e-5
    upstream = [torch.linspace(-1, 1, a.numel(), device=device).view_as(a) for a in outputs]
    for a, b in zip(
        gradients(outputs, x.differentiable, upstream),
        gradients(wanted, x.differentiable, upstream),
        strict=True,
    ):
        assert relative_rms(a, b) < 2e-5


def test_offsets_outside_the_tokens_are_kept_inside(device):
    x = make_inputs(device, torch.float32, tokens=10, heads=1, states=2)
    o, _ = lightning_attention(*x.sequence, cu_seqlens=torch.tensor([-5, 4, 1000], device=device))
    right, _ = lightning_attention(*x.sequence, cu_seqlens=torch.tensor([0, 4, 10], device=device))
    assert torch.equal(o, right)


def read_cuts(slopes, *, sequences=1, tokens, slots, dtype=torch.float32, cu_seqlens=None):
    from lightning_attention.shares import share_out

    return share_out(slopes, cu_seqlens, sequences, tokens, slots, dtype)


@pytest.mark.parametrize(("tokens", "sequences"), [(65536, 1), (16384, 4), (131072, 1)])
def test_no_program_has_more_work_than_others(device, tokens, sequences):
    """ALiBi slopes of 16 heads on 132 programs; a token of warm-up is a part of one."""
    from lightning_attention.shares import WARM_UP_COST

    slopes = torch.tensor([2.0 ** (-(i + 1) / 2) for i in range(16)], device=device)
    given = {"sequences": sequences, "tokens": tokens, "slots": 132, "dtype": torch.bfloat16}
    rows, positions, before, _ = read_cuts(slopes, **given).cuts.cpu().unbind(1)
    work = (rows.long() * tokens + positions).diff() + WARM_UP_COST * before[:-1]
    assert work.max() < 1.03 * work.mean()


@settings(max_examples=40 if torch.cuda.is_available() else 12, deadline=None)
@given(
    sequences=st.integers(1, 5),
    tokens=st.integers(1, 20_000),
    heads=st.integers(1, 6),
    slots=st.integers(1, 40),
    slowest=st.floats(-20, 2),
)
def test_shares_cover_every_token_once(sequences, tokens, heads, slots, slowest):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    slopes = torch.exp2(torch.linspace(slowest + 8, slowest, heads)).to(device)
    shares = read_cuts(slopes, sequences=sequences, tokens=tokens, slots=slots)
    cuts = shares.cuts.cpu()
    rows, positions, before, after = cuts.unbind(1)
    assert len(cuts) == shares.num_programs + 1 <= slots + 1 or tokens * sequences < 128 * slots
    places = rows.long() * tokens + positions
    assert places[0] == 0
    assert places[-1] == heads * sequences * tokens
    assert (places.diff() >= 0).all()
    assert ((positions % 64 == 0) & (positions < tokens)).all()
    whole = positions == 0
    assert (before[whole] == 0).all()
    assert (after[whole] == 0).all()
    reach = REACH[torch.float32] / slopes.cpu()
    for row, position, ahead, behind in cuts[~whole].tolist():
        for warm_up, there in ((ahead, position), (behind, tokens - position)):
            if warm_up < 0:
                assert shares.carries
            else:
                assert warm_up == there or warm_up >= reach[row // sequences]


@pytest.mark.parametrize(
    "reach", [14_800.0, 14_911.5, 14_975.9, 14_976.1, 14_990.0, 15_010.0, 15_056.0, 15_200.0]
)
def test_states_are_carried_wherever_a_cut_says_so(device, reach):
    """A share of 15,000 tokens; windows just shorter and longer, which are rounded up to blocks."""
    shares = read_cuts(torch.tensor([REACH[torch.float32] / reach], device=device), tokens=60_000, slots=4)
    asked = bool((shares.cuts[:, 2:] < 0).any())
    assert shares.carries or not asked
    assert asked == (reach > 14_976)


@pytest.mark.parametrize("sequences", [1, 3])
def test_packed_cuts_lie_in_their_documents(device, sequences):
    bounds = [0, 0, 500, 501, 501, 2000, 4096, 4096]
    cu_seqlens = torch.tensor(bounds, device=device)
    slopes = torch.tensor([0.5, 1e-3, 0.0], device=device)[:sequences]
    shares = read_cuts(slopes, sequences=7, tokens=4096, slots=9, cu_seqlens=cu_seqlens)
    lengths = torch.tensor(bounds).diff()
    for row, position, before, after in shares.cuts.tolist()[:-1]:
        assert position <= lengths[row % 7]
        assert before <= position
        assert after <= lengths[row % 7] - position


def test_shares_are_even_where_rows_do_not_fill_the_card():
    from lightning_attention.shares import choose_programs

    assert choose_programs(16, 16 * 131072, 132) == (132, 0)
    assert choose_programs(1024, 1024 * 2048, 132) == (128, 8)  # whole rows, 97 % of the card
    assert choose_programs(128, 128 * 16384, 132) == (128, 1)
    assert choose_programs(144, 144 * 14563, 132) == (132, 0)
    assert choose_programs(1, 100, 132) == (1, 1)
    assert choose_programs(16, 16 * 128, 132) == (16, 1)
    assert choose_programs(16, 16 * 1024, 132) == (128, 0)
    for num_rows in range(1, 600):
        programs, each = choose_programs(num_rows, num_rows * 65536, 132)
        assert programs >= min(100, 64 * num_rows)
        assert each == 0 or (programs - 1) * each < num_rows <= programs * each


def test_shares_are_kept_until_slopes_change(device):
    slopes = torch.tensor([0.5, 0.01], device=device)
    first = read_cuts(slopes, tokens=5000, slots=4)
    assert read_cuts(slopes, tokens=5000, slots=4) is first
    slopes.mul_(0.5)
    assert read_cuts(slopes, tokens=5000, slots=4) is not first
