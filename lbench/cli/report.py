"""`lbench report`: results as one HTML file to look at and to send on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    results: Annotated[list[Path], typer.Argument(help="Result folders.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("report.html"),
) -> None:
    """Write one HTML file that needs no network: verdict, interactive charts, failures, every row.

    Several folders become a comparison across their machines and commits.
    """
    from lbench.page import render
    from lbench.report.sources import gather

    sources = gather(results)
    content = render.html(sources)
    render.write(content, out)
    count = sum(len(source.rows) for source in sources)
    print(f"{count} rows, {len(content.encode()) / 1e6:.1f} MB: {out}")
