"""`lbench certificate`: who proved to compute the same function on the same inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lbench import terminal


def command(
    results: Annotated[list[Path], typer.Argument(help="Result folders.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """For each mechanism: its backends, the inputs they shared, and their errors against one budget.

    Exit code 1 where a backend of a group is wrong or was given other inputs than the rest.
    """
    from lbench.report.certificate import certificates, read_rows, to_dict, to_text

    made = certificates(read_rows(results))
    if as_json:
        print(json.dumps([to_dict(one) for one in made], indent=1))
    else:
        print("\n".join(to_text(one, terminal.columns()) for one in made), end="")
    if not all(one.holds for one in made):
        raise typer.Exit(1)
