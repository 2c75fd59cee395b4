"""Rows under the roofs of their card: arithmetic over bytes against the rate it was done at.

Useful work is the mechanism's cheapest exact form over the bytes that must move. Executed work is what a kept
profile of the same case counted; of models it is what their rows say, with what checkpointing computes again;
else it is not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lbench import floors, frame
from lbench.profiling.analysis import Analysis
from lbench.report.conditions import Condition, conditions
from lbench.report.tables import number
from lbench.report.wording import title
from lbench.results import Results, Row
from lbench.statistics import median

COLUMNS = ("backend", "length", "FLOP/B", "TFLOP/s", "roof", "share", "of")
EXECUTED = ("executed FLOP/B", "executed TFLOP/s")
"""Further columns, where a profile counted."""


@dataclass(frozen=True, kw_only=True)
class Roof:
    """What a card can do, as a run on it measured."""

    bandwidth_gb_s: float
    """Of a copy; NaN where no run measured it."""
    matrix_tflop_s: float
    """Of a large matrix product in the rows' dtype, the median of the runs on that model; NaN without any."""

    def tflop_s(self, intensity: float) -> float:
        """The most that is possible at so many FLOP a byte, as far as it is known; NaN where nothing is."""
        by_memory = self.bandwidth_gb_s * intensity / 1e3
        known = [rate for rate in (by_memory, self.matrix_tflop_s) if not math.isnan(rate)]
        return min(known, default=math.nan)

    def name(self, intensity: float) -> str:
        """Which roof that is."""
        by_memory = self.bandwidth_gb_s * intensity / 1e3
        if math.isnan(by_memory) and math.isnan(self.matrix_tflop_s):
            return ""
        return "matrix" if math.isnan(by_memory) or self.matrix_tflop_s < by_memory else "memory"

    def share(self, rate: float, intensity: float) -> str:
        """A rate under the roof, in words: where one of the two is not known the roof may be lower still."""
        if math.isnan(roof := self.tflop_s(intensity)):
            return ""
        known = not (math.isnan(self.bandwidth_gb_s) or math.isnan(self.matrix_tflop_s))
        return ("" if known else "\u2265") + f"{rate / roof:.0%}"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row under the roof."""

    backend: str
    mechanism: str
    title: str
    seq_len: int
    intensity: float
    """Useful FLOP over the bytes that must move."""
    tflop_s: float
    """Useful FLOP over the time."""
    executed_intensity: float
    """Executed FLOP over the bytes that moved (those that must, where they were not counted)."""
    executed_tflop_s: float


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The rows of one pass of a condition."""

    condition: Condition
    pass_name: str
    roof: Roof
    points: tuple[Point, ...]
    """By backend and length."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Heads of its table."""
        return COLUMNS + (EXECUTED if self.counted else ())

    @property
    def counted(self) -> bool:
        """Whether a profile counted the work of one of its rows."""
        return not all(math.isnan(point.executed_tflop_s) for point in self.points)

    @property
    def longest(self) -> list[Point]:
        """The point of each backend's longest length, the fastest first."""
        by_backend = {point.backend: point for point in self.points}
        return sorted(by_backend.values(), key=lambda point: -point.tflop_s)


def load(read: Sequence[Results], profiles: Sequence[Analysis] = ()) -> pd.DataFrame:
    """The frame of the rows with their work and roofs; profiles lend a rate that no run of the card has."""
    rates = _matrix_rates(read, profiles)
    work = [_work(row, result, profiles, rates) for result in read for row in result.rows.values()]
    return (
        frame.of(*read).assign(**{name: [one[name] for one in work] for name in work[0]})
        if work
        else frame.of()
    )


def panels(rows: pd.DataFrame) -> list[Panel]:
    """A panel a pass and condition; those without a timed row are left out."""
    made = []
    for condition in conditions(rows):
        for pass_name in condition.passes:
            chosen = condition.rows[(condition.rows["pass"] == pass_name) & condition.rows["time_ms"].notna()]
            if len(chosen):
                made.append(_panel(condition, pass_name, chosen))
    return made


def table(panel: Panel, every_length: bool = False) -> list[list[str]]:
    """Cells by its columns, at each backend's longest length or at all."""
    from lbench.lengths import format_length

    points = (
        sorted(panel.points, key=lambda one: (one.seq_len, -one.tflop_s)) if every_length else panel.longest
    )
    return [
        [
            point.title,
            format_length(point.seq_len),
            _told(point.intensity),
            _told(point.tflop_s),
            _told(panel.roof.tflop_s(point.intensity)),
            panel.roof.share(point.tflop_s, point.intensity),
            panel.roof.name(point.intensity),
            *((_told(point.executed_intensity), _told(point.executed_tflop_s)) if panel.counted else ()),
        ]
        for point in points
    ]


