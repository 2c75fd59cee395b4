"""The median and its interval, from raw samples and without assuming a distribution."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def median(samples: Sequence[float]) -> float:
    """The median of at least one sample."""
    return statistics.median(samples)


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The order statistics that hold the true median with at least `confidence`.

    Distribution-free (binomial). Fewer than six samples cannot reach 95 %: their whole range is returned,
    which holds the median with probability 1 - 2^(1-n) (93.75 % for five).
    """
    ordered = sorted(samples)
    count = len(ordered)
    tail = (1 - confidence) / 2
    below, probability = 0, 0.5**count if count < 1000 else 0.0
    if count >= 1000:
        # Normal approximation: 0.5^1000 underflows long before it matters.
        rank = int(count / 2 - _normal_quantile(1 - tail) * math.sqrt(count) / 2)
        return ordered[rank - 1], ordered[count - rank]
    cumulative = probability
    while cumulative <= tail and below < (count - 1) // 2:
        below += 1
        probability *= (count - below + 1) / below
        cumulative += probability
    lowest = max(below - 1, 0)
    return ordered[lowest], ordered[count - 1 - lowest]


def _normal_quantile(probability: float) -> float:
    return statistics.NormalDist().inv_cdf(probability)
