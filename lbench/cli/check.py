"""`lbench check`: gates with an exit code, for a repository's CI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbench.cli import axes
from lbench.cli.lists import split_names
from lbench.errors import UsageError, unknown

if TYPE_CHECKING:
    from lbench.gates.processes import Side
    from lbench.gates.verdict import Report
    from lbench.results import Results, Row

app = typer.Typer(
    help="Gates over kept rows. Exit codes: 0 pass, 1 fail, 2 usage, 3 undecided.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Folder = Annotated[Path, typer.Argument(help="A result folder.", show_default=False)]
Markdown = Annotated[Path | None, typer.Option(help="Write a pull-request comment here.")]
JUnit = Annotated[Path | None, typer.Option(help="Write JUnit XML here.")]
AsJson = Annotated[bool, typer.Option("--json", help="The report as JSON on standard output.")]
GitHub = Annotated[bool, typer.Option("--github", help="Add GitHub annotations and the step's summary.")]


@app.command("constancy")
def constancy_command(
    results: Folder,
    backend: axes.OnlyBackends = None,
    pass_names: axes.OnlyPasses = None,
    alpha: Annotated[float | None, typer.Option(help="Power of length allowed; 0.02.")] = None,
    worst_over_best: Annotated[float | None, typer.Option(help="Slowest over fastest length; 1.10.")] = None,
    floor_share: Annotated[float | None, typer.Option(help="Least share of the memory floor; 0.5.")] = None,
    markdown: Markdown = None,
    junit: JUnit = None,
    as_json: AsJson = False,
    github: GitHub = False,
) -> None:
    """Check that time and memory a token do not depend on length: flat, and not flat because slow.

    Limits are those of the suite's [constancy], by default lightning's; options stand over both.
    """
    from lbench.gates import constancy

    given = {"alpha": alpha, "worst_over_best": worst_over_best, "floor_share": floor_share}
    read = _read(results)
    wanted = _wanted(backend, pass_names)
    rows = [row for row in read.rows.values() if wanted(row)]
    if not read.rows:
        raise UsageError(f"{results} holds no rows yet; let `lbench run` finish a case first")
    if not rows:
        raise UsageError(
            f"{results} has no row of that --backend and --pass; `lbench table` shows what it has"
        )
    report = constancy.check(read, rows, {name: value for name, value in given.items() if value is not None})
    _finish(report, markdown, junit, as_json, github)


@app.command("regression")
def regression_command(
    results: Folder,
    baseline: Annotated[
        str,
        typer.Option(help="Name of a baseline, or a folder with the rows of five processes or more."),
    ],
    backend: axes.OnlyBackends = None,
    pass_names: axes.OnlyPasses = None,
    margin: Annotated[float, typer.Option(help="Changes within this share count as the same.")] = 0.03,
    widest: Annotated[
        float, typer.Option(help="Cases too noisy for the margin may pass by what they can hold, up to this.")
    ] = 0.10,
    across_machines: Annotated[
        bool, typer.Option("--across-machines", help="Compare floor shares, not times.")
    ] = False,
    store: Annotated[
        Path, typer.Option(envvar="LBENCH_BASELINES", help="Folder that holds all baselines.")
    ] = Path("baselines"),
    budget: Annotated[
        str | None, typer.Option(help="Time, 5m, for further processes of cases whose verdict is open.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where these run; by default where RESULTS were measured.")
    ] = None,
    markdown: Markdown = None,
    junit: JUnit = None,
    as_json: AsJson = False,
    github: GitHub = False,
) -> None:
    """Compare case by case with a baseline: faster, slower, same or undecided.

    At most 1 % of clean runs fail, over the whole table: slower needs two processes that agree, so RESULTS is
    best a folder of two runs or more. A named baseline also guards against slow drift. A case that turned
    wrong, out_of_memory or crashed fails.
    """
    from lbench.cli.further import Further
    from lbench.durations import parse_duration
    from lbench.gates import drift, regression
    from lbench.gates.reference import reference

    wanted = _wanted(backend, pass_names)
    options = regression.Options(margin=margin, widest=widest, across_machines=across_machines)
    new = regression.read(results, wanted)
    current, older = reference(baseline, store, new, wanted, across_machines)

    def judge(side: Side) -> Report:
        return drift.check(side, current, older, options)

    if budget is None:
        report = judge(new)
    else:
        further = Further(folder=results, device=device, budget_s=parse_duration(budget))
        report = further.settle(lambda: regression.read(results, wanted), judge)
    _finish(report, markdown, junit, as_json, github)


def _read(folder: Path) -> Results:
    import sys

    from lbench import results

    read = results.read(folder)
    for problem in read.problems:
        print(f"lbench: {problem}", file=sys.stderr)
    return read


def _wanted(backend: str | None, pass_names: str | None) -> Callable[[Row], bool]:
    """The choice that both options make. UsageError for a pass that there is not."""
    from lbench.case import PASSES

    backends, passes = split_names(backend, "backend"), split_names(pass_names, "pass")
    for name in passes:
        if name not in PASSES:
            raise unknown("pass", name, PASSES)

    def fits(row: Row) -> bool:
        case = row.case
        return (not backends or case.backend in backends) and (not passes or case.pass_name in passes)

    return fits


def _finish(report: Report, markdown: Path | None, junit: Path | None, as_json: bool, github: bool) -> None:
    """Prints and writes a report, and exits as it says."""
    from lbench.gates import output

    output.show(report, as_json)
    output.write(report, markdown, junit)
    if github:
        output.announce(report)
    raise typer.Exit(report.exit_code)
