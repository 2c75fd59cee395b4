"""What `--baseline NAME|FOLDER` names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lbench.errors import UsageError
from lbench.gates import baselines
from lbench.gates.processes import Side, holds_rows, read
from lbench.results import Row


def reference(
    given: str, store: Path, new: Side, wanted: Callable[[Row], bool], across_machines: bool = False
) -> tuple[Side, dict[str, Side]]:
    """The side to compare with, and older ones that guard against slow drift, by what they are called.

    A folder that holds rows, or folders with rows, is taken as it is; else a baseline of that name for the
    machine of `new`. UsageError where there is neither.
    """
    folder = Path(given)
    if folder.is_dir() and (holds_rows(folder) or any(map(holds_rows, folder.iterdir()))):
        return read(folder, wanted), {}
    name = given.partition("/")[0]
    if not (baselines.is_name(name) and baselines.kept(store, name)):
        _refuse(given, folder, store)
    one = baselines.find(store, given, new, across_machines)
    return one.side(one.current, wanted), {
        name: one.side(number, wanted) for name, number in one.older().items()
    }


def _refuse(given: str, folder: Path, store: Path) -> None:
    """UsageError for a path that is there, and for a name with a slash: it may be either."""
    if folder.is_file():
        raise UsageError(f"--baseline {given} is a file; give the folder that holds rows.jsonl")
    if names := sorted({one.name for one in baselines.kept(folder)}):
        raise UsageError(
            f"--baseline {given} is a store of baselines, no folder with rows; "
            f"give --store {given} --baseline {' or '.join(names)}"
        )
    if folder.is_dir():
        raise UsageError(
            f"--baseline {given} holds no rows.jsonl, nor does a folder in it; a store of baselines is given "
            f"by --store"
        )
    if not baselines.is_name(given):
        raise UsageError(
            f"--baseline {given}: there is no such folder, and no baseline of that name in {store}"
        )
