"""`lbench plot`: figures from result folders. Needs no GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lbench.cli import axes, complete
from lbench.cli.lists import split_formats, split_models, split_names
from lbench.errors import UsageError


def command(
    results: Annotated[list[Path], typer.Argument(help="Result folders.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Where figures go; by default `figures` in the first result folder.")
    ] = None,
    formats: Annotated[str, typer.Option("--format", help="png, svg, pdf.")] = "png",
    relative_to: Annotated[
        str | None, typer.Option(help="Backend that speeds are relative to; by default lightning_triton.")
    ] = None,
    backend: axes.OnlyBackends = None,
    pass_names: axes.OnlyPasses = None,
    model: axes.OnlyModels = None,
    seq: Annotated[
        str | None, typer.Option(help="Only these lengths: 1k..64k (all between), 3k,10k.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Figures to draw; by default time, time per token, throughput, memory, error, speed.",
            autocompletion=complete.metrics,
        ),
    ] = None,
) -> None:
    """Draw time, time per token, throughput, memory, error and relative speed against length."""
    from lbench.plot import files, redraw
    from lbench.report.choices import load, select
    from lbench.report.values import DEFAULT_METRICS, check_reference

    kinds = split_formats(formats, files.FORMATS)
    metrics = split_names(metric, "metric") or DEFAULT_METRICS
    check_reference(metrics, relative_to)
    chosen = split_models(model)
    frame = select(
        load(results),
        split_names(backend, "backend"),
        split_names(pass_names, "pass"),
        seq,
        chosen,
    )
    origin = redraw.origin(
        "plot",
        results,
        backend=backend,
        passes=pass_names,
        seq=seq,
        model=",".join(chosen),
        metric=metric,
        relative_to=relative_to,
    )
    made = dict(files.render(frame, metrics, kinds, relative_to or "", origin))
    drawn = {name: content for name, content in made.items() if content is not None}
    if not drawn:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in frame["verdict"].value_counts().items())
        raise UsageError(f"nothing to draw: no row has {' or '.join(metrics)} ({counts})")
    folder = out or (results[0].parent if results[0].is_file() else results[0]) / "figures"
    for path in files.write(drawn, folder):
        print(path)
    for name in made.keys() - drawn.keys():
        print(f"not drawn: {name}, no row has its metric", file=sys.stderr)
