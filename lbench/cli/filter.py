"""`lbench filter`: a part of a result folder as one of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbench.cli import axes
from lbench.cli.lists import split_models, split_names
from lbench.terminal import counted

if TYPE_CHECKING:
    from lbench.results import Row


def command(
    results: Annotated[Path, typer.Argument(help="A result folder.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new folder.", show_default=False)],
    backend: axes.OnlyBackends = None,
    mechanism: Annotated[str | None, typer.Option(help="Only these mechanisms: a,b.")] = None,
    pass_names: axes.OnlyPasses = None,
    model: axes.OnlyModels = None,
    seq: Annotated[
        str | None, typer.Option(help="Only these lengths: 1k..64k (all between), 3k,10k.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Only these types: bf16,fp32.")] = None,
    verdict: Annotated[str | None, typer.Option(help="Only these verdicts: ok,wrong.")] = None,
    run: Annotated[str | None, typer.Option(help="Only rows of these runs, by id.")] = None,
) -> None:
    """Copy the rows that fit every option into a new folder, with all that belongs to them.

    Of a case that was measured again its newest row decides; the older ones go with it.
    """
    from lbench import folders

    names = {
        "backend": backend,
        "mechanism": mechanism,
        "pass": pass_names,
        "model": model and ",".join(split_models(model)),
        "dtype": dtype,
        "verdict": verdict,
        "run": run,
    }
    written = folders.cut(results, out, _wanted(results, names, seq))
    for line in written.told:
        print(f"lbench: {line}", file=sys.stderr)
    print(f"{counted(written.cases, 'case')}: {written.folder}")


def _wanted(folder: Path, names: dict[str, str | None], seq: str | None) -> Callable[[Row], bool]:
    """The choice that the options make. UsageError for a name that no row has."""
    from lbench import results
    from lbench.errors import UsageError, unknown
    from lbench.report.choices import lengths_within

    rows = [row for _, row in results.entries(folder, [])]
    chosen = {name: split_names(text, name) for name, text in names.items() if text is not None}
    for name, values in chosen.items():
        known = {_value(row, name) for row in rows} - {""}
        if rows and not known:
            raise UsageError(f"{folder} holds no row of a {name}")
        for value in values:
            if rows and value not in known:
                raise unknown(f"{name} in {folder}", value, known)
    within = lengths_within(seq) if seq is not None else None

    def fits(row: Row) -> bool:
        if within is not None and not within(row.case.seq_len):
            return False
        return all(_value(row, name) in values for name, values in chosen.items())

    return fits


def _value(row: Row, name: str) -> Any:
    if name in ("verdict", "run"):
        return getattr(row, name)
    return row.case.as_dict()[name]
