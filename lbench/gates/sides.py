"""Two result folders side by side, case by case, without a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lbench import ratios
from lbench.errors import UsageError
from lbench.gates.evidence import difference, pooled
from lbench.gates.processes import Side, log_time, sampling_variance
from lbench.ratios import ALPHA, Ratio
from lbench.results import Row
from lbench.statistics import known_interval, median


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One case on both sides."""

    key: str
    verdicts: tuple[str, str]
    """Empty where a side lacks the case."""
    times_ms: tuple[float | None, float | None]
    """Medians; None where there is none that stands."""
    ratio: Ratio | None
    """The second over the first; None where one of them is not ok, or not timed."""


def pairs(one: Side, other: Side) -> list[Pair]:
    """Every case of either side. UsageError where they share none."""
    if not one.rows.keys() & other.rows.keys():
        raise UsageError(f"{one.name} and {other.name} have no case in common")
    return [_pair(key, one.rows.get(key, []), other.rows.get(key, [])) for key in {**one.rows, **other.rows}]


def _pair(key: str, one: Sequence[Row], other: Sequence[Row]) -> Pair:
    # The last row stands: where that is not ok, times of rows before it are of what is there no more.
    timed = [
        [row for row in rows if row.times_ms] if rows and rows[-1].verdict == "ok" else []
        for rows in (one, other)
    ]
    return Pair(
        key=key,
        verdicts=(one[-1].verdict if one else "", other[-1].verdict if other else ""),
        times_ms=(_median(timed[0]), _median(timed[1])),
        ratio=_ratio(*timed) if all(timed) else None,
    )


def _median(rows: Sequence[Row]) -> float | None:
    return median([median(row.times_ms) for row in rows]) if rows else None


def _ratio(one: Sequence[Row], other: Sequence[Row]) -> Ratio:
    """By what varies between processes where there are several on either side, else by samples alone."""
    new, old = ([log_time(row) for row in rows] for rows in (other, one))
    if pooled(new, old)[1] == 0:
        return ratios.unpaired(_ends(other[0]), _ends(one[0]))
    rows = [*one, *other]
    seen = difference(new, old, math.fsum(map(sampling_variance, rows)) / len(rows))
    half, needed = seen.half(0.025), seen.half(ALPHA / 2)
    return Ratio(
        ratio=math.exp(seen.log),
        low=math.exp(seen.log - half),
        high=math.exp(seen.log + half),
        could_see=math.expm1(min(needed + seen.error, 700.0)),
        differs=abs(seen.log) > needed,
    )


def _ends(row: Row) -> tuple[float, float, float]:
    return median(row.times_ms), *known_interval(row.times_ms)
