"""`lbench export`: rows for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lbench.cli.folders import counted
from lbench.cli.lists import split_formats
from lbench.errors import UsageError


def command(
    results: Annotated[list[Path], typer.Argument(help="Result folders.", show_default=False)],
    format_name: Annotated[str, typer.Option("--format", help="csv, json, parquet.")] = "csv",
    out: Annotated[
        Path | None, typer.Option(help="The file to write; by default standard output (not for parquet).")
    ] = None,
) -> None:
    """Write one line a row, derived metrics included."""
    from lbench import export
    from lbench.report.choices import load

    (kind,) = split_formats(format_name, export.FORMATS, most=1)
    if kind == "parquet" and out is None:
        raise UsageError("parquet is no text; say where it goes: --out rows.parquet")
    frame = load(results)
    content = export.FORMATS[kind](frame)
    if out is None:
        sys.stdout.write(str(content))
    else:
        export.write(content, out)
        print(f"{counted(len(frame), 'row')}: {out}")
