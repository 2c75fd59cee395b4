"""The result folder a command writes to: a new one, or one to go on with."""

from __future__ import annotations

import dataclasses
import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lbench.cli.lists import split_names
from lbench.errors import UsageError

if TYPE_CHECKING:
    from lbench.claims.rows import Measured
    from lbench.device import Device
    from lbench.results import Results


def earlier(
    out: Path | None, resume: bool, other_environment: bool, retry: str | None = None
) -> Results | None:
    """The rows to go on from, without those to measure again."""
    from lbench import results
    from lbench.errors import unknown

    again = split_names(retry, "retry")
    for verdict in again:
        if verdict not in results.VERDICTS:
            raise unknown("verdict", verdict, results.VERDICTS)
    if resume and out is None:
        raise UsageError("--resume needs --out FOLDER, the folder to go on with")
    if other_environment and not resume:
        raise UsageError("--other-environment mixes new rows with earlier ones; add --resume --out FOLDER")
    if again and not resume:
        raise UsageError(f"--retry {retry} measures rows of a folder again; add --resume --out FOLDER")
    if out is None or not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder")
    if not resume:
        raise UsageError(f"--out {out} exists; add --resume to go on with it, or choose another folder")
    found = results.read(out)
    for problem in found.problems:
        print(f"lbench: {problem}", file=sys.stderr)
    rows = {key: row for key, row in found.rows.items() if row.verdict not in again}
    return dataclasses.replace(found, rows=rows)


def check_environment(earlier: Results | None, device: Device, other_environment: bool) -> None:
    """UsageError where rows to go on from come unasked from another machine or other software."""
    from lbench.environment import differences

    if earlier is None or other_environment:
        return
    apart = [differences(known, device.environment) for known in earlier.environments.values()]
    if not apart or not all(apart):
        return
    raise UsageError(
        f"the rows in {earlier.folder} come from another environment ({'; '.join(apart[0])}); "
        f"add --other-environment to mix them, or choose another --out"
    )


def new(name: str) -> Path:
    """A folder in `runs/` that is not there yet."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path("runs") / f"{name}-{stamp}"
    number = 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{stamp}-{number}"
    return folder


def measured(folders: list[Path]) -> list[Measured]:
    """The rows of result folders with the machines they come from; what is wrong with them is told."""
    from lbench import results
    from lbench.claims.rows import gather

    read = [results.read(folder) for folder in folders]
    for one in read:
        for problem in one.problems:
            print(f"lbench: {problem}", file=sys.stderr)
    return gather(read)
