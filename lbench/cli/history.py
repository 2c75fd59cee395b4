"""`lbench history`: a case over many kept folders, with the steps in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbench import terminal
from lbench.errors import UsageError, unknown

if TYPE_CHECKING:
    from lbench.gates.history import History


def command(
    results: Annotated[
        list[Path], typer.Argument(help="Result folders, or folders of them.", show_default=False)
    ],
    case: Annotated[str | None, typer.Option("--case", help="A case by its key; by default all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every process and step as JSON.")] = False,
) -> None:
    """Show how long cases took from process to process, and the commit at which that changed for good.

    Of several cases only those with a step are shown.
    """
    from lbench.gates.history import histories
    from lbench.gates.processes import joined, read

    side = joined([read(folder) for folder in results])
    if case is not None and case not in side.rows:
        raise unknown("case", case, list(side.rows))
    found = [one for one in histories(side) if case in (None, one.key)]
    if not found:
        raise UsageError("no row there has a time")
    if as_json:
        print(json.dumps([one.as_dict() for one in found], indent=1))
        return
    shown = found if case is not None else [one for one in found if one.steps]
    for one in shown:
        _print(one)
    if case is None:
        longest = max(len(one.points) for one in found)
        processes = terminal.counted(longest, "process")
        print(f"{terminal.counted(len(found), 'case')}, up to {processes} each: {len(shown)} with a step")


def _print(one: History) -> None:
    """The processes, one a line, with the steps between them."""
    terminal.tell(f"{one.key} on {one.machine}", indent="  ")
    steps = {step.index: step for step in one.steps}
    for index, point in enumerate(one.points):
        if index in steps:
            step = steps[index]
            ratio = f"{step.ratio:.3f} times ({step.low:.3f} to {step.high:.3f})"
            told = f"step: {ratio} at {step.after.commit}, after {step.before.commit}"
            terminal.tell(told, first="  ", indent=" " * 4)
        print(f"  {point.started_at}  {point.commit:<20}  {point.time_ms:.4g} ms")
    if not one.steps:
        print("  no step")