def missing(panel: Panel) -> list[str]:
    """What is not known of a panel, what makes it known, and what its signs say."""
    told = []
    if math.isnan(panel.roof.matrix_tflop_s) != math.isnan(panel.roof.bandwidth_gb_s):
        told.append("\u2265: of the one roof that is known; the other may be lower")
    if math.isnan(panel.roof.matrix_tflop_s):
        told.append(
            "no matrix rate: the runs of these rows did not measure it, newer ones do; "
            "--profile takes that of a profile on the same card"
        )
    if math.isnan(panel.roof.bandwidth_gb_s):
        told.append("no copy bandwidth: the runs of these rows are not there")
    if not panel.counted:
        told.append("no executed FLOPs: count them with `lbench profile KEY --ncu` and give --profile FOLDER")
    return told


def _work(
    row: Row, result: Results, profiles: Sequence[Analysis], rates: Mapping[tuple[str, str], float]
) -> dict[str, float]:
    run = result.runs.get(row.run, {})
    profile = next((one for one in profiles if one.kept.case.key == row.case.key), None)
    executed = profile.executed_flops if profile else row.model.get("executed_flops")
    useful_flops, floor_bytes = _least(row)
    moved = (profile.moved_bytes if profile else None) or floor_bytes
    return {
        "useful_flops": useful_flops,
        "floor_bytes": floor_bytes,
        "executed_flops": math.nan if executed is None else executed,
        "moved_bytes": moved,
        "bandwidth_gb_s": run.get("copy_bandwidth_gb_s") or math.nan,
        "matrix_tflop_s": rates.get(
            (_machine(result.environments.get(run.get("environment", ""))), row.case.dtype), math.nan
        ),
    }


def _least(row: Row) -> tuple[float, float]:
    """Useful FLOPs and bytes that must move; a model's are in its row, as its config.json may be gone."""
    if row.case.model:
        return row.model.get("useful_flops", math.nan), row.model.get("floor_bytes", math.nan)
    return floors.useful_flops(row.case), floors.floor_bytes(row.case)


def _matrix_rates(read: Sequence[Results], profiles: Sequence[Analysis]) -> dict[tuple[str, str], float]:
    """(card or CPU, dtype) -> the median rate of the runs on it, else of the profiles on one of that name."""
    runs = [
        (result.environments.get(run.get("environment", "")), run)
        for result in read
        for run in result.runs.values()
    ]
    kept = [(profile.kept.document.get("environment"), profile.kept.document) for profile in profiles]
    return _medians(kept) | _medians(runs)


def _medians(
    documents: Sequence[tuple[Mapping[str, Any] | None, Mapping[str, Any]]],
) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], list[float]] = {}
    for environment, document in documents:
        for dtype, rate in (document.get("matrix_tflop_s") or {}).items():
            if rate:
                found.setdefault((_machine(environment), dtype), []).append(float(rate))
    return {name: median(rates) for name, rates in found.items()}


def _machine(environment: Mapping[str, Any] | None) -> str:
    known = environment or {}
    return str(known.get("gpu") or known.get("cpu") or "")


def _panel(condition: Condition, pass_name: str, rows: pd.DataFrame) -> Panel:
    roof = Roof(
        bandwidth_gb_s=float(rows["bandwidth_gb_s"].median()),
        matrix_tflop_s=float(rows["matrix_tflop_s"].median()),
    )
    return Panel(
        condition=condition,
        pass_name=pass_name,
        roof=roof,
        points=tuple(
            _point(row) for _, row in rows.sort_values(["mechanism", "backend", "seq_len"]).iterrows()
        ),
    )


def _point(row: pd.Series) -> Point:
    time_s = row["time_ms"] * 1e-3
    return Point(
        backend=row["backend"],
        mechanism=row["mechanism"],
        title=title(row["backend"]),
        seq_len=int(row["seq_len"]),
        intensity=row["useful_flops"] / row["floor_bytes"],
        tflop_s=row["useful_flops"] / time_s / 1e12,
        executed_intensity=row["executed_flops"] / row["moved_bytes"],
        executed_tflop_s=row["executed_flops"] / time_s / 1e12,
    )


def _told(value: float) -> str:
    return "" if math.isnan(value) else number(value)
