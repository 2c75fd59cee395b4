"""Before anything is timed: who else is on the machine, how the card is set, is there room, and a lock.

Two runs never time on one device: each holds a lock of the GPU, or of the CPU, that the system releases when
the process that holds it ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from lbench import interrupt, telemetry

LEAST_DISK_MIB = 500
BUSY = 0.25
"""A load of other programs above this share of the cores is told."""
LOCK_FOLDER = "LBENCH_LOCK_FOLDER"
"""Environment variable: where locks lie, by default /tmp, the same for every user of a machine."""


def look(device: str, uuid: str, folder: Path, own: Collection[int] = ()) -> dict[str, Any]:
    """What can disturb a run on a device, as a flat record; None for what the machine does not tell.

    `uuid` is the GPU's name to NVML, empty for a CPU; `own` are ids of processes that may be on it.
    """
    card = telemetry.of_gpu(uuid) if uuid else None
    free_mib = None
    with contextlib.suppress(OSError):
        free_mib = shutil.disk_usage(folder).free // 2**20
    return {
        "load": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count() or 1,
        "free_disk_mib": free_mib,
        "other_processes": None,
        "persistence_mode": None,
        "clocks_set_by_user": None,
        **(_look_at(card, own) if isinstance(card, telemetry.NvmlTelemetry) else {}),
    }


def _look_at(card: telemetry.NvmlTelemetry, own: Collection[int]) -> dict[str, Any]:
    processes = card.processes()
    strange = None if processes is None else telemetry.strangers(processes, own)
    return {"other_processes": strange, **card.settings()}


def warnings(found: dict[str, Any], device: str) -> list[str]:
    """What of it should be told before a run, each with what to do."""
    told = []
    if found["other_processes"]:
        told.append(
            f"{found['other_processes']} other process(es) compute on this GPU; end them, or doubt the times"
        )
    if device == "cpu" and found["load"] > BUSY * found["cores"]:
        told.append(
            f"other programs load this machine ({found['load']:g} on {found['cores']} cores); end them"
        )
    if found["persistence_mode"] is False:
        told.append(
            "persistence mode is off: the first case may wait for the driver; nvidia-smi -pm 1 turns it on"
        )
    if found["clocks_set_by_user"]:
        told.append("the clocks of this GPU are locked; times compare only with runs at the same clocks")
    if found["free_disk_mib"] is not None and found["free_disk_mib"] < LEAST_DISK_MIB:
        told.append(f"{found['free_disk_mib']} MiB are free for the results; make room")
    return told


@contextlib.contextmanager
def hold(name: str, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Holds the lock of a device (a GPU's uuid, or `cpu`), after the run that has it now.

    `waiting` is told once, in words, when there is someone to wait for; by default standard error is.
    """
    path = _path(name)
    try:
        file = os.open(path, os.O_RDWR) if path.exists() else os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # a read-only or foreign /tmp: better to time unlocked than not at all
        yield
        return
    try:
        _wait_for(file, waiting or _say)
        yield
    finally:
        os.close(file)


def _wait_for(file: int, waiting: Callable[[str], None]) -> None:
    told = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                waiting("another lbench run times on this device; waiting until it ends (Ctrl-C gives up)")
            told = True
            interrupt.check()
            time.sleep(0.1)
        else:
            return


def _path(name: str) -> Path:
    folder = Path(os.environ.get(LOCK_FOLDER, "/tmp"))
    # A digest: a uuid is something like a serial number.
    return folder / f"lbench-{hashlib.sha256(name.encode()).hexdigest()[:12]}.lock"


def _say(text: str) -> None:
    print(f"lbench: {text}", file=sys.stderr, flush=True)
