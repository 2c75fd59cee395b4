"""Results that were damaged between two runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from experiments.replayed import finish, kept_device, write_rows
from experiments.sweep import Experiment
from lbench import results


def _damaged(folder: Path, damage: Callable[[bytearray], None]) -> Experiment:
    device, made = kept_device(folder)
    write_rows(made.folder)
    path = made.folder / "rows.jsonl"
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    read = results.read(made.folder)
    made.said, made.ended, made.codes = "\n".join(read.problems), len(made.cases) - 1, [1]
    finish(made, device)
    assert "1 of 50 cases to do" in made.resumed_said
    assert read.problems[0] in made.resumed_said
    return made


def truncated(folder: Path) -> Experiment:
    """The end of the file is gone."""

    def cut(data: bytearray) -> None:
        del data[-100:]

    return _damaged(folder, cut)


def flipped(folder: Path) -> Experiment:
    """A bit of the file is another."""

    def flip(data: bytearray) -> None:
        data[len(data) // 2] ^= 1

    return _damaged(folder, flip)
