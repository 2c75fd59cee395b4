"""`lbench report`: results as one file to look at and to send on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lbench.terminal import counted


def command(
    results: Annotated[list[Path], typer.Argument(help="Result folders.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; by default report.html.")
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="html, markdown, pdf, latex; by default what --out ends in."),
    ] = None,
) -> None:
    """Write one file that needs no network: verdict, interactive charts, failures, every row.

    Several folders become a comparison across their machines and commits. Markdown, PDF and LaTeX hold the
    verdict, the tables and the environment; PDF the figures too.
    """
    from lbench.page import files
    from lbench.report.sources import gather

    kind = files.kind_of(format_name, out)
    path = out or Path(f"report.{files.SUFFIXES[kind]}")
    sources = gather(results)
    content = files.make(sources, kind)
    files.write(content, path)
    count = sum(len(source.rows) for source in sources)
    print(f"{counted(count, 'row')}, {files.size_text(len(content))}: {path}")
