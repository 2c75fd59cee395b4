"""`lbench show`: a result folder in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    results: Annotated[list[Path], typer.Argument(help="Result folders.", show_default=False)],
) -> None:
    """Print a summary, a sparkline a backend over length, and what failed.

    Bars rise with the time per token, on one logarithmic scale a pass; x is a case without a time.
    """
    from rich.console import Console

    from lbench.report.overview import print_overview
    from lbench.report.sources import gather

    console = Console(highlight=False)
    for number, source in enumerate(gather(results)):
        if number:
            console.print()
        print_overview(source, console)
