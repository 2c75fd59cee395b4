"""`lbench crossover`: the length from which one backend (or model) beats another, with its interval."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbench import terminal
from lbench.cli.plain_json import to_json
from lbench.errors import UsageError, unknown

if TYPE_CHECKING:
    from lbench.crossover import Crossover
    from lbench.results import Results, Row


def command(
    one: Annotated[
        str,
        typer.Argument(
            help="A backend, model, config.json or 'BACKEND in MODEL', of a hybrid that 'with ATTENTION'.",
            show_default=False,
        ),
    ],
    other: Annotated[str, typer.Argument(help="What it is compared with.", show_default=False)],
    results: Annotated[list[Path], typer.Argument(help="Result folders.", show_default=False)],
    pass_names: Annotated[str | None, typer.Option("--pass", help="Only these passes: fwd,train.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every answer as JSON.")] = False,
) -> None:
    """Say from which length on ONE is faster than OTHER, for each pass and setting both were measured in.

    Resampled from raw samples (by the same rounds where both took turns), with power laws between measured
    lengths. It says so where there is no such length, or none that can be told.
    """
    from lbench import crossover, models
    from lbench.cli.lists import split_names

    one, other = models.name_of(one), models.name_of(other)
    passes = split_names(pass_names, "pass")
    answers = []
    for folder in results:
        read = _read(folder)
        if not read.rows:
            raise UsageError(f"{folder} holds no rows yet; let `lbench run` finish a case first")
        rows = [row for row in read.rows.values() if not passes or row.case.pass_name in passes]
        _check(rows, one, other, passes, folder)
        answers += [(found, _machine(read, found)) for found in crossover.find(rows, one, other)]
    if not answers:
        raise UsageError(
            f"{one} and {other} have no pass and setting (of models body and checkpoint too) in which both "
            f"have two samples or more at two lengths or more; `lbench table` shows what was measured"
        )
    if as_json:
        print(to_json([_record(found, machine) for found, machine in answers]))
        return
    from lbench.crossover.words import told

    width = terminal.columns()
    print("\n\n".join("\n".join(told(found, machine, width)) for found, machine in answers))


def _read(folder: Path) -> Results:
    from lbench import results

    read = results.read(folder)
    for problem in read.problems:
        print(f"lbench: {problem}", file=sys.stderr)
    return read


def _machine(read: Results, found: Crossover) -> str:
    """The GPUs, or CPUs, that its rows come from."""
    environments = [
        read.environments.get(read.runs.get(run, {}).get("environment", ""), {}) for run in found.runs
    ]
    names = {environment.get("gpu") or environment.get("cpu") or "unknown" for environment in environments}
    return " and ".join(sorted(names))


def _check(rows: list[Row], one: str, other: str, passes: Sequence[str], folder: Path) -> None:
    from lbench.case import ALL_PASSES
    from lbench.crossover import names_of

    for name in passes:
        if name not in ALL_PASSES:
            raise unknown("pass", name, ALL_PASSES)
    if one == other:
        raise UsageError(f"{one} is compared with itself; give two backends or models")
    if not rows:
        raise UsageError(f"{folder} has no row of pass {', '.join(passes)}; `lbench table` shows what it has")
    names = sorted({name for row in rows for name in names_of(row)})
    for name in (one, other):
        if name not in names:
            raise unknown(f"backend or model in {folder}", name, names)


def _record(answer: Crossover, machine: str) -> dict[str, Any]:
    return {"machine": machine, **dataclasses.asdict(answer)}
