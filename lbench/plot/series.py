"""What one panel shows, before anything is drawn: a series a backend, its failures, and what is left out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lbench.plot.style import Look, look
from lbench.report.values import Axis, bound, values
from lbench.report.wording import NOT_THERE

NEAR = 10.0
"""A bound is drawn where the lowest line is at most this many times it."""


@dataclass(frozen=True)
class Run:
    """Neighbouring lengths of one backend with the same verdict."""

    verdict: str
    lengths: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One backend in one panel."""

    backend: str
    look: Look
    points: pd.DataFrame
    """Columns seq_len, y, low, high, doubted; only `ok` rows that have the value, ascending."""
    failures: tuple[Run, ...]
    """What was not `ok`, and at which lengths."""

    @property
    def finishes(self) -> bool:
        """Whether its longest length has a value."""
        if not len(self.points):
            return False
        return not self.failures or self.failures[-1].lengths[-1] < int(self.points["seq_len"].iloc[-1])


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pass of one condition, or one size of models."""

    pass_name: str
    title: str
    lengths: tuple[int, ...]
    drawn: tuple[Series, ...]
    """Backends with a value or a failure worth a place."""
    absent: tuple[tuple[str, str], ...]
    """(title, verdict) of backends that could not run at all."""
    bound: pd.Series
    """What bounds the metric (memory floor, error allowed) by length; empty where nothing does. Named."""

    @property
    def finishing(self) -> list[Series]:
        """Those whose line ends with a value, to be named there; the others are named where they failed."""
        return [series for series in self.drawn if series.finishes]

    @property
    def failing(self) -> list[Series]:
        """Those with failures, the first to fail on top."""
        failing = [series for series in self.drawn if series.failures]
        return sorted(failing, key=lambda series: (series.failures[0].lengths[0], series.look.order))

    @property
    def has_values(self) -> bool:
        """Whether any series has a point."""
        return any(len(series.points) for series in self.drawn)


def panel(rows: pd.DataFrame, pass_name: str, wanted: Axis, title: str) -> Panel:
    """The panel of a pass from the rows of a condition (one a backend, pass and length).

    A column `line` tells lines of one backend apart (the families of its models), and is put before its name.
    """
    rows = rows[rows["pass"] == pass_name].sort_values("seq_len", kind="stable")
    shown = pd.concat([rows, values(rows, wanted)], axis=1)
    lines = shown["line"] if "line" in shown else pd.Series("", index=shown.index)
    series = [
        _series(str(backend), str(line), part)
        for (backend, _, line), part in shown.groupby(["backend", "mechanism", lines.rename("of")], sort=True)
        if len(part)
    ]
    series.sort(key=lambda one: one.look.order)
    drawn = [
        one for one in series if len(one.points) or any(r.verdict not in NOT_THERE for r in one.failures)
    ]
    return Panel(
        pass_name=pass_name,
        title=title,
        lengths=tuple(int(length) for length in sorted(rows["seq_len"].unique())),
        drawn=tuple(drawn),
        absent=tuple(
            (one.look.title, one.failures[0].verdict) for one in series if one not in drawn and one.failures
        ),
        bound=_near(bound(rows, wanted), drawn),
    )


def _near(bound: pd.Series, drawn: Sequence[Series]) -> pd.Series:
    """The bound, if any line comes near it; far below all of them it would only take their room."""
    if bound.empty:
        return bound
    at_longest = [one.points.loc[one.points["seq_len"] == bound.index[-1], "y"] for one in drawn]
    lowest = min((float(y.iloc[0]) for y in at_longest if len(y)), default=math.inf)
    return bound if lowest <= NEAR * bound.iloc[-1] else bound.iloc[:0]


def _series(backend: str, line: str, rows: pd.DataFrame) -> Series:
    its = look(backend, str(rows["mechanism"].iloc[0]))
    points = rows.loc[rows["y"].notna(), ["seq_len", "y", "low", "high"]]
    doubts = rows.loc[points.index, "doubts"].fillna("").astype(str) != ""
    return Series(
        backend=backend,
        look=dataclasses.replace(its, title=f"{line}: {its.title}") if line else its,
        points=points.assign(doubted=doubts),
        failures=_runs(rows["seq_len"].tolist(), rows["verdict"].tolist()),
    )


def _runs(lengths: Sequence[int], verdicts: Sequence[str]) -> tuple[Run, ...]:
    runs: list[Run] = []
    before = "ok"
    for length, verdict in zip(lengths, verdicts, strict=True):
        if verdict != "ok":
            if verdict == before:
                runs[-1] = Run(verdict, (*runs[-1].lengths, length))
            else:
                runs.append(Run(verdict, (length,)))
        before = verdict
    return tuple(runs)
