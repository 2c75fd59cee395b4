"""Laws of placing labels."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbench.plot.labels import find_room, overlap, spread, thin, wrap

heights = st.lists(st.floats(-10, 10), max_size=30)


@given(heights, st.floats(0.01, 1))
@settings(deadline=None)
def test_spread_keeps_the_order_and_the_gap(wanted: list[float], gap: float) -> None:
    placed = spread(wanted, gap, -100, 100)
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    for below, above in pairwise(order):
        assert placed[above] - placed[below] >= gap * (1 - 1e-9)


@given(heights, st.floats(0.01, 1))
@settings(deadline=None)
def test_spread_stays_within_its_bounds_where_there_is_room(wanted: list[float], gap: float) -> None:
    low, high = 3.0, 3.0 + gap * len(wanted)
    assert all(low - 1e-9 <= y <= high + 1e-9 for y in spread(wanted, gap, low, high))


@given(st.lists(st.integers(-50, 50), unique=True, max_size=20))
@settings(deadline=None)
def test_spread_moves_nothing_that_is_apart(wanted: list[int]) -> None:
    assert spread(wanted, 0.5, -100, 100) == pytest.approx(wanted)


@given(st.lists(st.text("ab ", min_size=1, max_size=8), max_size=12), st.integers(1, 30))
@settings(deadline=None)
def test_wrap_keeps_every_word_and_the_width(words: list[str], width: int) -> None:
    lines = wrap(words, len, width)
    assert " ".join(lines) == " ".join(words)
    assert all(len(line) <= width or line in words for line in lines)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=20, unique=True), st.floats(0.05, 1))
@settings(deadline=None)
def test_thin_keeps_the_last_and_none_that_touch(centres: list[float], width: float) -> None:
    centres.sort()
    kept = thin(centres, [width] * len(centres), 0.05)
    assert kept[-1] == len(centres) - 1
    assert all(centres[b] - centres[a] >= width + 0.05 for a, b in pairwise(kept))


def test_find_room_takes_the_first_candidate_that_is_free() -> None:
    boxes = [(0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 2.0, 1.0), (2.0, 0.0, 3.0, 1.0)]
    assert find_room(boxes, [(0.5, 0.5)], [(1.5, 0.5, 1.6, 0.6)]) == boxes[2]
    assert find_room(boxes[:1], [(0.5, 0.5)], []) is None
    assert not overlap(boxes[0], boxes[1])
