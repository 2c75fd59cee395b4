"""Segments of a sequence, and packed documents."""

from __future__ import annotations

import pytest
import torch
from lightning_attention import lightning_attention
from recurrence import gradients, make_inputs, recurrence, relative_rms


@pytest.mark.parametrize(("tokens", "count"), [(1, 2), (100, 2), (150, 3), (200, 7)])
def test_segments_change_nothing(device, force_segments, tokens, count):
    x = make_inputs(device, torch.float32, tokens=tokens)
    slopes = torch.tensor([0.0, 1.5], device=device)
    force_segments(count)
    o, final = lightning_attention(
        x.q, x.k, x.v, slopes, initial_state=x.initial_state, output_final_state=True
    )
    expected, expected_final = recurrence(x.q, x.k, x.v, slopes, initial_state=x.initial_state)
    assert relative_rms(o, expected) < 2e-5
    assert relative_rms(final, expected_final) < 2e-5


@pytest.mark.parametrize("offsets", [[0, 20], [0, 0, 7, 7, 40, 40], [0, 65, 66]])
@pytest.mark.parametrize("count", [1, 2])
def test_packed_documents_do_not_see_each_other(device, force_segments, offsets, count):
    force_segments(count)
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


def test_number_of_segments():
    from lightning_attention import segments

    sms, device = 132, torch.device("cuda", 0)
    original, segments.count_sms = segments.count_sms, lambda _: sms
    try:
        choose = segments.choose_segments
        assert choose(131072, 16, device) * 16 <= sms
        assert choose(131072, 16, device) > 1
        assert choose(2048, 1024, device) == 1
        assert choose(131072, 128, device) == 1
        assert choose(1, 1, device) == 1
        counts = [choose(tokens, 1, device) for tokens in range(1, 100_000, 999)]
        assert counts == sorted(counts)
    finally:
        segments.count_sms = original
    assert choose(131072, 1, torch.device("cpu")) == 1
