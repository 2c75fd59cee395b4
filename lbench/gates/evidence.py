"""What a few processes on either side say of one case: how far it moved, and how sure that is.

A process is one number, the logarithm of its median. Student's t on them, with two safeguards against tails
that are longer than the normal distribution's: a slowdown must be in every process of the side under test,
and the level shrinks with their number, so that measuring again and looking again is allowed at any time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lbench.gates.moderation import NOTHING, Prior
from lbench.ratios import POWER
from lbench.statistics import t_quantile, t_shift

FALSE_ALARMS = 0.01
"""At most this share of clean runs may fail, whatever the number of cases."""
SPENT = FALSE_ALARMS / 2
"""What the intervals are made for; the other half is for what their model leaves out: long tails, drift."""
LEAST_PROCESSES = 5
"""Of a baseline."""
LEAST_TO_FAIL = 2
"""Of the side under test: one process may be slow alone, a slowdown is in every one."""
ALONE = 0.05
"""Each of these processes must be slower by itself at this level over the table."""
CLOSE = 0.05
"""A case is called the same by two one-sided tests at this level, no slower by one of them."""
MOST_ASKED = 20
"""More processes than that are not asked for: the baseline is what is too small, or the case too noisy."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The logarithm of new over old, with what its uncertainty comes from."""

    log: float
    sd: float
    """Of single processes."""
    freedom: int
    new: int
    """Processes under test."""
    old: int
    """Processes of the baseline."""
    quickest: float
    """The logarithm of the quickest process under test over the baseline."""

    @property
    def error(self) -> float:
        """The standard error of `log`."""
        return self.sd * math.sqrt(1 / self.new + 1 / self.old)

    def half(self, tail: float) -> float:
        """Half the interval that leaves `tail` out at either end."""
        return t_quantile(1 - tail, self.freedom) * self.error

    def level(self, cases: int) -> float:
        """The one-sided level at which a case is called slower.

        1 / (m (m - 1)) over all m from 2 on sums to 1: whoever adds processes until the gate fails still
        spends no more than `SPENT`.
        """
        looked = self.new * (self.new - 1) if self.new >= LEAST_TO_FAIL else 1
        return SPENT / looked / cases

    def exceeds(self, cases: int) -> bool:
        """Whether the corrected interval lies above 1: slower, if every process confirms it."""
        return self.log > self.half(self.level(cases))

    def confirmed(self, cases: int) -> bool:
        """Whether there are processes enough to call it slower, and the quickest is slower by itself."""
        alone = t_quantile(1 - ALONE / cases, self.freedom) * self.sd * math.sqrt(1 + 1 / self.old)
        return self.new >= LEAST_TO_FAIL and self.quickest > alone

    def could_see(self, cases: int) -> float:
        """The logarithm of the slowdown that would be called one with a probability of `POWER`."""
        return t_shift(2 * self.level(cases), POWER, self.freedom) * self.error

    def needed(self, edge: float) -> int | None:
        """How many processes under test bring the one-sided interval below `edge`; None where no number does.

        Taken at the estimate as it stands.
        """
        room = edge - self.log
        for count in range(self.new + 1, MOST_ASKED + 1):
            wide = t_quantile(1 - CLOSE, self.freedom) * self.sd * math.sqrt(1 / count + 1 / self.old)
            if wide <= room:
                return count
        return None


def difference(
    new: Sequence[float], old: Sequence[float], least: float, prior: Prior = NOTHING
) -> Difference:
    """From the logarithms of processes; `least` is a variance that samples alone show."""
    variance, freedom = prior.moderated(*pooled(new, old))
    return Difference(
        log=mean(new) - mean(old),
        sd=math.sqrt(max(variance, least)),
        freedom=freedom,
        new=len(new),
        old=len(old),
        quickest=min(new) - mean(old),
    )


def pooled(*sides: Sequence[float]) -> tuple[float, int]:
    """The variance within the sides, and its degrees of freedom."""
    freedom = sum(len(side) - 1 for side in sides)
    squares = math.fsum((value - mean(side)) ** 2 for side in sides for value in side)
    return (squares / freedom if freedom else 0.0), freedom


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(values) / len(values)
