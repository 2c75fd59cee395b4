"""What a few processes on either side say of one case: how far it moved, and how sure that is.

A process is one number, the logarithm of its median. Student's t on them, by what varies within a session and
between sessions, with two safeguards: a slowdown must be in every process of the side under test, as tails
are longer than the normal distribution's, and the level shrinks with their number, so that measuring again
and looking again is allowed at any time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lbench.gates.moderation import NOTHING, Prior
from lbench.gates.sessions import Layout, Variance, split
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
    variance: Variance
    """Of single processes."""
    new: int
    """Processes under test."""
    old: int
    """Processes of the baseline."""
    layout: Layout
    quickest: float
    """The logarithm of the quickest process under test over the baseline."""

    @property
    def sd(self) -> float:
        """Of single processes, over sessions."""
        return math.sqrt(self.variance.within + self.variance.between)

    def half(self, tail: float, new: int | None = None) -> float:
        """Half the interval that leaves `tail` out at either end; `new` for another number under test."""
        variance, freedom = self.variance.of_difference(new or self.new, self.old, self.layout)
        return t_quantile(1 - tail, freedom) * math.sqrt(variance)

    @property
    def error(self) -> float:
        """The standard error of `log`."""
        return math.sqrt(self.variance.of_difference(self.new, self.old, self.layout)[0])

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
        return self.new >= LEAST_TO_FAIL and self.quickest > self.half(ALONE / cases, 1)

    def could_see(self, cases: int) -> float:
        """The logarithm of the slowdown that would be called one with a probability of `POWER`."""
        variance, freedom = self.variance.of_difference(self.new, self.old, self.layout)
        return t_shift(2 * self.level(cases), POWER, freedom) * math.sqrt(variance)

    def needed(self, edge: float) -> int | None:
        """How many processes under test bring the one-sided interval below `edge`; None where no number does.

        Taken at the estimate as it stands.
        """
        for count in range(self.new + 1, MOST_ASKED + 1):
            if self.half(CLOSE, count) <= edge - self.log:
                return count
        return None


@dataclass(frozen=True, kw_only=True)
class Table:
    """What the cases of a table lend each other."""

    prior: Prior = NOTHING
    """Of variances."""
    share: float | None = 0.0
    """What sessions make of them."""


def difference(
    new: Sequence[float],
    old: Sequence[float],
    least: float,
    table: Table | None = None,
    layout: Layout | None = None,
) -> Difference:
    """From the logarithms of processes; `least` is a variance that samples alone show.

    Without a layout all processes are of one session.
    """
    table = table or Table()
    layout = layout or Layout(new=(0,) * len(new), old=(0,) * len(old))
    variance, freedom = table.prior.moderated(*pooled(new, old))
    return Difference(
        log=mean(new) - mean(old),
        variance=split(max(variance, least), freedom, table.share, layout),
        new=len(new),
        old=len(old),
        layout=layout,
        quickest=min(new) - mean(old),
    )


def expected(old: Sequence[float], table: Table, layout: Layout) -> Difference:
    """What unchanged processes under test would show, from a baseline alone; `layout.new` says how many."""
    variance, freedom = table.prior.moderated(*pooled(old))
    alone = layout if layout.same else Layout(new=(), old=layout.old)
    return Difference(
        log=0.0,
        variance=split(variance, freedom, table.share, alone),
        new=len(layout.new),
        old=len(old),
        layout=layout,
        quickest=0.0,
    )


def pooled(*sides: Sequence[float]) -> tuple[float, int]:
    """The variance within the sides, and its degrees of freedom."""
    freedom = sum(len(side) - 1 for side in sides)
    squares = math.fsum((value - mean(side)) ** 2 for side in sides for value in side)
    return (squares / freedom if freedom else 0.0), freedom


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(values) / len(values)
