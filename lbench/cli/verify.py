"""`lbench verify`: is the output right, and every gradient? Nothing is timed."""

from __future__ import annotations

import dataclasses
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbench import terminal
from lbench.cli import axes
from lbench.errors import UsageError

if TYPE_CHECKING:
    from lbench.case import Case
    from lbench.results import Row
    from lbench.runner import Sweep
    from lbench.suite import Suite

FAILED = frozenset({"wrong", "failed", "crashed", "timeout"})
"""Verdicts that make the exit code 1."""
NOTHING_VERIFIED = 3
HEAD = ("backend", "pass", "batch", "length", "dtype", "verdict", "error", "of limit", "twice", "")
WIDTHS = (28, 6, 5, 6, 5, 13, 8, 8, 7, 0)
"""Columns where there is room for all."""
NARROW = (7, 7, 8, 7)
"""Columns where there is not, from the verdict on; those before it are as wide as what stands in them."""


def command(
    suite: axes.SuiteName = None,
    seq: axes.Seq = None,
    backend: axes.BackendNames = None,
    mechanism: axes.MechanismNames = None,
    pass_names: axes.PassNames = None,
    batch: axes.Batch = None,
    tokens: axes.Tokens = None,
    heads: axes.Heads = None,
    kv_heads: axes.KvHeads = None,
    head_dim: axes.HeadDim = None,
    head_dim_v: axes.HeadDimV = None,
    decay: axes.Decay = None,
    inputs: axes.InputKinds = None,
    dtype: axes.Dtype = None,
    model: axes.ModelNames = None,
    body: axes.Body = None,
    attention: axes.Attention = None,
    checkpoint: axes.Checkpoint = None,
    chunk: axes.Chunk = None,
    prefill_chunk: axes.PrefillChunk = None,
    compile_blocks: axes.Compile = None,
    case: Annotated[str | None, typer.Option("--case", help="One case by its key; takes no axes.")] = None,
    device: axes.DeviceName = None,
    out: Annotated[Path | None, typer.Option(help="Keep the rows, without times, in a new folder.")] = None,
    cell_timeout: axes.CellTimeout = None,
    in_process: axes.InProcess = False,
) -> None:
    """Compare outputs and gradients with the reference; exit code 1 where one is wrong.

    1 as well where a case failed, crashed or hung, and 3 where nothing could be verified. Of a model its
    mixers are checked at their shape in it, and the whole at tiny size; without --pass in all they serve.
    """
    given = axes.given(locals())
    if case is not None and (suite or given):
        raise UsageError("--case names all there is to know; give neither a suite nor axes with it")
    if case is None:
        _check(suite, given, device)
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} exists; choose another folder")
    with tempfile.TemporaryDirectory() as folder:
        sweep = _sweep(suite, given, case, device, out or Path(folder), cell_timeout, in_process)
        counts = _show(sweep)
    if any(counts[verdict] for verdict in FAILED):
        raise typer.Exit(1)
    if not counts["ok"]:
        raise typer.Exit(NOTHING_VERIFIED)


def _sweep(
    suite: str | None,
    given: dict[str, Any],
    key: str | None,
    device: str | None,
    folder: Path,
    cell_timeout: float | None,
    in_process: bool,
) -> Sweep:
    from lbench import suite as suites
    from lbench.device import probe
    from lbench.isolation import InProcessWorker, ProcessWorker
    from lbench.results import Writer
    from lbench.runner import Sweep

    one = suites.of_key(key) if key is not None else None
    make_worker = InProcessWorker if in_process else ProcessWorker
    found = probe(device or (one[1].device if one else None), make_worker)
    if one:
        axes.check_device(one[1], found)
    chosen = one[0] if one else _chosen(suite, given, found.kind)
    if cell_timeout is not None:
        chosen = dataclasses.replace(chosen, cell_timeout_s=cell_timeout)
    return Sweep(
        suite=chosen,
        cases=[one[1]] if one else chosen.cases(found.kind),
        device=found,
        writer=Writer(folder, then="the same command with another --out", new=True),
        make_worker=make_worker,
        verify_only=True,
    )


