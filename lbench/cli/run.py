"""`lbench run`: measures a sweep and keeps its rows."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from lbench.cli import axes, folders
from lbench.errors import UsageError
from lbench.terminal import counted

if TYPE_CHECKING:
    from lbench.case import Case
    from lbench.device import Device
    from lbench.isolation import Worker
    from lbench.plan import Plan
    from lbench.runner import Sweep
    from lbench.suite import Suite


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
    case: Annotated[
        str | None, typer.Option("--case", help="One case by its key, as rows name it; takes no axes.")
    ] = None,
    device: axes.DeviceName = None,
    out: axes.Out = None,
    cell_timeout: axes.CellTimeout = None,
    case_budget: axes.CaseBudget = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for the whole sweep, 20m; what will not fit is skipped.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the cases, and what each is predicted to take.")
    ] = False,
    resume: axes.Resume = False,
    retry: Annotated[
        str | None, typer.Option(help="With --resume, verdicts to measure again: timeout,crashed,failed.")
    ] = None,
    other_environment: axes.OtherEnvironment = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the figures at the end.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Tell warnings and failures alone; print the folder.")
    ] = False,
    in_process: axes.InProcess = False,
) -> None:
    """Sweep lengths over backends: verify, time, keep every row.

    A result folder holds rows.jsonl (appended after every case), the environment and the resolved suite; a
    sweep that was stopped goes on with --resume.
    """
    given = axes.given(locals())
    from lbench import suite as suites
    from lbench.device import probe
    from lbench.isolation import InProcessWorker, ProcessWorker
    from lbench.plan import Plan
    from lbench.replay import is_replay

    if case is not None and (suite or given):
        raise UsageError("--case names all there is to know; give neither a suite nor axes with it")
    budget_s = seconds_of(budget)
    one = suites.of_key(case) if case is not None else None
    if one is None:
        axes.check(suite, given, device)
    target = folders.Target(out, resume, other_environment, retry)
    process = functools.partial(ProcessWorker, preload=not is_replay(device))
    make_worker = InProcessWorker if in_process else process
    found = probe(device or (one[1].device if one else None), make_worker)
    if one:
        axes.check_device(one[1], found)
    base = one[0] if one else axes.chosen(suite, given, found.kind)
    chosen = limited(base, cell_timeout, case_budget)
    cases = [one[1]] if one else chosen.cases(found.kind)
    plan = Plan(chosen.stopping, found.copy_bandwidth_gb_s, budget_s)
    start(chosen, cases, found, make_worker, plan, target, dry_run=dry_run, plot=plot, quiet=quiet)


def start(
    suite: Suite,
    cases: list[Case],
    device: Device,
    make_worker: Callable[[], Worker],
    plan: Plan,
    target: folders.Target,
    *,
    dry_run: bool = False,
    plot: bool = False,
    quiet: bool = False,
) -> None:
    """Carries a sweep out, or with `dry_run` only shows its plan."""
    from lbench.runner import Sweep

    target.check_protocol(suite, cases)
    if dry_run:
        from lbench.cli.forecast import show_plan

        show_plan(plan, cases, target.earlier(device), device, suite)
        return
    writer, earlier = target.open(suite.name, device)
    sweep = Sweep(
        suite=suite,
        cases=cases,
        device=device,
        writer=writer,
        earlier=earlier,
        make_worker=make_worker,
        plan=plan,
    )
    _carry_out(sweep, target, plot, quiet)


def _carry_out(sweep: Sweep, target: folders.Target, plot: bool, quiet: bool) -> None:
    from lbench.cli.progress import show

    folder = sweep.writer.folder
    try:
        show(sweep, quiet)
    except KeyboardInterrupt:
        count = len(target.standing.keys() | sweep.rows.keys())
        kept = f"{counted(count, 'row')} {'is' if count == 1 else 'are'} kept in {folder}"
        print(f"\ninterrupted; {kept}: {_way_on(sweep, target)}", file=sys.stderr)
        raise typer.Exit(130) from None
    if plot:
        from lbench.cli.plot import command as draw

        try:
            draw([folder])
        except UsageError as error:  # the sweep is done all the same
            print(f"lbench: no figures: {error}", file=sys.stderr)
    if quiet:
        print(folder)
        return
    name = shlex.quote(str(folder))
    print(f"rows: {folder}\nfigures: lbench plot {name}\ntable: lbench table {name}", file=sys.stderr)


def _way_on(sweep: Sweep, target: folders.Target) -> str:
    """How a sweep that was stopped goes on: --retry would measure again what this run did already."""
    command = f"the same command with --out {shlex.quote(str(sweep.writer.folder))} --resume"
    own = [row for row in sweep.rows.values() if row.run == sweep.run]
    again = sum(row.verdict in target.retry for row in own)
    if not again:
        return f"{command} goes on"
    if any(case.key in target.standing and case.key not in sweep.rows for case in sweep.cases):
        return f"{command} goes on, and measures {again} of this run again"
    return f"{command}, without --retry, goes on"


def seconds_of(text: str | None) -> float | None:
    """What --budget says, in seconds."""
    from lbench.durations import parse_duration

    if text is None:
        return None
    if text.replace(".", "", 1).isdigit():
        raise UsageError(
            f"--budget {text} has no unit; it is the time for the whole sweep (90s, 20m, 1h30m). "
            f"Seconds of sampling a case are --case-budget {text}"
        )
    return parse_duration(text)


def limited(suite: Suite, cell_timeout_s: float | None, budget_s: float | None) -> Suite:
    """The suite with the time a case may take, and its sampling, replaced where given."""
    if cell_timeout_s is not None:
        suite = dataclasses.replace(suite, cell_timeout_s=cell_timeout_s)
    if budget_s is not None:
        suite = dataclasses.replace(suite, stopping=dataclasses.replace(suite.stopping, budget_s=budget_s))
    return suite
