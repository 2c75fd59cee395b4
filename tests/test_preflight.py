"""What is looked at before a run, and locks that the system itself takes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lbench import preflight, telemetry
from lbench.telemetry import HARDWARE, POWER_CAP, THERMAL

HOLDER = """
import sys, time
from lbench import preflight
with preflight.hold(sys.argv[1], lambda text: print("waiting", flush=True)):
    print("holding", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(name: str, seconds: float, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, name, str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, preflight.LOCK_FOLDER: str(folder)},
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_runs_never_hold_one_device_and_a_killed_one_gives_it_up(tmp_path: Path) -> None:
    first = holder("GPU-1", 600, tmp_path)
    assert said(first) == "holding"
    second, other = holder("GPU-1", 0, tmp_path), holder("GPU-2", 0, tmp_path)
    assert said(second) == "waiting"
    assert said(other) == "holding"
    first.send_signal(signal.SIGKILL)
    assert said(second) == "holding"
    for process in (first, second, other):
        process.wait(60)
        process.stdout.close()


def test_a_lock_can_be_taken_again_and_names_no_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(preflight.LOCK_FOLDER, str(tmp_path))
    for _ in range(2):
        with preflight.hold("GPU-secret"):
            pass
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert not any("secret" in path.name for path in tmp_path.iterdir())


def test_where_no_lock_can_be_made_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(preflight.LOCK_FOLDER, str(tmp_path / "not there"))
    with preflight.hold("cpu"):
        pass


def test_a_look_tells_disk_and_load_and_nothing_of_a_card_that_is_not_there(tmp_path: Path) -> None:
    found = preflight.look("cpu", "", tmp_path)
    assert found["free_disk_mib"] > 0
    assert found["load"] >= 0
    assert found["other_processes"] is found["persistence_mode"] is None
    assert preflight.look("cuda", "GPU-none", tmp_path)["other_processes"] is None


def test_warnings_name_what_may_disturb() -> None:
    calm = {
        "load": 0.1,
        "cores": 4,
        "free_disk_mib": 10**5,
        "other_processes": 0,
        "persistence_mode": True,
        "clocks_set_by_user": False,
    }
    assert preflight.warnings(calm, "cpu") == preflight.warnings(calm, "cuda") == []
    for change, word in (
        ({"other_processes": 2}, "2 other"),
        ({"persistence_mode": False}, "persistence"),
        ({"clocks_set_by_user": True}, "locked"),
        ({"free_disk_mib": 10}, "10 MiB"),
    ):
        (told,) = preflight.warnings({**calm, **change}, "cuda")
        assert word in told
    assert preflight.warnings({**calm, "load": 3.0}, "cuda") == []
    assert "load" in preflight.warnings({**calm, "load": 3.0}, "cpu")[0]


@pytest.mark.parametrize(
    ("bits", "slowdowns"),
    [
        (0x0, set()),
        (0x1 | 0x2 | 0x10, set()),  # idle, clocks as set, boost in step
        (0x4, {POWER_CAP}),
        (0x8, {HARDWARE}),
        (0x20, {THERMAL}),
        (0x40, {THERMAL}),
        (0x80 | 0x4, {HARDWARE, POWER_CAP}),
    ],
)
def test_reasons_of_nvml(bits: int, slowdowns: set[str]) -> None:
    assert telemetry.slowdowns(bits) == slowdowns


def test_the_bits_are_those_of_nvml() -> None:
    import pynvml

    assert telemetry.slowdowns(pynvml.nvmlClocksThrottleReasonSwPowerCap) == {POWER_CAP}
    assert telemetry.slowdowns(pynvml.nvmlClocksThrottleReasonHwSlowdown) == {HARDWARE}
    assert telemetry.slowdowns(pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown) == {HARDWARE}
    for name in ("SwThermalSlowdown", "HwThermalSlowdown"):
        assert telemetry.slowdowns(getattr(pynvml, f"nvmlClocksThrottleReason{name}")) == {THERMAL}


@pytest.mark.parametrize(
    ("processes", "own", "strange"),
    [
        (None, {1, 2}, 0),
        (set(), {1, 2}, 0),
        ({1, 2}, {1, 2}, 0),
        ({1, 2, 3}, {1, 2, 4}, 1),
        ({1}, set(), 1),
        ({1001, 1002}, {1, 2}, 0),  # the ids of another namespace
        ({1001, 1002, 1003}, {1, 2}, 1),
    ],
)
def test_strangers_are_not_our_own_workers(processes: set[int] | None, own: set[int], strange: int) -> None:
    assert telemetry.strangers(processes, own) == strange


def test_a_card_without_nvml_is_silent() -> None:
    assert telemetry.of_gpu("GPU-none").read() is None