def _check(suite: str | None, given: dict[str, Any], device: str | None) -> None:
    """Finds what is wrong with the axes before a worker is started."""
    if "model" not in given or "pass" in given:
        axes.check(suite, given, device)
        return
    asked = (device or "").partition(":")[0]
    for kind in (asked,) if asked in ("cpu", "cuda") else ("cpu", "cuda"):
        _chosen(suite, given, kind).cases(kind)


def _chosen(name: str | None, given: dict[str, Any], kind: str) -> Suite:
    """The suite; of models that are given without a pass, every pass they serve."""
    chosen = axes.chosen(name, given, kind)
    if name or "model" not in given or "pass" in given:
        return chosen
    # Backends that are named are for some of the models only: then all go together.
    parts = [given["model"]] if "backend" in given else [[one] for one in given["model"]]
    sweeps = [{**sweep, "model": part} for sweep in chosen.sweeps for part in parts]
    return dataclasses.replace(chosen, sweeps=tuple(one for sweep in sweeps for one in _served(sweep, kind)))


def _served(sweep: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """A sweep over models, once for each pass that its mixers serve. UsageError where they serve none."""
    from lbench.case import MODEL_PASSES
    from lbench.suite import Suite

    able, refused = [], UsageError("")
    for pass_name in MODEL_PASSES:
        one = {**sweep, "pass": [pass_name]}
        try:
            Suite(name="verify", sweeps=(one,)).cases(kind)
        except UsageError as error:
            refused = error
        else:
            able.append(one)
    if not able:
        raise refused
    return able


def _show(sweep: Sweep) -> Counter[str]:
    """One line a case to standard output as it lands; the counts to standard error."""
    from lbench import interrupt

    counts: Counter[str] = Counter()
    widths = _widths(map(_case, sweep.cases))
    _print(HEAD, widths)
    with interrupt.held_back():
        for row in sweep.measure():
            counts[row.verdict] += 1
            _print((*_case(row.case), row.verdict, *_figures(row), _told(row)), widths)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    print(told, file=sys.stderr)
    return counts


def _widths(cases: Iterable[tuple[str, ...]]) -> tuple[int, ...]:
    """Columns that fit the terminal; a longer name has a line of its own."""
    room = terminal.columns()
    if sum(WIDTHS) + 2 * len(WIDTHS) <= room:
        return WIDTHS
    known = [max(map(len, column)) for column in zip(HEAD[:5], *cases, strict=True)]
    rest = (*known[1:], *NARROW)
    return (max(min(known[0], room - sum(rest) - len(rest)), 0), *rest, 0)


def _print(words: tuple[str, ...], widths: tuple[int, ...]) -> None:
    """One line where there is room; what is told of a case goes on below where there is none."""
    *cells, told = words
    gap = "  " if widths == WIDTHS else " "
    if gap == " " and set(cells[-3:]) == {"-"}:
        del cells[-3:]
    if gap == " " and len(cells[0]) > widths[0]:
        terminal.tell(cells[0], indent="    ")
        cells[0] = ""
    line = gap.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
    beside = f"{line}{gap}{told}".rstrip()
    if len(beside) <= terminal.columns():
        print(beside, flush=True)
        return
    print(line.rstrip())
    terminal.tell(told, first="    ", indent="    ")


def _case(case: Case) -> tuple[str, ...]:
    from lbench.lengths import format_length
    from lbench.report.wording import title

    shown = title(case.backend) if ":" in case.backend else case.backend
    name = case.who_and_how.replace(case.backend, shown, 1)
    return (name, case.pass_name, format_length(case.batch), format_length(case.seq_len), case.dtype)


def _figures(row: Row) -> tuple[str, str, str]:
    """The worst relative RMS error, the worst error as a share of its limit, and whether two calls agree."""
    from lbench.metrics import METRICS

    error, share = (METRICS[name].value(row, {}) for name in ("error_rms", "error_share"))
    twice = {True: "same", False: "differs", None: "-"}[row.deterministic]
    return (
        f"{error:.1e}" if error == error else "-",
        f"{share:.0%}" if share < 100 else "-" if math.isnan(share) else _times(share),
        twice,
    )


def _times(share: float) -> str:
    return "infinite" if math.isinf(share) else f"{share:.0f}x"


def _told(row: Row) -> str:
    return row.reason or ("" if row.coverage == "all" else row.coverage)
