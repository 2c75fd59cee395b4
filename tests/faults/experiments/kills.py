"""The runner is killed: at any moment, and within a write."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

from rows import make_row

from experiments.processes import _wait_for_the_end, children, serves, stop, until, until_it_begins
from experiments.replayed import LONG, finish, kept_device, open_writer, replay_again
from experiments.sweep import Experiment, ended, lbench, rows
from lbench import results
from lbench.results import Row, Writer


def killed_runner(folder: Path) -> Experiment:
    """The runner is killed again and again."""
    device, made = kept_device(folder, LONG)
    chance = random.Random(2)
    for turn in range(4):
        with lbench(*replay_again(device, made)) as process:
            until_it_begins(process)
            if turn % 2:
                until(process, "[1/")
            time.sleep(chance.random() * (0.05 if turn % 2 else 0.2))
            workers = children(process.pid)
            if (
                turn % 2
            ):  # hanging ones, that no end of a pipe reaches; by then each asked to die with its runner
                stop([worker for worker in workers if serves(worker)])
            process.kill()
            _, said = process.communicate()
        made.ended += ended(said)
        _wait_for_the_end(workers)
        assert len(rows(made.folder)) >= made.ended, "a row was lost"
    return finish(made, device)


def killed_writer(folder: Path) -> Experiment:
    """A process that writes nothing but rows, long ones and in memory, is killed as it does."""
    memory = Path("/dev/shm")
    made = Experiment(folder=folder / "out", cases=set())
    chance = random.Random(3)
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        writing = Path(name) / "out"
        open_writer(writing).close()
        lines = _long_lines(100)
        for _ in range(12):
            made.ended += _killed_while_writing(writing, lines, chance.random() * 5e-4)
            assert len(rows(writing)) >= made.ended, "a row was lost"
        Writer(writing).close()  # as a resume does first
        shutil.copytree(writing, made.folder)
    made.first = made.resumed = rows(made.folder)
    made.cases, made.codes = set(made.first), [0]
    assert not results.read(made.folder).problems
    return made


def _long_lines(count: int) -> list[str]:
    rows = (make_row(seq_len=length, device="cuda") for length in range(1, count + 1))
    return [Row(**{**row.__dict__, "times_ms": row.times_ms * 300}).to_line() for row in rows]


def _killed_while_writing(folder: Path, lines: list[str], after_s: float) -> int:
    """How many rows a process said it had written by the time it was killed."""
    done = len(rows(folder))
    reading, telling = os.pipe()
    if not (child := os.fork()):
        with contextlib.suppress(BaseException):
            writer = Writer(folder)
            for line in lines[done:]:
                writer.append_line(line)
                os.write(telling, b".")
        os._exit(1)
    os.close(telling)
    began = os.read(reading, 1)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as told:
        return len(began + told.read())
