"""What the device itself says a call took: the kernel times of torch's profiler."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from timing_calls import Timed

from lbench.clock import Clock, clock_of
from lbench.statistics import median
from lbench.telemetry import Silent, Telemetry

CALLS = 10
CHAINS = 4
"""Replays of a chain that are looked at, in place of calls."""
LOOK_S = 0.1
"""A look takes so long at least; its first half, in which the card comes to its clock, is not counted."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at a call."""

    time_ms: float
    """The median over calls of the sum of their kernels' times."""
    kernels: int
    """Of one call."""
    sm_mhz: float
    """At its end; 0 where the device tells none."""


def look(
    work: Timed,
    device: str,
    clock: Clock | None = None,
    *,
    calls_per_sample: int = 1,
    sample_s: float = math.inf,
    telemetry: Telemetry | None = None,
) -> Look:
    """What the profiler says of calls that follow each other as lbench's samples do.

    The caches are as `clock` has them, which is one that overwrites them before each call where none is
    given: a chain in a graph finds them as the calls before left them.
    """
    clock, telemetry = clock or clock_of(device), telemetry or Silent()
    samples = max(CALLS if calls_per_sample == 1 else CHAINS, math.ceil(LOOK_S / sample_s))
    work.call()
    clock.read(work.call, 2)
    overwriting = {name for name, _ in _seen(device, lambda: clock_of(device).read(lambda: None, 1))}
    states = []

    def run() -> None:
        clock.read(work.call, samples)
        states.append(telemetry.read())

    times_us = [time_us for name, time_us in _seen(device, run) if name not in overwriting]
    if not times_us:
        raise RuntimeError("the profiler saw no kernel of the call")
    each = len(times_us) // (samples * calls_per_sample)
    sums = [sum(times_us[first : first + each]) for first in range(0, len(times_us) - each + 1, each)]
    state = states[0]
    return Look(
        time_ms=median(sums[len(sums) // 2 :]) * 1e-3,
        kernels=each,
        sm_mhz=(state.sm_mhz or 0.0) if state else 0.0,
    )


def nothing_ms(device: str) -> float:
    """The time of a kernel that does nothing; 0 on a CPU."""
    if not device.startswith("cuda"):
        return 0.0
    torch.cuda._sleep(1)
    seen = _seen(device, lambda: [torch.cuda._sleep(1) for _ in range(CALLS)])
    return median([time_us for _, time_us in seen]) * 1e-3


def _seen(device: str, run: Callable[[], Any]) -> list[tuple[str, float]]:
    """Names and times (us) of kernels on a GPU, of operators on a CPU, in their order."""
    cuda = device.startswith("cuda")
    activity = torch.profiler.ProfilerActivity.CUDA if cuda else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity]) as profile:
        run()
        if cuda:
            torch.cuda.synchronize()
    of_device = torch.autograd.DeviceType.CUDA if cuda else torch.autograd.DeviceType.CPU
    return [
        (event.name, event.time_range.elapsed_us() if cuda else event.self_cpu_time_total)
        for event in sorted(profile.events(), key=lambda event: event.time_range.start)
        if event.device_type == of_device
    ]
