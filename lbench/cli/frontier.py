"""`lbench frontier`: the longest sequence before the memory ends, by backend and pass."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbench import terminal
from lbench.cli import axes, folders
from lbench.cli.lists import split_models
from lbench.errors import UsageError
from lbench.lengths import LARGEST, parse_length

if TYPE_CHECKING:
    from lbench.case import Case
    from lbench.results import Row
    from lbench.runner import Sweep
    from lbench.suite import Suite


def command(
    suite: axes.SuiteName = None,
    backend: axes.BackendNames = None,
    mechanism: axes.MechanismNames = None,
    pass_names: axes.PassNames = None,
    batch: axes.Batch = None,
    heads: axes.Heads = None,
    kv_heads: axes.KvHeads = None,
    head_dim: axes.HeadDim = None,
    head_dim_v: axes.HeadDimV = None,
    decay: axes.Decay = None,
    dtype: axes.Dtype = None,
    model: axes.ModelNames = None,
    body: axes.Body = None,
    attention: axes.Attention = None,
    checkpoint: axes.Checkpoint = None,
    chunk: axes.Chunk = None,
    prefill_chunk: axes.PrefillChunk = None,
    compile_blocks: axes.Compile = None,
    start: Annotated[str, typer.Option(help="The first length tried.")] = "1k",
    largest: Annotated[str, typer.Option(help="The longest length tried.")] = "16m",
    resolution: Annotated[
        float, typer.Option(help="Share of its end that the frontier is known to.", min=0.001, max=0.5)
    ] = 0.0625,
    rows_of: Annotated[
        Path | None,
        typer.Option(
            "--of", help="Measure nothing: the frontier in this folder's rows; figures go to --out."
        ),
    ] = None,
    device: axes.DeviceName = None,
    out: axes.Out = None,
    resume: axes.Resume = False,
    other_environment: axes.OtherEnvironment = False,
    cell_timeout: axes.CellTimeout = None,
    in_process: axes.InProcess = False,
) -> None:
    """Find the longest sequence each backend can do, by doubling and bisection.

    Every length tried is a row like any other, verified and timed with few samples. On a CPU running out of
    memory is a clean error under `ulimit -v` alone; else the prediction decides. Prints a table and draws a
    figure.
    """
    given = axes.given(locals())
    from lbench.device import probe
    from lbench.isolation import InProcessWorker, ProcessWorker
    from lbench.runner import Sweep

    if rows_of is not None:
        if suite or device or resume:
            raise UsageError(
                "--of measures nothing; it takes no suite, --device or --resume, but axes and --out"
            )
        if model is not None:
            given["model"] = list(split_models(model))
        _report_of(rows_of, given, out or rows_of / "figures")
        return
    given["seq"] = [start]
    lengths = parse_length(start), parse_length(largest)
    if lengths[0] > lengths[1]:
        raise UsageError(f"--start {start} is longer than --largest {largest}")
    axes.check(suite, given, device)
    target = folders.Target(out, resume, other_environment)
    make_worker = InProcessWorker if in_process else ProcessWorker
    found = probe(device, make_worker)
    chosen = _hasty(axes.chosen(suite, given, found.kind), cell_timeout)
    cases = chosen.cases(found.kind)
    writer, earlier = target.open(chosen.name, found)
    sweep = Sweep(
        suite=chosen,
        cases=cases,
        device=found,
        writer=writer,
        earlier=earlier,
        make_worker=make_worker,
    )
    _search(sweep, lengths, resolution)
    folder = sweep.writer.folder
    tried = [row for row in sweep.rows.values() if row.verdict != "unavailable"]
    _report(tried, folder, folder / "figures")


def _report_of(folder: Path, given: dict[str, Any], figures: Path) -> None:
    from lbench.report.frontier import rows_of

    _report(rows_of(folder, given), folder, figures, of=json.dumps(given))


def _hasty(suite: Suite, cell_timeout: float | None) -> Suite:
    """The suite with a handful of samples a case, and no energy: what is sought is the length."""
    stopping = dataclasses.replace(
        suite.stopping,
        budget_s=0.1,
        least=5,
        slow_least=2,
        very_slow_samples=1,
        rounds=1,
        slow_rounds=1,
        very_slow_rounds=1,
    )
    cell_timeout_s = cell_timeout or suite.cell_timeout_s
    return dataclasses.replace(
        suite, name="frontier", energy=False, stopping=stopping, cell_timeout_s=cell_timeout_s
    )


def _search(sweep: Sweep, lengths: tuple[int, int], resolution: float) -> None:
    from lbench import interrupt
    from lbench.frontier import search
    from lbench.lengths import format_length

    def measure(case: Case) -> Row:
        if case.key in sweep.rows and sweep.rows[case.key].is_final:
            return sweep.rows[case.key]
        return next(iter(list(sweep.rows_of([case]))))

    try:
        with interrupt.held_back(), sweep.session():
            for case in sweep.cases:
                sweep.keep_workers({case.backend})
                largest = min(lengths[1], _most(case))
                for row in search(case, measure, start=lengths[0], largest=largest, resolution=resolution):
                    told = f": {row.reason}" if row.reason else ""
                    length = format_length(row.case.seq_len)
                    name = case.with_setting(f"{case.who} {case.pass_name} {length}")
                    terminal.tell(f"{name}: {row.verdict}{told}", sys.stderr, indent="  ")
    except KeyboardInterrupt:
        folder = shlex.quote(str(sweep.writer.folder))
        print(f"\ninterrupted; the same command with --out {folder} --resume goes on", file=sys.stderr)
        raise typer.Exit(130) from None


def _most(case: Case) -> int:
    """The longest sequence that a model has positions for."""
    from lbench import models

    return (models.of_case(case).max_length if case.model else 0) or LARGEST


def _report(rows: list[Row], folder: Path, figures: Path, of: str = "") -> None:
    from lbench.frontier import frontiers
    from lbench.plot import files, redraw
    from lbench.plot.frontier import frontier_files
    from lbench.report.frontier import to_text

    found = frontiers(rows)
    if not found:
        raise UsageError(f"no backend could do any length; see the reasons in {folder}/rows.jsonl")
    print(to_text(found, terminal.columns()), end="")
    origin = redraw.origin("frontier", of=of)
    for path in files.write(frontier_files(found, origin=origin), figures):
        print(f"figure: {path}", file=sys.stderr)
    print(f"rows: {folder}", file=sys.stderr)
