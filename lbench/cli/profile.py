"""`lbench profile`: where the time of a case goes, by kernel."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbench.cli import axes
from lbench.errors import UsageError

if TYPE_CHECKING:
    from lbench.case import Case


def command(
    cases: Annotated[
        list[str] | None, typer.Argument(help="Cases by their keys, as rows name them.", show_default=False)
    ] = None,
    row: Annotated[
        str | None, typer.Option(help="The case of a row: RESULTS:KEY.", show_default=False)
    ] = None,
    ncu: Annotated[bool, typer.Option("--ncu", help="Let Nsight Compute count in every kernel.")] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Break the peak down by call site.")] = False,
    triton: Annotated[bool, typer.Option("--triton", help="Keep PTX and SASS of Triton kernels.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder, of several cases the one around theirs; else in profiles/.")
    ] = None,
    reparse: Annotated[
        Path | None, typer.Option(help="Read a kept profile again; needs no GPU.", show_default=False)
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two kept profiles, kernel by kernel.", show_default=False),
    ] = None,
    device: axes.DeviceName = None,
    cell_timeout: axes.CellTimeout = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    in_process: axes.InProcess = False,
) -> None:
    """Verify a case as `run` does, then show where its time goes: kernels, gaps, copies, what is unfair.

    Raw output of every tool is kept in a folder; tables are made from it and can be made again.
    """
    if sum((bool(cases), row is not None, reparse is not None, compare is not None)) != 1:
        raise UsageError("give cases by their keys, or one of --row, --reparse and --compare")
    if compare is not None:
        _compare(*compare, as_json)
        return
    if reparse is not None:
        _export_again(reparse)
        _show([reparse], as_json)
        return
    wanted = [name for name, asked in (("ncu", ncu), ("memory", memory), ("triton", triton)) if asked]
    chosen = _chosen(cases, row)
    if out is not None and out.exists():
        raise UsageError(f"--out {out} exists; choose another folder, nothing is overwritten")
    taken, done = _take(chosen, wanted, device, out, cell_timeout or TIMEOUT_S, in_process), []
    for folder in taken:
        done.append(folder)
        if not as_json:
            _show([folder], as_json)
    if as_json:
        _show(done, as_json)
    if len(done) < len(chosen):
        raise typer.Exit(1)


TIMEOUT_S = 600.0


def _chosen(keys: list[str] | None, row: str | None) -> list[Case]:
    from lbench import suite as suites

    return [suites.of_key(key)[1] for key in keys or []] if row is None else [_of_row(row)]


def _of_row(text: str) -> Case:
    """The case of RESULTS:KEY; a path may hold colons, and so may the key of a user's function."""
    from lbench import results
    from lbench.errors import unknown

    parts = text.split(":")
    splits = [(Path(":".join(parts[:at])), ":".join(parts[at:])) for at in range(1, len(parts))]
    folder, key = next(((path, key) for path, key in splits if path.exists()), (None, ""))
    if folder is None:
        raise UsageError(f"--row {text}: give RESULTS:KEY, a result folder and the key of a row in it")
    rows = results.read(folder).rows
    if key not in rows:
        raise unknown(f"row of {folder}", key, rows)
    return rows[key].case


def _take(
    cases: list[Case],
    wanted: list[str],
    device: str | None,
    out: Path | None,
    timeout_s: float,
    in_process: bool,
) -> Iterator[Path]:
    """The folders as they are filled; a case that could not be profiled is told, and left out."""
    from lbench.device import probe
    from lbench.isolation import InProcessWorker, ProcessWorker
    from lbench.profiling.session import NotProfiled, Session
    from lbench.replay import is_replay

    if is_replay(device):
        raise UsageError("--device replay: a replay runs no kernel; --reparse reads a kept profile")
    make_worker = InProcessWorker if in_process else ProcessWorker
    found = probe(device or cases[0].device, make_worker)
    for case in cases:
        axes.check_device(case, found)
        own = new_folder(case, out or Path("profiles")) if out is None or len(cases) > 1 else out
        session = Session(
            case=case,
            device=found,
            folder=own,
            wanted=wanted,
            timeout_s=timeout_s,
            make_worker=make_worker,
        )
        try:
            session.take(functools.partial(_tell, case.key))
        except NotProfiled as error:
            print(f"lbench: {case.key} was not profiled: {error}", file=sys.stderr)
        else:
            _draw(own)
            yield own


def _tell(key: str, doing: str) -> None:
    print(f"{key}: {doing}", file=sys.stderr, flush=True)


def new_folder(case: Case, around: Path) -> Path:
    """A folder in another that is not there yet, named by its case."""
    import datetime
    import re

    backend = re.sub(r"[^0-9A-Za-z_.-]+", "-", case.backend).strip("-")
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{backend}-{case.pass_name}-b{case.batch}-t{case.seq_len}-{stamp}"
    folder, number = around / name, 1
    while folder.exists():
        number += 1
        folder = around / f"{name}-{number}"
    return folder


def _draw(folder: Path) -> None:
    """The figure of a memory profile; a profile without one is no worse for it."""
    from lbench.profiling import folder as folders

    if not (folder / folders.MEMORY).is_file():
        return
    from lbench.plot.memory import draw

    try:
        draw(folder)
    except (ValueError, KeyError, OSError) as error:
        print(f"lbench: no figure of the memory: {error}", file=sys.stderr)


def _export_again(folder: Path) -> None:
    """The raw page of a report that was brought here without it, where ncu is at hand."""
    from lbench.profiling import folder as folders
    from lbench.profiling import nsight

    to_do = (folder / folders.REPORT).is_file() and not (folder / folders.NCU).is_file()
    if to_do and (why := nsight.export(folder, TIMEOUT_S)):
        print(f"lbench: {why}", file=sys.stderr)


def _show(taken: list[Path], as_json: bool) -> None:
    import json

    from rich.console import Console

    from lbench.profiling import folder as folders
    from lbench.profiling.analysis import analyse
    from lbench.profiling.export import to_dict
    from lbench.profiling.show import print_profile

    read = [analyse(folders.read(folder)) for folder in taken]
    if as_json:
        print(json.dumps([to_dict(one) for one in read], indent=1))
        return
    console = Console(highlight=False)
    for one in read:
        print_profile(one, console)


def _compare(first: Path, second: Path, as_json: bool) -> None:
    import json

    from rich.console import Console

    from lbench.profiling import folder as folders
    from lbench.profiling.analysis import analyse
    from lbench.profiling.comparison import compare, print_comparison, to_dict

    made = compare(analyse(folders.read(first)), analyse(folders.read(second)))
    if as_json:
        print(json.dumps(to_dict(made), indent=1))
    else:
        print_comparison(made, Console(highlight=False))
