"""Variances of many cases from few processes each, lent strength by one another (Smyth 2004, as in limma).

Five processes say little about the variance of a case; those of all cases together say how large variances
are in this table and how far they differ. A scaled inverse chi-square prior is fitted to them, and every
variance is drawn towards it by as much as they agree. Where they do not agree, nothing is lent.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_CASES = 3
"""Fewer say nothing about how variances differ."""
MOST_LENT = 2
"""What is lent has at most so many times the degrees of freedom that a case has itself."""
SMALLEST = 1e-12
"""Processes that agree to the last digit (a replay) still have a variance: 1e-6 of the time, squared."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What the table lends to each case: a variance, and with how many degrees of freedom."""

    variance: float
    freedom: float

    def moderated(self, variance: float, freedom: int) -> tuple[float, int]:
        """The variance of one case and its degrees of freedom, what is lent included.

        A case that is noisier than the others keeps its own variance: few processes may be quiet by luck,
        which the table mends, but a case with slowdown episodes is not made quiet by its neighbours.
        """
        if freedom + self.freedom == 0:
            return math.nan, 0
        lent = min(self.freedom, MOST_LENT * freedom) if freedom else self.freedom
        weight = lent / (lent + freedom)
        moderated = weight * self.variance + (1 - weight) * variance
        return max(moderated, variance, SMALLEST), max(math.floor(lent + freedom), 1)


NOTHING = Prior(variance=0.0, freedom=0.0)


def prior_of(variances: Sequence[float], freedoms: Sequence[int]) -> Prior:
    """Fits the prior to the variances of cases, by the moments of their logarithms."""
    known = [(max(v, SMALLEST), d) for v, d in zip(variances, freedoms, strict=True) if d > 0]
    if len(known) < LEAST_CASES:
        return NOTHING
    shifted = [math.log(v) - digamma(d / 2) + math.log(d / 2) for v, d in known]
    mean = math.fsum(shifted) / len(shifted)
    spread = math.fsum((value - mean) ** 2 for value in shifted) / (len(shifted) - 1)
    excess = spread - math.fsum(trigamma(d / 2) for _, d in known) / len(known)
    if excess <= 0:
        # The same variance for all, as far as can be seen. Only as much is lent as there was to see it by.
        freedom = float(sum(d for _, d in known))
        return Prior(variance=math.fsum(v * d for v, d in known) / freedom, freedom=freedom)
    freedom = 2 * _trigamma_inverse(excess)
    return Prior(variance=math.exp(mean + digamma(freedom / 2) - math.log(freedom / 2)), freedom=freedom)


@functools.cache
def digamma(x: float) -> float:
    """The derivative of the logarithm of the gamma function, for x > 0."""
    shift = 0.0
    while x < 6:
        shift -= 1 / x
        x += 1
    square = 1 / (x * x)
    return shift + math.log(x) - 0.5 / x - square * (1 / 12 - square * (1 / 120 - square / 252))


def trigamma(x: float) -> float:
    """The second derivative of the logarithm of the gamma function, for x > 0."""
    shift = 0.0
    while x < 6:
        shift += 1 / (x * x)
        x += 1
    square = 1 / (x * x)
    return shift + 1 / x + square / 2 + square / x * (1 / 6 - square * (1 / 30 - square / 42))


def _trigamma_inverse(value: float) -> float:
    low, high = 1e-6, 1e6
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if trigamma(middle) > value else (low, middle)
    return math.sqrt(low * high)
