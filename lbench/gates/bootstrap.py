"""Resampling of raw samples: rounds first, then samples within them, so that drift between rounds counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lbench.doubts import parts
from lbench.statistics import normal_quantile, t_quantile

REPLICATES = 2000
WITHIN = 200
"""Medians drawn from each round; replicates choose among them."""
STRETCHES = 5
"""Rows without rounds are cut into so many consecutive stretches, which stand for them."""

Array = npt.NDArray[np.float64]
Samples = tuple[Sequence[float], Sequence[int]]
"""Times of a case, and where in them each round begins."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Resampled:
    """The logarithm of a time and its replicates."""

    log: float
    """Mean of the logarithms of the rounds' medians."""
    replicates: Array
    rounds: int
    samples: int


def resampled(times_ms: Sequence[float], rounds: Sequence[int], generator: np.random.Generator) -> Resampled:
    """Replicates of a case's time. Their spread is that of independent rounds, however few there are."""
    split = [np.log(np.asarray(part)) for part in _rounds(times_ms, rounds)]
    medians = np.array([np.median(part) for part in split])
    drawn = np.stack([_medians(part, generator) for part in split])
    return _of_rounds(medians, drawn, sum(len(part) for part in split), generator)


def _of_rounds(medians: Array, drawn: Array, samples: int, generator: np.random.Generator) -> Resampled:
    """Rounds are drawn, and of each one of its drawn medians."""
    count = len(medians)
    chosen = generator.integers(count, size=(REPLICATES, count))
    log = float(medians.mean())
    deviations = drawn[chosen, generator.integers(WITHIN, size=chosen.shape)].mean(axis=1) - log
    # A bootstrap over n rounds shows (n - 1) / n of the variance between them.
    stretch = math.sqrt(count / (count - 1)) if count > 1 else math.nan
    return Resampled(log=log, replicates=log + stretch * deviations, rounds=count, samples=samples)


def resampled_ratio(
    one: Samples, other: Samples, together: bool, generator: np.random.Generator
) -> Resampled:
    """Replicates of the logarithm of one time over another.

    Of cases that took turns (`together`) the same rounds are drawn, so that drift which both share cancels.
    """
    if not together:
        first, second = (resampled(*samples, generator) for samples in (one, other))
        return Resampled(
            log=first.log - second.log,
            replicates=first.replicates - second.replicates,
            rounds=first.rounds + second.rounds - 1,
            samples=first.samples + second.samples,
        )
    pairs = list(
        zip(*([np.log(np.asarray(part)) for part in _rounds(*side)] for side in (one, other)), strict=False)
    )
    medians = np.array([np.median(a) - np.median(b) for a, b in pairs])
    drawn = np.stack([_medians(a, generator) - _medians(b, generator) for a, b in pairs])
    return _of_rounds(medians, drawn, sum(len(a) + len(b) for a, b in pairs), generator)


def interval(
    estimate: float, replicates: Array, freedom: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentiles of the replicates, widened from the normal distribution to Student's t."""
    tail = (1 - confidence) / 2
    wider = t_quantile(1 - tail, freedom) / normal_quantile(1 - tail)
    low, high = np.quantile(replicates - estimate, (tail, 1 - tail))
    return estimate + wider * float(low), estimate + wider * float(high)


def _medians(logs: Array, generator: np.random.Generator) -> Array:
    return np.median(logs[generator.integers(len(logs), size=(WITHIN, len(logs)))], axis=1)


def _rounds(times_ms: Sequence[float], rounds: Sequence[int]) -> list[Sequence[float]]:
    split = [part for part in parts(times_ms, rounds) if part]
    if len(split) > 1:
        return split
    count = min(STRETCHES, len(times_ms))
    ends = [len(times_ms) * index // count for index in range(count + 1)]
    return [times_ms[first:last] for first, last in itertools.pairwise(ends)]
