"""`lbench merge`: several result folders as one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lbench.terminal import counted


def command(
    results: Annotated[list[Path], typer.Argument(help="Result folders.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new folder.", show_default=False)],
    newest: Annotated[
        bool, typer.Option("--newest", help="Of a case measured on two machines, let the newest row stand.")
    ] = False,
) -> None:
    """Join result folders: rows, runs, environments and protocols.

    Of a case that several folders hold the newest row stands; the others stay in the file. A newer row of
    `lbench verify` that is right leaves the times of an older one.
    """
    from lbench import folders

    written = folders.merge(results, out, newest)
    for line in written.told:
        print(f"lbench: {line}", file=sys.stderr)
    print(f"{counted(written.cases, 'case')}: {written.folder}")
