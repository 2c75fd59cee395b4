"""`lbench run`: measures a sweep and keeps its rows."""

from __future__ import annotations

import dataclasses
import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbench.errors import UsageError

if TYPE_CHECKING:
    from lbench.results import Results
    from lbench.runner import Device
    from lbench.suite import Suite


def _axis(flags: str, help_text: str) -> Any:
    return typer.Option(flags, help=help_text, rich_help_panel="Axes of the sweep", show_default=False)


def command(
    suite: Annotated[
        str | None, typer.Argument(help="A suite's name or TOML file; by default a quick one for the device.")
    ] = None,
    seq: Annotated[
        str | None, _axis("--seq", "Lengths: 1k..256k, 1k..256k:x4, 4k..64k:+4k, 1k,3k,10k.")
    ] = None,
    backend: Annotated[str | None, _axis("--backend", "Backends, or path.py:function of your own.")] = None,
    mechanism: Annotated[str | None, _axis("--mechanism", "All backends of these mechanisms.")] = None,
    pass_names: Annotated[str | None, _axis("--pass", "fwd, bwd, fwdbwd, decode.")] = None,
    batch: Annotated[str | None, _axis("--batch", "Sequences a call.")] = None,
    tokens: Annotated[str | None, _axis("--tokens", "Tokens a call: batch = tokens / length.")] = None,
    heads: Annotated[str | None, _axis("--heads", "Heads.")] = None,
    kv_heads: Annotated[str | None, _axis("--kv-heads", "Heads of k and v, where fewer.")] = None,
    head_dim: Annotated[str | None, _axis("--head-dim", "Dimension of q and k.")] = None,
    head_dim_v: Annotated[str | None, _axis("--head-dim-v", "Dimension of v, where another.")] = None,
    decay: Annotated[str | None, _axis("--decay", "alibi, zero, deep, steep.")] = None,
    inputs: Annotated[str | None, _axis("--inputs", "model, outlier, mean.")] = None,
    dtype: Annotated[str | None, _axis("--dtype", "bf16, fp16, fp32.")] = None,
    case: Annotated[
        str | None, typer.Option("--case", help="One case by its key, as rows name it; takes no axes.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N; by default a GPU if there is one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Result folder; by default a new one in runs/.")] = None,
    cell_timeout: Annotated[float | None, typer.Option(help="Seconds one case may take.", min=1)] = None,
    budget: Annotated[float | None, typer.Option(help="Seconds of sampling a case.", min=0.01)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in the folder --out.")] = False,
    retry: Annotated[
        str | None, typer.Option(help="With --resume, verdicts to measure again: timeout,crashed,failed.")
    ] = None,
    other_environment: Annotated[
        bool, typer.Option("--other-environment", help="Resume rows of another machine or software.")
    ] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the figures at the end.")] = False,
    in_process: Annotated[
        bool,
        typer.Option("--in-process", help="Measure in this very process, for a debugger; stops at a crash."),
    ] = False,
) -> None:
    """Sweep lengths over backends: verify, time, keep every row.

    A result folder holds rows.jsonl (appended after every case), the environment and the resolved suite; a
    sweep that was stopped goes on with --resume.
    """
    axes = {
        "seq": seq,
        "backend": backend,
        "mechanism": mechanism,
        "pass": pass_names,
        "batch": batch,
        "tokens": tokens,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "head_dim_v": head_dim_v,
        "decay": decay,
        "inputs": inputs,
        "dtype": dtype,
    }
    from lbench import suite as suites
    from lbench.cli.progress import show
    from lbench.isolation import InProcessWorker, ProcessWorker
    from lbench.results import Writer
    from lbench.runner import Sweep, probe

    given = {name: _listed(name, value) for name, value in axes.items() if value is not None}
    if case is not None and (suite or given):
        raise UsageError("--case names all there is to know; give neither a suite nor axes with it")
    one = suites.of_key(case) if case is not None else None
    if one is None:
        _check_axes(suite, given, device)
    earlier = _earlier(out, resume, retry)
    make_worker = InProcessWorker if in_process else ProcessWorker
    found = probe(device or (one[1].device if one else None), make_worker)
    if earlier is not None and not other_environment:
        _check_environment(earlier, found)
    base = one[0] if one else suites.load(suite or f"quick-{found.kind}").override(given)
    chosen = _limited(base, cell_timeout, budget)
    folder = out or _new_folder(chosen)
    sweep = Sweep(
        suite=chosen,
        cases=[one[1]] if one else chosen.cases(found.kind),
        device=found,
        writer=Writer(folder),
        earlier=earlier,
        make_worker=make_worker,
    )
    try:
        show(sweep)
    except KeyboardInterrupt:
        kept = f"{len(sweep.rows)} rows are kept in {folder}"
        print(
            f"\ninterrupted; {kept}: the same command with --out {folder} --resume goes on", file=sys.stderr
        )
        raise typer.Exit(130) from None
    if plot:
        from lbench.cli.plot import command as draw

        try:
            draw([folder])
        except UsageError as error:  # the sweep is done all the same
            print(f"lbench: no figures: {error}", file=sys.stderr)
    print(f"rows: {folder}\nfigures: lbench plot {folder}\ntable: lbench table {folder}", file=sys.stderr)


def _listed(name: str, value: str) -> list[str]:
    if name == "seq":
        return [value]
    return [part.strip() for part in value.split(",") if part.strip()]


def _check_axes(suite: str | None, axes: dict[str, Any], device: str | None) -> None:
    """Finds what is wrong with the axes before a worker is started to look at the device."""
    from lbench import suite as suites

    asked = (device or "").partition(":")[0]
    for kind in (asked,) if asked in ("cpu", "cuda") else ("cpu", "cuda"):
        suites.load(suite or f"quick-{kind}").override(axes).cases(kind)


def _limited(suite: Suite, cell_timeout_s: float | None, budget_s: float | None) -> Suite:
    if cell_timeout_s is not None:
        suite = dataclasses.replace(suite, cell_timeout_s=cell_timeout_s)
    if budget_s is not None:
        suite = dataclasses.replace(suite, stopping=dataclasses.replace(suite.stopping, budget_s=budget_s))
    return suite


def _earlier(out: Path | None, resume: bool, retry: str | None) -> Results | None:
    """The rows to go on from, without those to measure again."""
    from lbench import results
    from lbench.errors import unknown

    again = _listed("retry", retry or "")
    for verdict in again:
        if verdict not in results.VERDICTS:
            raise unknown("verdict", verdict, results.VERDICTS)
    if resume and out is None:
        raise UsageError("--resume needs --out FOLDER, the folder to go on with")
    if out is None or not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder")
    if not resume:
        raise UsageError(f"--out {out} exists; add --resume to go on with it, or choose another folder")
    earlier = results.read(out)
    for problem in earlier.problems:
        print(f"lbench: {problem}", file=sys.stderr)
    rows = {key: row for key, row in earlier.rows.items() if row.verdict not in again}
    return dataclasses.replace(earlier, rows=rows)


def _check_environment(earlier: Results, device: Device) -> None:
    from lbench.results import content_id

    if not earlier.environments or content_id(device.environment) in earlier.environments:
        return
    known = next(iter(earlier.environments.values()))
    names = sorted({*known, *device.environment})
    changed = [name for name in names if known.get(name) != device.environment.get(name)]
    raise UsageError(
        f"the rows in {earlier.folder} come from another environment ({', '.join(changed)} differ); "
        f"add --other-environment to mix them, or choose another --out"
    )


def _new_folder(suite: Suite) -> Path:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path("runs") / f"{suite.name}-{stamp}"
    number = 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{suite.name}-{stamp}-{number}"
    return folder
