"""`lbench roofline`: rows against what their card can move and compute."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lbench.errors import UsageError


def command(
    results: Annotated[list[Path], typer.Argument(help="Result folders.", show_default=False)],
    profile: Annotated[
        list[Path] | None,
        typer.Option(help="Kept profiles: executed FLOPs of their cases.", show_default=False),
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Only these backends: a,b.")] = None,
    pass_names: Annotated[str | None, typer.Option("--pass", help="Only these passes: fwd,bwd.")] = None,
    seq: Annotated[
        str | None, typer.Option(help="Only these lengths: 1k..64k (all between); then all are listed.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where figures go; by default `figures` in the first result folder.")
    ] = None,
    formats: Annotated[str, typer.Option("--format", help="png, svg, pdf.")] = "png",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, draw nothing.")] = False,
) -> None:
    """Draw every backend under the measured copy bandwidth and matrix rate, and print the same as a table.

    Useful FLOPs (the mechanism's cheapest exact form) and executed ones (of kept profiles) are apart.
    """
    import dataclasses
    import json

    from lbench.cli.lists import split_formats, split_names
    from lbench.profiling import folder as folders
    from lbench.profiling.analysis import analyse
    from lbench.report import roofline
    from lbench.report.choices import select
    from lbench.results import read

    read_results = [read(path) for path in results]
    for problem in (problem for one in read_results for problem in one.problems):
        print(f"lbench: {problem}", file=sys.stderr)
    profiles = [analyse(folders.read(path)) for path in profile or []]
    rows = roofline.load(read_results, profiles)
    if rows.empty:
        raise UsageError("the results hold no rows yet; let `lbench run` finish a case first")
    chosen = select(rows, split_names(backend, "backend"), split_names(pass_names, "pass"), seq)
    panels = roofline.panels(chosen)
    if not panels:
        raise UsageError("nothing to draw: no row has a time")
    if as_json:
        told = [
            {
                "condition": panel.condition.title,
                "setting": panel.condition.setting,
                "pass": panel.pass_name,
                "roof": _known(dataclasses.asdict(panel.roof)),
                "points": [_known(dataclasses.asdict(point)) for point in panel.points],
                "missing": roofline.missing(panel),
            }
            for panel in panels
        ]
        print(json.dumps(told, indent=1))
        return
    _print(panels, every_length=seq is not None)
    from lbench.plot import files, redraw
    from lbench.plot.roofline import roofline_files

    origin = redraw.origin("roofline", results, profile, backend=backend, passes=pass_names, seq=seq)
    folder = out or (results[0].parent if results[0].is_file() else results[0]) / "figures"
    for path in files.write(roofline_files(panels, split_formats(formats, files.FORMATS), origin), folder):
        print(path, file=sys.stderr)


def _known(fields: dict[str, object]) -> dict[str, object]:
    """JSON has no NaN: what is not known is null."""
    return {name: None if value != value else value for name, value in fields.items()}


def _print(panels: list, every_length: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from lbench.profiling.forms import PlainTable
    from lbench.report import roofline
    from lbench.report.wording import PASS_TITLES

    console = Console(highlight=False)
    for panel in panels:
        heading = f"{PASS_TITLES.get(panel.pass_name, panel.pass_name)}, {panel.condition.title}"
        console.print(Text(heading, style="bold"))
        console.print(Text(panel.condition.setting, style="dim"))
        made = PlainTable(panel.columns)
        for cells in roofline.table(panel, every_length):
            made.add_row(*cells)
        console.print(made)
        for told in roofline.missing(panel):
            console.print(Text(told, style="dim"))
        console.print()
