"""Tables from rows: lengths across, backends down, the best of each length in bold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lbench.errors import UsageError
from lbench.metrics import METRICS
from lbench.ratios import percent
from lbench.report.conditions import Condition, conditions
from lbench.report.failures import failures
from lbench.report.ties import ties
from lbench.report.values import RELATIVE, Axis, axis, pick_reference, values
from lbench.report.wording import MEANINGS, NOT_THERE, PASS_TITLES, SHORT, rank, title

MISSING = "-"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One backend at one length."""

    verdict: str = ""
    """Empty where there is no row."""
    value: float = math.nan
    """NaN unless the verdict is `ok` and the row has the metric."""
    low: float = math.nan
    high: float = math.nan
    """Its 95 % interval."""
    best: bool = False
    """The best of its length, and told from all others."""
    could_see: float = math.nan
    """Where it cannot be told from the best, or the best from it: what difference would have been seen."""
    doubted: bool = False

    @property
    def text(self) -> str:
        """The value in three digits (`~` behind a tie, `?` behind a doubt), else the verdict in short."""
        if not math.isnan(self.value):
            tied = not math.isnan(self.could_see)
            return number(self.value) + "~" * tied + "?" * self.doubted
        return SHORT.get(self.verdict, MISSING)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One backend."""

    mechanism: str
    backend: str
    title: str
    cells: tuple[Cell, ...]
    model: str = ""
    """Where a table is of models; with its attention where it was measured with several."""

    @property
    def group(self) -> str:
        """What it stands under: its model, else its mechanism."""
        return self.model or self.mechanism

    @property
    def absent(self) -> bool:
        """Whether it could not run at any length for want of support or of its package."""
        return all(cell.verdict in NOT_THERE for cell in self.cells)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One pass in one condition."""

    metric: str
    metric_title: str
    better: str
    """lower | higher."""
    pass_name: str
    condition: str
    setting: str
    lengths: tuple[int, ...]
    lines: tuple[Line, ...]
    failures: tuple[tuple[str, str], ...] = ()
    """What went wrong in it, and the command that runs that case again."""
    of: str = "mechanism"
    """What its lines stand under: mechanism | model."""
    note: str = ""
    """What else must be said of it."""

    @property
    def title(self) -> str:
        """What it shows, and what was held constant."""
        shown = ", ".join(filter(None, [PASS_TITLES[self.pass_name].capitalize(), self.condition]))
        return f"{shown}: {self.metric_title}, {self.better} is better"

    @property
    def shown(self) -> tuple[Line, ...]:
        """The lines without those of backends that were not there at any length; all where none was."""
        return tuple(line for line in self.lines if not line.absent) or self.lines

    @property
    def legend(self) -> str:
        """What the short verdicts and marks in it mean, and who is not shown; empty where that is nothing."""
        cells = [cell for line in self.shown for cell in line.cells]
        parts = [f"{SHORT[v]}: {MEANINGS[v]}" for v in SHORT if any(cell.verdict == v for cell in cells)]
        if tied := [cell.could_see for cell in cells if not math.isnan(cell.could_see)]:
            parts.append(f"~: no difference seen from the best (could see {percent(max(tied))})")
        if any(cell.text.endswith("?") for cell in cells):
            parts.append("?: a row with a doubt")
        left_out = [line for line in self.lines if line not in self.shown]
        for verdict in sorted({line.cells[0].verdict for line in left_out}):
            named = ", ".join(line.title for line in left_out if line.cells[0].verdict == verdict)
            parts.append(f"{verdict}: {named}")
        return "; ".join([self.note] * bool(self.note) + parts)


