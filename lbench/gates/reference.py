"""What `--baseline NAME|FOLDER` names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lbench.gates import baselines
from lbench.gates.processes import Side, holds_rows, places, read
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
    if not baselines.is_name(given.partition("/")[0]):
        places(folder)
    one = baselines.find(store, given, new, across_machines)
    return one.side(one.current, wanted), {
        name: one.side(number, wanted) for name, number in one.older().items()
    }
