"""Disks that are full, read-only or limited."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from experiments.replayed import finish, kept_device, replay
from experiments.sweep import Experiment, ended, run

MOUNTED = 'mount -t tmpfs -o size=64k tmpfs "$DISK" && {} ; code=$?; cp -r "$DISK/out" "$KEPT"; exit $code'


def full_disk(folder: Path) -> Experiment:
    """A disk of its own that is too small."""
    return _on_a_disk(folder, '"$@"')


def read_only_disk(folder: Path) -> Experiment:
    """A disk of its own that turns read-only under way."""
    turn = (
        '{ "$@" & run=$!;'
        ' until [ "$(wc -l < "$DISK/out/rows.jsonl")" -ge 3 ]; do sleep 0.01; done 2>/dev/null;'
        ' until mount -o remount,ro "$DISK" 2>/dev/null; do :; done; wait $run; }'
    )
    return _on_a_disk(folder, turn)


def _on_a_disk(folder: Path, script: str) -> Experiment:
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs user namespaces, to mount a disk of its own")
    device, made = kept_device(folder)
    disk, kept = folder / "disk", made.folder
    disk.mkdir()
    shell = f"exec unshare -rm sh -c '{MOUNTED.format(script)}' sh \"$@\""
    where = {"DISK": str(disk), "KEPT": str(kept)}
    code, made.printed, made.said = run(*replay(device, disk / "out"), shell=shell, **where)
    made.codes, made.ended = [code], ended(made.said)
    return finish(made, device)


def file_limit(folder: Path) -> Experiment:
    """No file may grow beyond 32 KiB."""
    device, made = kept_device(folder)
    code, made.printed, made.said = run(*replay(device, made.folder), shell='ulimit -f 64; exec "$@"')
    made.codes, made.ended = [code], ended(made.said)
    return finish(made, device)
