"""What the device itself says a call took: kernel times of torch's profiler, or of ncu."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from timing_calls import Timed, make

from lbench.clock import clock_of
from lbench.statistics import median

CALLS = 10
NCU_CALLS = 5
NCU_TIME = "gpu__time_duration.sum"
NCU_CLOCK = "smsp__cycles_elapsed.avg.per_second"


def kernel_time_ms(work: Timed, device: str) -> tuple[float, int]:
    """The median over calls of the sum of their kernels' times, caches cold before each; kernels a call."""
    cuda = device.startswith("cuda")
    activity = torch.profiler.ProfilerActivity.CUDA if cuda else torch.profiler.ProfilerActivity.CPU
    clock = clock_of(device)
    work.call()
    clock.read(work.call, 2)
    with torch.profiler.profile(activities=[activity]) as profile:
        clock.read(lambda: None, 1)
        clock.wait()
    overwriting = {event.name for event in profile.events()}
    with torch.profiler.profile(activities=[activity]) as profile:
        clock.read(work.call, CALLS)
        clock.wait()
    of_device = torch.autograd.DeviceType.CUDA if cuda else torch.autograd.DeviceType.CPU
    events = [
        event
        for event in sorted(profile.events(), key=lambda event: event.time_range.start)
        if event.device_type == of_device and event.name not in overwriting
    ]
    if not events:
        raise RuntimeError("the profiler saw no kernel of the call")
    times_us = [event.time_range.elapsed_us() if cuda else event.self_cpu_time_total for event in events]
    each = len(times_us) // CALLS
    sums = [sum(times_us[first : first + each]) for first in range(0, each * CALLS, each)]
    return median(sums) * 1e-3, each


def ncu_time_ms(work: Timed, device: str) -> tuple[float, float] | None:
    """The same of ncu, in its own process, clocks left alone, caches flushed, and the SM clock (MHz) then.

    None where ncu cannot be used. It lets the card rest between kernels, so that one at its power cap
    otherwise runs at a higher clock under ncu.
    """
    if not device.startswith("cuda") or not (ncu := shutil.which("ncu")):
        return None
    command = [ncu, "--csv", "--metrics", f"{NCU_TIME},{NCU_CLOCK}", "--clock-control", "none"]
    command += ["--cache-control", "all", "--profile-from-start", "off"]
    command += [sys.executable, str(Path(__file__)), work.kind, str(work.size), device]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith('"')]
    rows = [row for row in csv.DictReader(io.StringIO("\n".join(lines))) if row.get("Metric Value")]
    times, clocks = _values(rows, NCU_TIME, _UNITS_MS), _values(rows, NCU_CLOCK, _UNITS_MHZ)
    each = len(times) // NCU_CALLS
    if done.returncode or not each or not all(times):
        print(f"  ncu cannot be used: {(done.stdout + done.stderr).strip().splitlines()[-1:]}")
        return None
    time_ms = median([sum(times[first : first + each]) for first in range(0, each * NCU_CALLS, each)])
    return time_ms, median(clocks) if clocks else 0.0


def _values(rows: list[dict[str, str]], metric: str, units: dict[str, float]) -> list[float]:
    return [
        float(row["Metric Value"].replace(",", "")) * units.get(row["Metric Unit"].lower(), 0.0)
        for row in rows
        if row["Metric Name"] == metric
    ]


_UNITS_MHZ = {"hz": 1e-6, "khz": 1e-3, "mhz": 1.0, "ghz": 1e3, "cycle/nsecond": 1e3, "cycle/usecond": 1.0}
_UNITS_MHZ |= {"cycle/second": 1e-6, "cycle/ns": 1e3, "cycle/us": 1.0, "cycle/s": 1e-6}
_UNITS_MS = {
    "nsecond": 1e-6,
    "usecond": 1e-3,
    "msecond": 1.0,
    "second": 1e3,
    "ns": 1e-6,
    "us": 1e-3,
    "ms": 1.0,
    "s": 1e3,
}


def _called_by_ncu(kind: str, size: str, device: str) -> None:
    work = make(kind, int(size), device)
    work.call()
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    for _ in range(NCU_CALLS):
        work.call()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


if __name__ == "__main__":
    _called_by_ncu(*sys.argv[1:])
