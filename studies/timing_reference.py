"""What the device itself says a call took: the kernel times of torch's profiler."""

from __future__ import annotations

import torch
from timing_calls import Timed

from lbench.clock import clock_of
from lbench.statistics import median

CALLS = 10


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
