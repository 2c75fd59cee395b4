"""`lbench show`: a result folder in a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    results: Annotated[list[Path], typer.Argument(help="Result folders.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Print a summary, a sparkline a backend over length, and what failed.

    Bars rise with the time per token, on one logarithmic scale a pass; x is a case without a time.
    """
    from lbench.report.sources import gather

    sources = gather(results)
    if as_json:
        from lbench.page.verdicts import as_json as told

        print(json.dumps([told(source) for source in sources], indent=1, allow_nan=False))
        return
    from rich.console import Console

    from lbench.report.overview import print_overview

    console = Console(highlight=False)
    for number, source in enumerate(sources):
        if number:
            console.print()
        print_overview(source, console)
