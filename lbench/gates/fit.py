"""Time a token as a power of length: its exponent, and the slowest length over the fastest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lbench.gates.bootstrap import Resampled, interval, resampled
from lbench.results import Row
from lbench.statistics import t_quantile

SEED = 20261122
"""Of the bootstrap: the same rows always give the same verdict."""
FAMILY = 0.05
"""The worst of all pairs of lengths exceeds its limit by chance so often."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """An estimate with its interval; both ends are the estimate where it has no noise (memory)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        value, low, high = (f"{round(number, 6):.3g}" for number in (self.value, self.low, self.high))
        return value if self.low == self.high else f"{value} ({low} to {high})"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a quantity a token depends on length."""

    alpha: Quantity
    worst_over_best: Quantity
    growth: Quantity
    """The most that a length lies over a shorter one."""
    samples: int
    """Behind both; 0 where the quantity has no noise."""


def fit_times(rows: Sequence[Row]) -> Fit | None:
    """From raw samples of two lengths or more; None where a length has a single sample."""
    if any(len(row.times_ms) < 2 for row in rows):
        return None
    generator = np.random.default_rng(SEED)
    points = [resampled(row.times_ms, row.rounds, generator) for row in rows]
    shift = np.log([row.case.tokens for row in rows])
    weights = _slope_weights([row.case.seq_len for row in rows])
    freedom = sum(point.rounds - 1 for point in points)
    logs = np.array([point.log for point in points]) - shift
    replicates = np.stack([point.replicates for point in points], axis=1) - shift
    alpha = float(weights @ logs)
    low, high = interval(alpha, replicates @ weights, freedom)
    return Fit(
        alpha=Quantity(value=alpha, low=low, high=high),
        worst_over_best=_worst(logs, points, list(itertools.permutations(range(len(points)), 2))),
        growth=_worst(logs, points, [(b, a) for a, b in itertools.combinations(range(len(points)), 2)]),
        samples=sum(point.samples for point in points),
    )


def fit_bytes(rows: Sequence[Row]) -> Fit | None:
    """Of the memory that a call needs (inputs and peak beyond them); None where a length has no ledger."""
    if any("peak" not in row.memory for row in rows):
        return None
    held = [math.log(held_bytes(row) / row.case.tokens) for row in rows]
    alpha = float(_slope_weights([row.case.seq_len for row in rows]) @ np.array(held))
    grown = max(longer - shorter for shorter, longer in itertools.combinations(held, 2))
    return Fit(
        alpha=_exact(alpha),
        worst_over_best=_exact(math.exp(max(held) - min(held))),
        growth=_exact(math.exp(grown)),
        samples=0,
    )


def _exact(value: float) -> Quantity:
    return Quantity(value=value, low=value, high=value)


def held_bytes(row: Row) -> int:
    """What a call needs: its inputs (state or cache among them), what a forward saved, and its peak."""
    before = row.memory.get("saved", 0) if row.case.pass_name == "bwd" else 0
    return row.memory.get("inputs", 0) + before + row.memory["peak"]


def _slope_weights(lengths: Sequence[int]) -> np.ndarray:
    """What the logarithms of values are weighted with to give the slope of the least-squares line."""
    x = np.log(lengths)
    centred = x - x.mean()
    return np.asarray(centred / (centred @ centred))


def _worst(logs: np.ndarray, points: Sequence[Resampled], pairs: Sequence[tuple[int, int]]) -> Quantity:
    """The largest ratio of pairs of lengths.

    Its low end is the highest of the pairs' low ends, corrected for having looked at so many, since the worst
    of equal lengths is always over 1. For the high end no correction is needed: all pairs must lie below it.
    """
    spreads = [float(np.var(point.replicates, ddof=1)) for point in points]
    count = len(points) * (len(points) - 1) // 2
    value = low = high = -math.inf
    for one, other in pairs:
        log = float(logs[one] - logs[other])
        value = max(value, log)
        error = math.sqrt(spreads[one] + spreads[other])
        freedom = points[one].rounds + points[other].rounds - 2
        low = max(low, log - t_quantile(1 - FAMILY / 2 / count, freedom) * error)
        high = max(high, log + t_quantile(1 - FAMILY / 2, freedom) * error)
    return Quantity(value=math.exp(value), low=math.exp(low), high=math.exp(high))
