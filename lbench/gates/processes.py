"""Result folders as processes: the rows of each run that measured a case, and the machine they ran on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbench import results
from lbench.errors import UsageError
from lbench.metrics import METRICS
from lbench.results import Row
from lbench.statistics import median, median_interval, normal_quantile

MACHINE = ("gpu", "gpu_memory_mib", "power_limit_w", "driver", "cpu", "cores", "threads")
"""Of an environment: what makes times of another machine. CPU and threads count where the CPU computes."""
OF_CPU = ("cpu", "cores", "threads")
PROTOCOL = ("l2", "timer")
"""Of a run's suite: what makes times of another protocol."""
SOFTWARE = ("torch", "triton", "python")
"""Told where it differs: an upgrade is among the things that a gate is to judge."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """What a folder, or a folder of folders, holds; of each run the last row of a case stands."""

    name: str
    rows: dict[str, list[Row]]
    """By key, the rows of all its processes, the oldest first."""
    runs: dict[str, dict[str, Any]]
    environments: dict[str, dict[str, Any]]
    problems: tuple[str, ...] = ()

    def machine(self, row: Row) -> dict[str, Any]:
        """What times of a row depend on beside the code: machine and protocol."""
        run, environment = self._documents(row)
        cpu = row.case.device == "cpu"
        found = {name: environment.get(name) for name in MACHINE if cpu or name not in OF_CPU}
        return found | {name: run.get("suite", {}).get(name) for name in PROTOCOL}

    def software(self, row: Row) -> dict[str, Any]:
        """Versions under a row."""
        environment = self._documents(row)[1]
        return {name: environment.get(name) for name in SOFTWARE}

    def floor_ms(self, row: Row) -> float:
        """The memory floor by the bandwidth that the row's own run measured; NaN where it measured none."""
        return METRICS["floor_ms"].value(row, self.runs.get(row.run, {}))

    def _documents(self, row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
        run = self.runs.get(row.run, {})
        return run, self.environments.get(str(run.get("environment")), {})


def read(folder: Path, wanted: Callable[[Row], bool] = lambda _: True) -> Side:
    """Reads a result folder with the history it holds, or every result folder in a folder."""
    found: dict[str, list[Row]] = {}
    runs: dict[str, dict[str, Any]] = {}
    environments: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for place in places(folder):
        whole = results.read(place)
        runs |= whole.runs
        environments |= whole.environments
        for _, row in results.entries(place, problems):
            if wanted(row):
                found.setdefault(row.case.key, []).append(row)
    if not found:
        raise UsageError("; ".join([f"{folder} has no row that was asked for", *problems]))
    rows = {key: _by_run(of_key) for key, of_key in found.items()}
    return Side(name=folder.name, rows=rows, runs=runs, environments=environments, problems=tuple(problems))


def joined(sides: Sequence[Side]) -> Side:
    """All processes of several sides as one."""
    rows: dict[str, list[Row]] = {}
    for side in sides:
        for key, of_key in side.rows.items():
            rows.setdefault(key, []).extend(of_key)
    return Side(
        name=", ".join(side.name for side in sides),
        rows={key: _by_run(of_key) for key, of_key in rows.items()},
        runs={name: run for side in sides for name, run in side.runs.items()},
        environments={name: one for side in sides for name, one in side.environments.items()},
        problems=tuple(problem for side in sides for problem in side.problems),
    )


def _by_run(rows: Iterable[Row]) -> list[Row]:
    """Of each run the last row, the oldest first."""
    last = {row.run: row for row in rows}
    return sorted(last.values(), key=lambda row: row.started_at)


def holds_rows(folder: Path) -> bool:
    """Whether it is a result folder."""
    return any((folder / name).is_file() for name in ("rows.jsonl", "rows.jsonl.gz"))


def places(folder: Path) -> list[Path]:
    """The result folder itself, or those in it. UsageError where there is none."""
    if folder.is_file() or holds_rows(folder):
        return [folder]
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    inside = sorted(place for place in folder.iterdir() if place.is_dir() and holds_rows(place))
    if not inside:
        raise UsageError(
            f"{folder} holds no rows.jsonl, nor does a folder in it; `lbench run --out` makes one"
        )
    return inside


def differences(one: Side, other: Side, keys: Iterable[str]) -> dict[str, set[Any]]:
    """Fields of machine and protocol that are not the same in all rows of both sides, with their values."""
    return _differing([side.machine(row) for side in (one, other) for key in keys for row in side.rows[key]])


def software_differences(one: Side, other: Side, keys: Iterable[str]) -> dict[str, set[Any]]:
    """Versions that are not the same in all rows of both sides."""
    return _differing([side.software(row) for side in (one, other) for key in keys for row in side.rows[key]])


def _differing(found: list[dict[str, Any]]) -> dict[str, set[Any]]:
    names = {name for fields in found for name in fields}
    values = {name: {fields[name] for fields in found if name in fields} for name in sorted(names)}
    return {name: seen for name, seen in values.items() if len(seen) > 1}


def log_time(row: Row) -> float:
    """Of the median of a process."""
    return math.log(median(row.times_ms))


def sampling_variance(row: Row) -> float:
    """Of that logarithm, from the samples alone: the least that two processes may differ by."""
    low, high = median_interval(row.times_ms)
    return (math.log(high / low) / 2 / normal_quantile(0.975)) ** 2
