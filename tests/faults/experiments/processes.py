"""A sweep under way: what it says, and its workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path


def until_it_begins(process: subprocess.Popen[str]) -> None:
    until(process, "cases to do")


def until(process: subprocess.Popen[str], told: str) -> None:
    assert process.stderr is not None
    assert any(told in line for line in process.stderr), f"it never said {told}"


def children(process_id: int) -> list[int]:
    return [
        int(child) for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    ]


def until_it_has_workers(process: subprocess.Popen[str]) -> list[int]:
    ends = time.monotonic() + 60
    while not (workers := children(process.pid)):
        assert time.monotonic() < ends, "it started no worker"
        time.sleep(0.01)
    return workers


def stop(workers: list[int]) -> None:
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGSTOP)


def serves(worker: int) -> bool:
    """Whether a worker keeps its channel from processes of its own, as it does before its first request."""
    with contextlib.suppress(OSError, ValueError):
        arguments = Path(f"/proc/{worker}/cmdline").read_text().split("\0")
        channel = arguments[arguments.index("lbench.worker") + 1]
        fields = Path(f"/proc/{worker}/fdinfo/{channel}").read_text().split()
        return bool(int(fields[fields.index("flags:") + 1], base=8) & os.O_CLOEXEC)
    return False


def _wait_for_the_end(workers: list[int]) -> None:
    ends = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < ends, "a worker outlived its runner"
        time.sleep(0.01)
