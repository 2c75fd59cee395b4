"""Time on a line: every moment given to one of the things that went on in it, or to none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Span = tuple[float, float, str]
"""Start, end and what went on."""
IDLE = "idle"


def partition(spans: Iterable[Span], order: Sequence[str], window: tuple[float, float]) -> dict[str, float]:
    """How long each thing has the window: where several go on at once the first in `order` has the moment.

    Moments in which nothing goes on are IDLE, so the parts add up to the window.
    """
    first, last = window
    rank = {name: place for place, name in enumerate(order)}
    changes = []
    for start, end, name in spans:
        start, end = max(start, first), min(end, last)
        if end > start:
            changes += [(start, 1, rank[name]), (end, -1, rank[name])]
    parts = dict.fromkeys((*order, IDLE), 0.0)
    going_on = [0] * len(order)
    now = first
    for at, change, place in sorted(changes):
        parts[_foremost(going_on, order)] += at - now
        going_on[place] += change
        now = at
    parts[_foremost(going_on, order)] += last - now
    return parts


def gaps(spans: Iterable[Span]) -> list[tuple[float, float, int]]:
    """Stretches between the first start and the last end in which nothing goes on: (start, end, index).

    The index is that of the span, in the order of starts, which ends the gap.
    """
    found = []
    reached = None
    for index, (start, end, _) in enumerate(sorted(spans)):
        if reached is not None and start > reached:
            found.append((reached, start, index))
        reached = end if reached is None else max(reached, end)
    return found


def shares(parts: Mapping[str, float]) -> dict[str, float]:
    """Parts as shares of their sum; all 0 where there is nothing."""
    total = sum(parts.values())
    return {name: part / total if total else 0.0 for name, part in parts.items()}


def _foremost(going_on: Sequence[int], order: Sequence[str]) -> str:
    return next((name for name, count in zip(order, going_on, strict=True) if count), IDLE)
