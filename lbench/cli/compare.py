"""`lbench compare`: two result folders, case by case."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lbench.gates.sides import Pair


def command(
    one: Annotated[Path, typer.Argument(help="A result folder, or a folder of them.", show_default=False)],
    other: Annotated[Path, typer.Argument(help="What is compared with it.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Every pair as JSON.")] = False,
) -> None:
    """Show how much longer each case takes in the second folder than in the first.

    With several processes a side the interval holds what varies between them; with one it is that of samples
    alone. It judges nothing: `lbench check regression` does.
    """
    from lbench.gates.processes import differences, read
    from lbench.gates.sides import pairs

    sides = read(one), read(other)
    made = pairs(*sides)
    if as_json:
        print(json.dumps([dataclasses.asdict(pair) for pair in made], indent=1))
        return
    _print(made, one.name, other.name)
    common = [pair.key for pair in made if all(pair.verdicts)]
    for name, values in differences(*sides, common).items():
        print(f"lbench: {name} differs: {' / '.join(sorted(map(str, values)))}", file=sys.stderr)


def _print(made: list[Pair], one: str, other: str) -> None:
    """Plain columns: keys are long, and a narrow terminal must not cut them."""
    lines = [("case", one, other, "second over first (95 %)")]
    for pair in made:
        first, second = (
            f"{time_ms:.4g} ms" if verdict == "ok" else verdict or "not there"
            for verdict, time_ms in zip(pair.verdicts, pair.times_ms, strict=True)
        )
        lines.append((pair.key, first, second, str(pair.ratio or "")))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for key, first, second, ratio in lines:
        print(f"{key:<{widths[0]}}  {first:>{widths[1]}}  {second:>{widths[2]}}  {ratio}".rstrip())
