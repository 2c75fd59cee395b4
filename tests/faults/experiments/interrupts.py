"""Ctrl-C, and a reader that goes."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from experiments.processes import stop, until_it_begins, until_it_has_workers
from experiments.replayed import LONG, finish, kept_device, replay, replay_again
from experiments.sweep import Experiment, ended, lbench, rows, run


def interrupted(folder: Path) -> Experiment:
    """Ctrl-C while the worker hangs: it is stopped, and hears no signal but SIGKILL."""
    device, made = kept_device(folder, LONG)
    with lbench(*replay_again(device, made)) as process:
        until_it_begins(process)
        time.sleep(0.2)
        workers = until_it_has_workers(process)
        stop(workers)
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, made.said = process.communicate(timeout=300)
        took_s = time.monotonic() - began
    assert took_s < max(2.0, 8 * a_start_s()), "it waited for the worker"
    assert workers
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    made.codes, made.ended = [process.returncode], ended(made.said)
    return finish(made, device)


def a_start_s() -> float:
    """How long this machine takes now to start Python and end it: 0.2 s where nothing else runs."""
    began = time.monotonic()
    run("--version")
    return time.monotonic() - began


def interrupted_anywhere(folder: Path) -> Experiment:
    """Ctrl-C again and again."""
    device, made = kept_device(folder, LONG)
    chance = random.Random(4)
    for _ in range(3):
        with lbench(*replay_again(device, made)) as process:
            until_it_begins(process)
            time.sleep(chance.random() * 0.2)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=300)
        made.said += said
        made.codes.append(process.returncode)
        made.ended += ended(said)
        assert process.returncode == 130, said
        assert len(rows(made.folder)) >= made.ended, "a row was lost"
    return finish(made, device)


def unheard(folder: Path) -> Experiment:
    """The pipe that standard error goes to loses its reader."""
    device, made = kept_device(folder)
    with lbench(*replay(device, made.folder)) as process:
        until_it_begins(process)
        assert process.stderr is not None
        process.stderr.close()
        process.stderr = None
        made.codes = [process.wait(timeout=300)]
    made.ended = len(made.cases)
    return finish(made, device)
