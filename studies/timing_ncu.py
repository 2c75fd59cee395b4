"""What ncu says the calls of the timing study took: one process of it for all of them.

A call timed by events is watched kernel by kernel, the same buffer being overwritten before each call; one
timed in a chain in a graph as a chain, watched as a whole, so that what lies between two kernels counts for
both. From every time is taken what ncu counts for a kernel that does nothing: 1 us, and some 0.2 ms where it
was told to take graphs as a whole; so its chains are longer than lbench's. It is told to leave caches and
clocks alone. It rests between what it watches, so a card at its power cap otherwise has another clock.
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
class Watched:
    """What ncu is to watch: a call of the study, and how many of it are a chain."""

    kind: str
    size: int
    copies: int
    length: int

    def __str__(self) -> str:
        return f"{self.kind} {self.size} {self.copies} {self.length}"

    @classmethod
    def of(cls, told: str) -> Watched:
        """Of its text."""
        kind, *numbers = told.split()
        size, copies, length = map(int, numbers)
        return cls(kind=kind, size=size, copies=copies, length=length)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One call by ncu, and the SM clock meanwhile."""

    time_ms: float
    nothing_ms: float
    """What ncu counted for a kernel that does nothing: taken from what it counted for the rest."""
    sm_mhz: float
    whole: bool
    """Whether its chain was watched as one: else the time is the sum of its kernels'."""


def watch(calls: Sequence[Watched], device: str, timeout_s: float = TIMEOUT_S) -> list[Seen | None]:
    """The times of calls; None where ncu does not tell one, and why is printed."""
    unknown: list[Seen | None] = [None] * len(calls)
    if not device.startswith("cuda"):
        return unknown
    ncu = nsight.find()
    if ncu is None:
        print(f"  no ncu: {nsight.INSTALL}")
        return unknown
    command = [ncu, "--csv", "--page", "raw", "--print-units", "base", "--metrics", f"{TIME},{CLOCK}"]
    command += ["--clock-control", "none", "--cache-control", "none", "--profile-from-start", "off"]
    command += ["--graph-profiling", "graph"]
    command += [sys.executable, str(Path(__file__)), device, *map(str, calls)]
    try:
        code, said = nsight.run_process(command, timeout_s)
    except KeyboardInterrupt:
        print("stopped before ncu told of a call", flush=True)
        return unknown
    try:
        seen = times(counters.parse(said), calls)
    except Unreadable as error:
        print(f"  ncu cannot be used: {error}; {nsight.why(said, code)}")
        return unknown
    lacking = [str(call) for call, one in zip(calls, seen, strict=True) if one is None]
    if lacking:
        print(f"  ncu told nothing of: {', '.join(lacking)}; {nsight.why(said, code)}")
    return seen


def times(launches: Sequence[Counters], calls: Sequence[Watched]) -> list[Seen | None]:
    """The median over the calls of each work; what ran before the first mark is the overwriting's own."""
    groups: list[list[Counters]] = [[]]
    nothing_ms = []
    for launch in launches:
        if MARK in launch.full_name:
            groups.append([])
            nothing_ms.append(launch.first(TIME) or 0.0)
        else:
            groups[-1].append(launch)
    overwriting = {launch.full_name for launch in groups[0]}
    nothing = median(nothing_ms or [0.0])
    groups += [[]] * len(calls)
    return [
        _of_one([launch for launch in group if launch.full_name not in overwriting], call.length, nothing)
        for group, call in zip(groups[1:], calls, strict=False)
    ]


def _of_one(launches: Sequence[Counters], length: int, nothing_ms: float) -> Seen | None:
    each = len(launches) // CALLS
    told = [launch.first(TIME) or 0.0 for launch in launches]
    if not each or len(launches) % CALLS or not all(told):
        return None
    clocks = [clock for launch in launches if (clock := launch.first(CLOCK))]
    sums = [sum(told[first : first + each]) - each * nothing_ms for first in range(0, len(told), each)]
    return Seen(
        time_ms=median(sums) / length,
        nothing_ms=nothing_ms,
        sm_mhz=median(clocks) * 1e-6 if clocks else 0.0,
        whole=length > 1 and each == 1,
    )


def _run(device: str, calls: Sequence[Watched]) -> None:
    """The process that ncu watches."""
    import torch
    from timing_calls import make

    from lbench import graph
    from lbench.clock import l2_bytes

    torch.cuda.set_device(device)
    buffer = torch.empty(2 * l2_bytes(device), dtype=torch.int8, device=device)
    buffer.zero_()
    torch.cuda._sleep(1)
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    buffer.zero_()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()
    for call in calls:
        works = [make(call.kind, call.size, device).call for _ in range(call.copies)]
        one = works[0] if call.length == 1 else graph.capture(works, call.length, device)
        for _ in range(2):
            one()
        torch.cuda.synchronize()
        torch.cuda.profiler.start()
        torch.cuda._sleep(1)
        for _ in range(CALLS):
            if call.length == 1:
                buffer.zero_()
            one()
        torch.cuda.synchronize()
        torch.cuda.profiler.stop()


if __name__ == "__main__":
    _run(sys.argv[1], [Watched.of(told) for told in sys.argv[2:]])
