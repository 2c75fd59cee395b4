"""`lbench baseline`: what `lbench check regression` compares with, kept by name and machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbench import terminal
from lbench.errors import UsageError

if TYPE_CHECKING:
    from lbench.gates.baselines import Baseline

app = typer.Typer(
    help="Baselines of `lbench check regression`, by name and machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(help="Name of the baseline.", show_default=False)]
Store = Annotated[Path, typer.Option(envvar="LBENCH_BASELINES", help="Folder that holds all baselines.")]
Machine = Annotated[str | None, typer.Option(help="Which machine, where the name has several.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON on standard output.")]
HERE = Path("baselines")


@app.command("save")
def save_command(
    name: Name,
    results: Annotated[list[Path], typer.Argument(help="Result folders, or folders of them.")],
    add: Annotated[bool, typer.Option("--add", help="Add to the generation saved last.")] = False,
    store: Store = HERE,
) -> None:
    """Keep the processes of result folders as a generation of a baseline.

    The first one is in force at once and the anchor; a later one waits for `lbench baseline promote`.
    """
    from lbench.gates import baselines
    from lbench.gates.evidence import LEAST_PROCESSES

    made, number, has_more = baselines.save(store, name, results, add)
    fewest = _processes(made, number)
    print(f"{made.folder / str(number)}: {terminal.counted(fewest, 'process')}{_told(made, number)}")
    if not has_more:
        print("nothing was added: these processes are there already")
    if fewest < LEAST_PROCESSES:
        terminal.tell(
            f"a gate needs {LEAST_PROCESSES}: run again, over more than one session, then `save --add`"
        )


@app.command("list")
def list_command(store: Store = HERE, as_json: AsJson = False) -> None:
    """Show the names, their machines, and the generation in force."""
    from lbench.gates import baselines

    found = baselines.kept(store)
    if as_json:
        print(json.dumps([_as_dict(one) for one in found], indent=1))
        return
    if not found:
        print(f"no baseline in {store}; `lbench baseline save NAME FOLDER` keeps one")
    for one in found:
        fewest = _processes(one, one.current)
        of = f"generation {one.current} of {len(one.generations)}"
        print(f"{one.name}/{one.machine}: {of}, {terminal.counted(fewest, 'process')}")


@app.command("show")
def show_command(
    name: Name,
    machine: Machine = None,
    margin: Annotated[float, typer.Option(help="Changes within this share count as the same.")] = 0.03,
    store: Store = HERE,
    as_json: AsJson = False,
) -> None:
    """Show the fingerprint, the generations, and what each case can be guarded against."""
    from lbench.gates import noise

    one = _one(store, name, machine)
    cases = noise.of_baseline(one.side(one.current), margin)
    if as_json:
        print(json.dumps({**_as_dict(one), "cases": [case.as_dict() for case in cases]}, indent=1))
        return
    print(f"{one.name}/{one.machine}")
    for field, value in one.fingerprint.items():
        terminal.tell(f"{field}: {value}", first="  ", indent=" " * 4)
    for number in one.generations:
        fewest = terminal.counted(_processes(one, number), "process")
        print(f"generation {number}: {fewest}{_told(one, number)}")
    for case in cases:
        terminal.tell(case.line, indent=" " * 4)


@app.command("promote")
def promote_command(
    name: Name,
    generation: Annotated[int | None, typer.Option(help="Which one; by default the one saved last.")] = None,
    machine: Machine = None,
    accept_slower: Annotated[
        bool, typer.Option("--accept-slower", help="Although it fails against the one in force.")
    ] = False,
    pin: Annotated[
        bool, typer.Option("--pin", help="Make it the anchor too, which guards against drift.")
    ] = False,
    store: Store = HERE,
) -> None:
    """Put a generation in force, once it is compared with the one before it and with the anchor.

    Exit code 1, and nothing changes, where it is slower; 2 where it has too few processes.
    """
    from lbench.gates import baselines, drift, output
    from lbench.gates.evidence import LEAST_PROCESSES
    from lbench.gates.regression import Options

    one = _one(store, name, machine)
    number = one.generations[-1] if generation is None else generation
    if number not in one.generations:
        there = ", ".join(map(str, one.generations))
        raise UsageError(f"{one.name} has no generation {number}; it has {there}")
    fewest = _processes(one, number)
    if fewest < LEAST_PROCESSES:
        raise UsageError(
            f"generation {number} has {fewest} of {LEAST_PROCESSES} processes; `save --add` more"
        )
    if number != one.current:
        older = {role: one.side(of) for role, of in one.older().items() if of != number}
        report = drift.check(one.side(number), one.side(one.current), older, Options())
        output.show(report, as_json=False)
        if report.outcome == "fail" and not accept_slower:
            terminal.tell(
                "not promoted; --accept-slower takes it all the same, and --pin makes it the anchor"
            )
            raise typer.Exit(1)
    made = baselines.promote(one, number, pin)
    print(f"{made.name}/{made.machine}: generation {made.current} in force, anchor {made.anchor}")


def _one(store: Path, name: str, machine: str | None) -> Baseline:
    from lbench.gates import baselines

    return baselines.only(store, name if machine is None else f"{name}/{machine}")


def _processes(baseline: Baseline, generation: int) -> int:
    """Those that timed the case with the fewest; cases that none timed are no cases of a gate."""
    timed = [sum(bool(row.times_ms) for row in rows) for rows in baseline.side(generation).rows.values()]
    return min(filter(None, timed), default=0)


def _told(baseline: Baseline, generation: int) -> str:
    roles = {
        "in force": baseline.current,
        "previous": baseline.previous,
        "anchor": baseline.anchor,
    }
    told = [role for role, number in roles.items() if number == generation]
    return f" ({', '.join(told)})" if told else " (`lbench baseline promote` puts it in force)"


def _as_dict(baseline: Baseline) -> dict[str, Any]:
    return {
        "name": baseline.name,
        "machine": baseline.machine,
        "fingerprint": baseline.fingerprint,
        "current": baseline.current,
        "previous": baseline.previous,
        "anchor": baseline.anchor,
        "generations": {number: _processes(baseline, number) for number in baseline.generations},
    }