def tables(frame: pd.DataFrame, metric: str = "time_ms", relative_to: str = "") -> list[Table]:
    """A table a condition and pass. UsageError for an unknown metric or one that no `ok` row has."""
    wanted = axis(metric, pick_reference(frame, relative_to) if metric == RELATIVE else "")
    better = better_of(wanted)
    made = [_table(one, name, wanted, better) for one in conditions(frame) for name in one.passes]
    if (frame["verdict"] == "ok").any() and not any(has_value(table) for table in made):
        raise without(frame, metric, wanted.title)
    return made


def without(frame: pd.DataFrame, metric: str, title: str) -> UsageError:
    """The error where no `ok` row has a metric; it names one that some have."""
    other = next((name for name in ("time_ms", "error_rms", "peak_mib") if frame[name].notna().any()), "")
    told = f"; `lbench table FOLDER --metric {other}` shows another quantity" if other else ""
    return UsageError(f"no row has a {metric} ({title}){told}")


def number(value: float) -> str:
    """Three significant digits in little room: 0.0266, 9.24, 1536, 12.3k, 28.5M, 2.7e-5."""
    size = abs(value)
    if size == 0 or not math.isfinite(size):
        return f"{value:g}"
    if size < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    for unit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= max(unit * 0.9995, 9999.5):
            return _digits(value / unit) + suffix
    return _digits(value)


def _digits(value: float) -> str:
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def better_of(wanted: Axis) -> str:
    """Which values of an axis are the better ones: lower | higher."""
    return "higher" if wanted.metric == RELATIVE else METRICS[wanted.metric].better


def has_value(table: Table) -> bool:
    """Whether any cell has a value."""
    return any(not math.isnan(cell.value) for line in table.lines for cell in line.cells)


def _table(condition: Condition, pass_name: str, wanted: Axis, better: str) -> Table:
    rows = condition.rows[condition.rows["pass"] == pass_name]
    tied = pd.Series(ties(rows, wanted.metric), index=rows.index, dtype=float)
    drawn = values(rows, wanted).rename(columns={"y": "value"})
    rows = rows.assign(**{name: drawn[name] for name in ("value", "low", "high")}, could_see=tied)
    lengths = tuple(int(length) for length in sorted(rows["seq_len"].unique()))
    lines = lines_of(rows, lengths, better, rows)
    return Table(
        metric=wanted.metric,
        metric_title=wanted.title,
        better=better,
        pass_name=pass_name,
        condition=condition.title,
        setting=condition.setting,
        lengths=lengths,
        lines=lines,
        failures=tuple(failures(rows.sort_values("seq_len", kind="stable").to_dict("records"))),
    )


def lines_of(
    rows: pd.DataFrame, lengths: Sequence[int], better: str, rivals: pd.DataFrame
) -> tuple[Line, ...]:
    """A line a backend of the rows; the best of a length is that of `rivals`, the rows among them."""
    column = rivals.groupby("seq_len")["value"]
    best_values = column.min() if better == "lower" else column.max()
    bests = {int(length): best for length, best in zip(best_values.index, best_values, strict=True)}
    lines = [
        _line(str(backend), str(mechanism), part, lengths, bests)
        for (backend, mechanism), part in rows.groupby(["backend", "mechanism"], sort=False)
    ]
    return tuple(sorted(lines, key=lambda line: rank(line.backend, line.mechanism)))


def _line(
    backend: str, mechanism: str, rows: pd.DataFrame, lengths: Sequence[int], bests: dict[int, float]
) -> Line:
    found = {
        int(length): Cell(
            verdict=verdict,
            value=value,
            low=low,
            high=high,
            best=value == bests[length] and math.isnan(could_see),
            could_see=could_see,
            doubted=bool(doubts),
        )
        for length, verdict, value, low, high, could_see, doubts in zip(
            *(rows[name] for name in ("seq_len", "verdict", "value", "low", "high", "could_see")),
            rows["doubts"].fillna(""),
            strict=True,
        )
    }
    cells = tuple(found.get(length, Cell()) for length in lengths)
    return Line(mechanism=mechanism, backend=backend, title=title(backend), cells=cells)
