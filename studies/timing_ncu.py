"""What ncu says the calls of the timing study took: one process of it for all of them.

Caches are as lbench has them: the same buffer is overwritten before each call, or calls rotate over as many
copies of their inputs as in a chain; and ncu is told to leave caches and clocks alone. It rests between
kernels, so one at the power cap otherwise runs at a higher clock.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lbench.profiling import counters, nsight
from lbench.profiling.counters import Counters
from lbench.profiling.trace import Unreadable
from lbench.statistics import median

CALLS = 5
TIME = "gpu__time_duration.sum"
CLOCK = "gpc__cycles_elapsed.max.per_second"
MARK = "spin_kernel"
"""The kernel that the watched process launches before the calls of each work, and that does nothing."""
TIMEOUT_S = 150


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One call by ncu: the sum of its kernels' times, and the SM clock meanwhile."""

    time_ms: float
    sm_mhz: float
    nothing_ms: float
    """What ncu counts for a kernel that does nothing."""


def watch(calls: Sequence[str], device: str, timeout_s: float = TIMEOUT_S) -> list[Seen | None]:
    """The times of calls, named by kind, size and copies of the inputs.

    None where ncu does not tell one, and why is printed.
    """
    unknown: list[Seen | None] = [None] * len(calls)
    if not device.startswith("cuda"):
        return unknown
    ncu = nsight.find()
    if ncu is None:
        print(f"  no ncu: {nsight.INSTALL}")
        return unknown
    command = [ncu, "--csv", "--page", "raw", "--print-units", "base", "--metrics", f"{TIME},{CLOCK}"]
    command += ["--clock-control", "none", "--cache-control", "none", "--profile-from-start", "off"]
    command += [sys.executable, str(Path(__file__)), device, *calls]
    code, said = nsight.run_process(command, timeout_s)
    try:
        seen = times(counters.parse(said), len(calls))
    except Unreadable as error:
        print(f"  ncu cannot be used: {error}; {nsight.why(said, code)}")
        return unknown
    lacking = [call for call, one in zip(calls, seen, strict=True) if one is None]
    if lacking:
        print(f"  ncu told nothing of: {', '.join(lacking)}; {nsight.why(said, code)}")
    return seen


def times(launches: Sequence[Counters], works: int) -> list[Seen | None]:
    """The median over the calls of each work; what ran before the first mark is the overwriting's own."""
    groups: list[list[Counters]] = [[]]
    marks: list[Counters] = []
    for launch in launches:
        if MARK in launch.full_name:
            groups.append([])
            marks.append(launch)
        else:
            groups[-1].append(launch)
    overwriting = {launch.full_name for launch in groups[0]}
    nothing_ms = median([launch.first(TIME) or 0.0 for launch in marks] or [0.0])
    found = [
        _of_one([launch for launch in group if launch.full_name not in overwriting], nothing_ms)
        for group in groups[1:]
    ]
    return [*found, *([None] * works)][:works]


def _of_one(launches: Sequence[Counters], nothing_ms: float) -> Seen | None:
    each = len(launches) // CALLS
    told = [launch.first(TIME) or 0.0 for launch in launches]
    if not each or len(launches) % CALLS or not all(told):
        return None
    clocks = [clock for launch in launches if (clock := launch.first(CLOCK))]
    return Seen(
        time_ms=median([sum(told[first : first + each]) for first in range(0, len(told), each)]),
        sm_mhz=median(clocks) * 1e-6 if clocks else 0.0,
        nothing_ms=nothing_ms,
    )


def _run(device: str, calls: Sequence[str]) -> None:
    """The process that ncu watches."""
    import torch
    from timing_calls import make

    from lbench.clock import l2_bytes

    buffer = torch.empty(2 * l2_bytes(device), dtype=torch.int8, device=device)
    buffer.zero_()
    torch.cuda._sleep(1)
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    buffer.zero_()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()
    for call in calls:
        kind, size, copies = call.split()
        rotated = [make(kind, int(size), device).call for _ in range(int(copies))]
        for one in rotated * 2:
            one()
        torch.cuda.synchronize()
        torch.cuda.profiler.start()
        torch.cuda._sleep(1)
        for number in range(CALLS):
            if len(rotated) == 1:
                buffer.zero_()
            rotated[number % len(rotated)]()
        torch.cuda.synchronize()
        torch.cuda.profiler.stop()


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2:])
