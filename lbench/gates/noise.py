"""What a baseline can be asked: the noise of each case between processes, and the margin that it can hold."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from lbench.gates.evidence import LEAST_TO_FAIL, Table, expected, pooled
from lbench.gates.moderation import prior_of
from lbench.gates.processes import Side, log_time
from lbench.gates.regression import held_edge
from lbench.gates.sessions import Layout, share_of
from lbench.ratios import percent
from lbench.terminal import counted

APART = 5.0
"""A process so many standard deviations of the others from them: disturbed, or the machine has two states."""
LEAST_APART = 0.01
NEVER = "1970-01-01T00:00:00+00:00"
"""A session that no baseline is of: processes under test are measured on another day."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """One case of a baseline."""

    key: str
    processes: int
    spread: float
    """Standard deviation of the logarithms of processes."""
    held: float
    """The smallest margin that two clean processes pass nine times in ten."""
    margin: float
    """The margin asked for."""
    apart: str
    """A process that lies far from the others, in words."""

    def as_dict(self) -> dict[str, Any]:
        """All fields, for `--json`."""
        return dataclasses.asdict(self)

    @property
    def line(self) -> str:
        """In words."""
        held = f"holds a margin of {percent(self.held)}"
        if self.held > self.margin:
            held += f", not {percent(self.margin)}: more processes narrow it"
        told = f"  {self.key}: {counted(self.processes, 'process')}, spread {percent(self.spread)}, {held}"
        return f"{told}; {self.apart}" if self.apart else told


def of_baseline(side: Side, margin: float) -> list[Noise]:
    """Every case with two processes or more."""
    timed = {key: [row for row in rows if row.times_ms] for key, rows in side.rows.items()}
    timed = {key: rows for key, rows in timed.items() if len(rows) >= LEAST_TO_FAIL}
    if not timed:
        return []
    logs = {key: [log_time(row) for row in rows] for key, rows in timed.items()}
    starts = {key: [row.started_at for row in rows] for key, rows in timed.items()}
    variances = [pooled(values) for values in logs.values()]
    table = Table(
        prior=prior_of([variance for variance, _ in variances], [freedom for _, freedom in variances]),
        share=share_of((logs[key], Layout.of((), starts[key]).old) for key in logs),
    )
    made = []
    for key, values in logs.items():
        seen = expected(values, table, Layout.of([NEVER] * LEAST_TO_FAIL, starts[key]))
        made.append(
            Noise(
                key=key,
                processes=len(values),
                spread=seen.sd,
                held=math.expm1(held_edge(seen)),
                margin=margin,
                apart=_apart(values),
            )
        )
    return made


def _apart(logs: list[float]) -> str:
    """The one process that the others do not explain; a baseline is better taken again without it."""
    for index, one in enumerate(logs):
        others = logs[:index] + logs[index + 1 :]
        if len(others) < 3:
            return ""
        middle = math.fsum(others) / len(others)
        limit = max(APART * math.sqrt(pooled(others)[0]), LEAST_APART)
        if abs(one - middle) > limit:
            return f"process {index + 1} took {math.exp(one - middle):.3f} times the others"
    return ""
