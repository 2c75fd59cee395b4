"""Where labels go: apart from each other, and as near to what they name as that allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

Box = tuple[float, float, float, float]
"""left, bottom, right, top"""


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in the same order, at least `gap` apart and within low..high.

    They are the nearest in the sense of least squares (isotonic regression on wanted - rank x gap). Where
    low..high has no room for all, they start at `low` and run past `high`.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    blocks: list[tuple[float, int]] = []  # (mean, size), means ascending
    for rank, index in enumerate(order):
        mean, size = wanted[index] - rank * gap, 1
        while blocks and blocks[-1][0] >= mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    level = [mean for mean, size in blocks for _ in range(size)]
    top = max(low, high - (len(wanted) - 1) * gap)
    placed = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        placed[index] = min(max(level[rank], low), top) + rank * gap
    return placed


def wrap(words: Sequence[str], width_of: Callable[[str], float], width: float) -> list[str]:
    """Words joined by spaces into lines no wider than `width` (a word wider than that stands alone)."""
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def thin(centres: Sequence[float], widths: Sequence[float], gap: float) -> list[int]:
    """Indices of the labels to keep so that none touch, every second, third ... and always the last."""
    count = len(centres)
    for step in range(1, count + 1):
        kept = list(range(count - 1, -1, -step))[::-1]
        if all(centres[b] - centres[a] >= (widths[a] + widths[b]) / 2 + gap for a, b in pairwise(kept)):
            return kept
    return [count - 1] if count else []


def find_room(
    candidates: Iterable[Box], points: Iterable[tuple[float, float]], taken: Iterable[Box]
) -> Box | None:
    """The first candidate that covers none of the points and overlaps none of the boxes; None if all do."""
    points, taken = list(points), list(taken)
    for box in candidates:
        left, bottom, right, top = box
        covers = any(left <= x <= right and bottom <= y <= top for x, y in points)
        if not covers and not any(overlap(box, other) for other in taken):
            return box
    return None


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes share more than an edge."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
