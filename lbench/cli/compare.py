"""`lbench compare`: two result folders, or two git revisions, case by case."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbench.cli import axes
from lbench.cli.plain_json import to_json
from lbench.errors import UsageError

if TYPE_CHECKING:
    from lbench.gates.sides import Pair

_UNTIMED = {"ok": "ok, not timed", "": "not there"}
"""Sides without a time; the others are told by their verdict."""


def command(
    one: Annotated[
        str, typer.Argument(help="A result folder, or a folder of them; with --revs, a suite.")
    ] = "",
    other: Annotated[
        Path | None, typer.Argument(help="What is compared with it.", show_default=False)
    ] = None,
    revs: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Measure two git revisions of the repository here, in turn."),
    ] = None,
    processes: Annotated[int, typer.Option(help="Processes a revision.", min=1)] = 5,
    path: Annotated[
        list[str] | None, typer.Option(help="Folder in a revision that Python imports its code from; '.'.")
    ] = None,
    build: Annotated[str, typer.Option(help="Command that makes a revision ready, in its worktree.")] = "",
    own_harness: Annotated[
        bool, typer.Option("--own-harness", help="Let each revision bring its own lbench.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:N; by default a GPU if there is one.")
    ] = None,
    case_budget: axes.CaseBudget = None,
    out: Annotated[Path | None, typer.Option(help="With --revs, where the rows go.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every pair as JSON.")] = False,
) -> None:
    """Show how much longer each case takes in the second folder, or revision, than in the first.

    With several processes a side the interval holds what varies between them; with one it is that of samples
    alone. It judges nothing: `lbench check regression` does.
    """
    if revs is not None:
        if other is not None:
            raise UsageError("--revs takes a suite alone, not two folders")
        options = ["--device", device] if device else []
        options += ["--case-budget", str(case_budget)] if case_budget else []
        first, second = _measured(revs, one, options, processes, path or ["."], build, own_harness, out)
    elif not one or other is None:
        raise UsageError("give two result folders, or --revs A B and a suite")
    else:
        first, second = Path(one), other
    _compare(first, second, revs, as_json)


def _measured(
    revs: tuple[str, str],
    suite: str,
    options: list[str],
    processes: int,
    paths: list[str],
    build: str,
    own_harness: bool,
    out: Path | None,
) -> tuple[Path, Path]:
    """Where the rows of both revisions are."""
    from lbench import revisions
    from lbench import suite as suites
    from lbench.cli import folders

    if suite:
        suites.load(suite)
    given = [str(Path(suite).resolve()) if suite.endswith(".toml") else suite] if suite else []
    place = (out or folders.new("revisions")).resolve()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UsageError(f"--out {place} exists; choose another one, nothing is overwritten")

    def say(text: str) -> None:
        print(f"lbench: {text}", file=sys.stderr, flush=True)

    with revisions.checked_out(revs, paths, build, say, own_harness) as found:
        sides = {one.folder: place / side for one, side in zip(found, ("first", "second"), strict=True)}
        for number, one in revisions.order(found, processes):
            say(f"process {number + 1} of {processes}: {one.name} ({one.commit[:12]})")
            rows = sides[one.folder] / str(number + 1)
            revisions.measure(one, paths, [*given, *options, "--out", str(rows)])
    say(f"rows: {place}")
    return place / "first", place / "second"


def _compare(first: Path, second: Path, names: tuple[str, str] | None, as_json: bool) -> None:
    from lbench.gates.processes import differences, read
    from lbench.gates.sides import pairs

    sides = read(first), read(second)
    made = pairs(*sides)
    if as_json:
        print(to_json([dataclasses.asdict(pair) for pair in made]))
        return
    _print(made, *(names or (first.name, second.name)))
    common = [pair.key for pair in made if all(pair.verdicts)]
    for name, values in differences(*sides, common).items():
        print(f"lbench: {name} differs: {' / '.join(sorted(map(str, values)))}", file=sys.stderr)


def _print(made: list[Pair], one: str, other: str) -> None:
    """Plain columns: keys are long, and a narrow terminal must not cut them."""
    from lbench.cli.columns import fitted
    from lbench.terminal import columns

    lines = [("case", one, other, "second over first (95 %)")]
    for pair in made:
        first, second = (
            f"{time_ms:.4g} ms" if time_ms is not None else _UNTIMED.get(verdict, verdict)
            for verdict, time_ms in zip(pair.verdicts, pair.times_ms, strict=True)
        )
        lines.append((pair.key, first, second, str(pair.ratio or "")))
    print("\n".join(fitted(lines, 1, columns())))
