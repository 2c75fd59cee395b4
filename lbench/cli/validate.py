"""`lbench validate`: whether a result folder can be believed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    results: Annotated[list[Path], typer.Argument(help="Result folders.", show_default=False)],
    figures: Annotated[
        bool, typer.Option("--figures", help="Redraw the figures too and compare them byte by byte.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What is wrong as JSON: folder to list.")] = False,
) -> None:
    """Check schema, checksums and references, and recompute every printed number from raw samples.

    Looks at the rows, their documents, and the exports (CSV, JSON) and Markdown tables that lie in the
    folder; other pages and tables there are named. Exits with 1 where anything is wrong.
    """
    from lbench import validate

    found = {str(folder): validate.problems(folder, figures) for folder in results}
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        for folder, problems in found.items():
            for problem in problems:
                print(f"{folder}: {problem}")
            names = ", ".join(validate.unread(Path(folder)))
            beside = f"; numbers not recomputed: {names}" if names else ""
            print(f"{folder}: {len(problems) or 'nothing'} wrong{beside}", file=sys.stderr)
    if any(found.values()):
        raise typer.Exit(1)
