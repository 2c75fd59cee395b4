"""One case over time: the processes that measured it, and the steps between them with the commit of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lbench.gates.evidence import mean, pooled
from lbench.gates.fingerprint import fingerprint, label
from lbench.gates.processes import Side, log_time
from lbench.statistics import t_quantile

LEVEL = 0.01
"""A series without a step shows one so often."""
LEAST = 2
"""Processes on either side of a step: one may be slow alone."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One process."""

    started_at: str
    run: str
    commit: str
    """Of the code under test; of lbench where that is not known."""
    time_ms: float
    """Its median."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change between two processes that stays."""

    index: int
    """Of the first process after it."""
    ratio: float
    """The level after it over the one before it."""
    low: float
    high: float
    """The 95 % interval."""
    before: Point
    """The last process before it."""
    after: Point
    """The first one after it, whose commit it is."""


@dataclass(frozen=True, kw_only=True)
class History:
    """One case on one machine."""

    key: str
    machine: str
    points: tuple[Point, ...]
    steps: tuple[Step, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for `--json`."""
        return dataclasses.asdict(self)


def histories(side: Side) -> list[History]:
    """Each case of the side on each of its machines, the processes in the order of their time."""
    found: dict[tuple[str, str], list[Point]] = {}
    for key, rows in side.rows.items():
        for row in (row for row in rows if row.times_ms):
            run = side.runs.get(row.run, {})
            one = dataclasses.replace(side, rows={key: [row]})
            point = Point(
                started_at=row.started_at,
                run=row.run,
                commit=str(run.get("code_commit") or run.get("lbench_commit") or "unknown"),
                time_ms=math.exp(log_time(row)),
            )
            found.setdefault((key, label(fingerprint(one))), []).append(point)
    return [
        History(key=key, machine=machine, points=tuple(points), steps=tuple(steps(points)))
        for (key, machine), points in found.items()
    ]


def steps(points: Sequence[Point]) -> list[Step]:
    """Where the level changes, by binary segmentation.

    A stretch is cut where Student's t between both parts is largest, if that is significant at `LEVEL` over
    all the places where it might have been cut.
    """
    logs = [math.log(point.time_ms) for point in points]
    ends = [0, *_cuts(logs, 0), len(logs)]
    made = []
    for first, middle, last in zip(ends, ends[1:], ends[2:], strict=False):
        parts = logs[first:middle], logs[middle:last]
        log = mean(parts[1]) - mean(parts[0])
        half = t_quantile(0.975, len(parts[0]) + len(parts[1]) - 2) * _error(*parts)
        made.append(
            Step(
                index=middle,
                ratio=math.exp(log),
                low=math.exp(log - half),
                high=math.exp(log + half),
                before=points[middle - 1],
                after=points[middle],
            )
        )
    return made


def _cuts(logs: Sequence[float], start: int) -> list[int]:
    places = range(LEAST, len(logs) - LEAST + 1)
    if not places:
        return []
    sizes = {place: _size(logs[:place], logs[place:]) for place in places}
    best = max(sizes, key=lambda place: sizes[place])
    if sizes[best] <= t_quantile(1 - LEVEL / 2 / len(places), len(logs) - 2):
        return []
    return [*_cuts(logs[:best], start), start + best, *_cuts(logs[best:], start + best)]


def _size(one: Sequence[float], other: Sequence[float]) -> float:
    return abs(mean(other) - mean(one)) / _error(one, other)


def _error(one: Sequence[float], other: Sequence[float]) -> float:
    """Of the difference of means; processes that agree to the last digit still have a variance."""
    variance = max(pooled(one, other)[0], 1e-12)
    return math.sqrt(variance * (1 / len(one) + 1 / len(other)))
