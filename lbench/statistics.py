"""Medians, intervals and quantiles, from raw samples and without more assumptions than said."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Sequence

LEAST = 5
"""Samples whose range says something: that of five holds the median with 93.75 %, that of two with half."""
LEAST_NORMAL = 3
"""Samples that have an interval at all: of three and four that of a normal distribution."""
WIDEST = math.log(1e6)
"""The logarithm of how far an interval reaches at most: samples that do not agree at all."""


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
        rank = int(count / 2 - normal_quantile(1 - tail) * math.sqrt(count) / 2)
        return ordered[rank - 1], ordered[count - rank]
    cumulative = probability
    while cumulative <= tail and below < (count - 1) // 2:
        below += 1
        probability *= (count - below + 1) / below
        cumulative += probability
    lowest = max(below - 1, 0)
    return ordered[lowest], ordered[count - 1 - lowest]


def known_interval(samples: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median: `median_interval` of `LEAST` samples or more.

    The range of three or four says too little: Student's t on their logarithms, about the median, which
    varies more than a mean (by sqrt(pi / 2) at most). NaN for fewer.
    """
    count = len(samples)
    if count >= LEAST:
        return median_interval(samples)
    if count < LEAST_NORMAL:
        return math.nan, math.nan
    spread = statistics.stdev(map(math.log, samples)) * math.sqrt(math.pi / 2 / count)
    grown = math.exp(min(t_quantile(0.975, count - 1) * spread, WIDEST))
    return median(samples) / grown, median(samples) * grown


def normal_quantile(probability: float) -> float:
    """The quantile of the standard normal distribution."""
    return statistics.NormalDist().inv_cdf(probability)


@functools.cache
def t_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t with `freedom` degrees, for probabilities of 0.5 and more."""

    def below(t: float) -> float:
        return 1 - beta_share(freedom / (freedom + t * t), freedom / 2, 0.5) / 2

    top = 1.0
    while below(top) < probability:
        top *= 2
    return _root(lambda t: below(t) - probability, 0.0, top)


@functools.cache
def t_shift(alpha: float, power: float, freedom: int) -> float:
    """How many standard errors a mean must be off zero for a two-sided t test to find it with that power."""
    needed = t_quantile(1 - alpha / 2, freedom)
    # The standard error is estimated: u = sqrt(chi^2 / freedom) of it, by the density of u at midpoints.
    steps = [(index + 0.5) * 0.01 for index in range(1000)]
    log_scale = math.log(2) + freedom / 2 * math.log(freedom / 2) - math.lgamma(freedom / 2)
    weights = [math.exp(log_scale + (freedom - 1) * math.log(u) - freedom * u * u / 2) for u in steps]
    total = math.fsum(weights)
    normal = statistics.NormalDist().cdf

    def found(shift: float) -> float:
        hits = (weight * normal(shift - needed * u) for u, weight in zip(steps, weights, strict=True))
        return math.fsum(hits) / total

    return _root(lambda shift: found(shift) - power, 0.0, 10 * needed, steps=50)


def share_interval(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact (Clopper-Pearson) interval of a share of which `hits` of `trials` were seen."""
    tail = (1 - confidence) / 2
    low = high = 0.0
    if hits > 0:
        low = _root(lambda p: beta_share(p, hits, trials - hits + 1) - tail, 0.0, 1.0)
    high = 1.0
    if hits < trials:
        high = _root(lambda p: beta_share(p, hits + 1, trials - hits) - (1 - tail), 0.0, 1.0)
    return low, high


def beta_share(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (modified Lentz)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_share(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    value = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for term in (even, odd):
            d = 1 / (1 + term * d or tiny)
            c = 1 + term / c or tiny
            value *= c * d
        if abs(value - before) < 1e-15 * abs(value):
            break
    return math.exp(log_front) * value / a


def _root(function: Callable[[float], float], low: float, high: float, steps: int = 200) -> float:
    """Where a rising function is zero, by bisection."""
    for _ in range(steps):
        middle = (low + high) / 2
        if function(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
