"""`lbench table`: lengths across, backends down."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lbench.cli import axes, complete
from lbench.cli.lists import split_formats, split_models, split_names


def command(
    results: Annotated[list[Path], typer.Argument(help="Result folders.", show_default=False)],
    metric: Annotated[
        str | None,
        typer.Option(
            help="A metric, or relative_speed; by default time_ms, of models' training tokens_per_s.",
            autocompletion=complete.metrics,
        ),
    ] = None,
    format_name: Annotated[str, typer.Option("--format", help="rich, markdown, csv, latex.")] = "rich",
    backend: axes.OnlyBackends = None,
    pass_names: axes.OnlyPasses = None,
    model: axes.OnlyModels = None,
    seq: Annotated[
        str | None, typer.Option(help="Only these lengths: 1k..64k (all between), 3k,10k.")
    ] = None,
    relative_to: Annotated[
        str | None,
        typer.Option(help="Backend of relative_speed, which is then shown; by default lightning_triton."),
    ] = None,
) -> None:
    """Print a table a pass and condition, the best of each length in bold.

    Models of all sizes in one setting share a table; the best is that of its size.
    """
    from lbench.report.choices import load, select
    from lbench.report.model_conditions import of_models
    from lbench.report.model_tables import model_tables
    from lbench.report.table_formats import FORMATS, print_rich
    from lbench.report.tables import tables
    from lbench.report.values import RELATIVE, check_reference

    (kind,) = split_formats(format_name, ("rich", *FORMATS), most=1)
    frame = select(
        load(results),
        split_names(backend, "backend"),
        split_names(pass_names, "pass"),
        seq,
        split_models(model),
    )
    models = of_models(frame)
    wanted, reference = metric or (RELATIVE if relative_to else ""), relative_to or ""
    check_reference([wanted], relative_to)
    made = tables(frame[~models], wanted or "time_ms", reference) if (~models).any() else []
    made += model_tables(frame[models], wanted, reference) if models.any() else []
    if kind == "rich":
        from rich.console import Console

        print_rich(made, Console(highlight=False))
    else:
        sys.stdout.write(FORMATS[kind](made))
