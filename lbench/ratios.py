"""Ratios between two cases that took turns: paired by round, with an interval and a verdict.

The rounds' medians of one case over those of the other, as logarithms, are taken as one draw each from a
normal distribution: Student's t on them gives the printed 95 % interval, and at `ALPHA` the verdict. A
difference also has to stand out of the noise floor, which an A/A pair of the same sweep shows (one backend
measured as if it were two): a spread of few rounds may be small by luck, the floor is then larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lbench.doubts import parts
from lbench.statistics import known_interval, median, normal_quantile, t_quantile, t_shift

ALPHA = 0.004
"""Verdicts call two equal cases different so often."""
ROUNDS = 3
"""So many make a pair, of however few samples; two rounds need the samples of an interval."""
POWER = 0.9
"""`could_see` is the difference that would be found so often."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What an A/A pair, or several, showed."""

    spread: float
    """Root mean square of the logarithms of ratios that should be 1, of single rounds."""
    rounds: int
    """Rounds behind it, over all pairs."""

    def bound(self, rounds: int) -> float:
        """The logarithm of a ratio over so many rounds that noise alone exceeds with `ALPHA`."""
        return t_quantile(1 - ALPHA / 2, self.rounds) * self.spread / math.sqrt(rounds)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One time over another."""

    ratio: float
    low: float
    high: float
    """The 95 % interval; NaN where there were too few samples for one, and nothing can be told."""
    could_see: float
    """The smallest difference (0.018: 1.8 %) that would have been seen with a probability of `POWER`."""
    differs: bool

    @property
    def is_known(self) -> bool:
        """Whether there were samples enough."""
        return not math.isnan(self.low)

    def __str__(self) -> str:
        if not self.is_known:
            return f"{self.ratio:.3f} times (too few samples to tell)"
        if self.differs:
            return f"{self.ratio:.3f} times (95 %: {self.low:.3f} to {self.high:.3f})"
        return f"no difference seen (could see {percent(self.could_see)})"


def percent(share: float) -> str:
    """Two digits: 0.018 is `1.8 %`."""
    if math.isinf(share):
        return "nothing: too few samples"
    if share >= 10:
        return "over 1000 %"
    return f"{share * 100:.2g} %" if share < 0.095 else f"{share * 100:.0f} %"


def round_medians(times_ms: Sequence[float], rounds: Sequence[int]) -> list[float]:
    """The median of each round; of all samples where there was one round."""
    return [median(part) for part in parts(times_ms, rounds) if part]


def noise_of(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Noise | None:
    """The noise floor of A/A pairs, each given by the medians of its rounds; None where there is no pair."""
    logs = [log for one, other in pairs for log in _logs(one, other)]
    if not logs:
        return None
    # About zero, which is known to be the truth: an order effect that all rounds share counts as noise.
    return Noise(spread=math.sqrt(sum(log * log for log in logs) / len(logs)), rounds=len(logs))


def paired(one: Sequence[float], other: Sequence[float], noise: Noise | None = None) -> Ratio | None:
    """`one` over `other`, both the medians of rounds that took turns; None for fewer than two rounds."""
    logs = _logs(one, other)
    count = len(logs)
    if count < 2:
        return None
    mean = math.fsum(logs) / count
    error = math.sqrt(math.fsum((log - mean) ** 2 for log in logs) / (count - 1) / count)
    needed = t_quantile(1 - ALPHA / 2, count - 1) * error
    half = t_quantile(0.975, count - 1) * error
    if noise is not None:
        needed = max(needed, noise.bound(count))
        error = max(error, noise.spread / math.sqrt(count))
    return Ratio(
        ratio=math.exp(mean),
        low=math.exp(mean - half),
        high=math.exp(mean + half),
        could_see=_grown(max(needed + error, t_shift(ALPHA, POWER, count - 1) * error)),
        differs=abs(mean) > needed,
    )


def unpaired(one: tuple[float, float, float], other: tuple[float, float, float]) -> Ratio:
    """As `paired` for cases that took no turns, from their medians and 95 % intervals (median, low, high).

    They differ where the intervals, widened to `ALPHA`, do not meet; drift between the two is not in it. An
    interval that is not known (NaN) meets any other.
    """
    wider = t_quantile(1 - ALPHA / 2, 1000) / t_quantile(0.975, 1000)
    halves = [(math.log(high / low)) / 2 for _, low, high in (one, other)]
    log = math.log(one[0] / other[0])
    half, needed = sum(halves), wider * sum(halves)
    if math.isnan(half):
        return Ratio(ratio=math.exp(log), low=half, high=half, could_see=math.inf, differs=False)
    return Ratio(
        ratio=math.exp(log),
        low=math.exp(log - half),
        high=math.exp(log + half),
        could_see=_grown(needed + sum(halves) * normal_quantile(POWER) / normal_quantile(0.975)),
        differs=abs(log) > needed,
    )


def compared(
    one: tuple[Sequence[float], Sequence[int]],
    other: tuple[Sequence[float], Sequence[int]],
    noise: Noise | None = None,
) -> Ratio:
    """Two cases by their samples and rounds: paired where both took turns, else by their intervals."""
    alone = unpaired(*((median(times), *known_interval(times)) for times in (one[0], other[0])))
    if min(len(one[1]), len(other[1])) >= (2 if alone.is_known else ROUNDS):
        return paired(round_medians(*one), round_medians(*other), noise) or alone
    return alone


def _grown(log: float) -> float:
    """The growth that a logarithm stands for."""
    return math.expm1(log) if log < 700 else math.inf


def _logs(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [math.log(a / b) for a, b in zip(one, other, strict=False)]
