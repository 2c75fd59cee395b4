"""What the device itself says a call took: the kernel times of torch's profiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from timing_calls import Timed

from lbench.clock import Clock, clock_of
from lbench.statistics import median

CALLS = 10
CHAINS = 4
"""Replays of a chain that are looked at, in place of calls."""
AGAIN = "it lost some: take the study again"


class _Counted(Protocol):
    def calls(self) -> int:
        """How many there were."""


T = TypeVar("T", bound=_Counted)


def look(work: Timed, device: str, clock: Clock | None = None, calls_per_sample: int = 1) -> float:
    """The median over calls of the sum of their kernels' times (ms), a few calls or chains being looked at.

    The caches are as `clock` has them, which is one that overwrites them before each call where none is
    given: a chain in a graph finds them as the calls before left them.
    """
    clock = clock or clock_of(device)
    samples = CALLS if calls_per_sample == 1 else CHAINS
    work.call()
    clock.read(work.call, 2)
    kernels = _without_overwriting(_seen(device, lambda: clock.read(work.call, samples)), device)
    return _median_ms(kernels, samples * calls_per_sample)


def watched(work: Timed, device: str, sampled: Callable[[], T]) -> tuple[T, float]:
    """What `sampled` returned, and the median over the very calls it counts of their kernels' time (ms).

    So card and clock are the same for both, whatever the card does meanwhile. Calls before those that count
    (a warm-up) may be made.
    """
    taken: list[T] = []
    kernels = _without_overwriting(_seen(device, lambda: taken.append(sampled())), device)
    calls, each = taken[0].calls(), kernels_of(work, device)
    if len(kernels) < calls * each:
        raise RuntimeError(f"the profiler saw {len(kernels)} kernels of {calls} calls of {each}; {AGAIN}")
    return taken[0], _median_ms(kernels[-calls * each :], calls)


def kernels_of(work: Timed, device: str) -> int:
    """Kernels of one call."""
    return len(_seen(device, work.call))


def _without_overwriting(kernels: Sequence[tuple[str, float]], device: str) -> list[float]:
    overwriting = {name for name, _ in _seen(device, lambda: clock_of(device).read(lambda: None, 1))}
    return [time_us for name, time_us in kernels if name not in overwriting]


def _median_ms(times_us: Sequence[float], calls: int) -> float:
    """Of kernels' times in their order, those of one call added up."""
    each = len(times_us) // calls
    if not each or len(times_us) % calls:
        raise RuntimeError(f"the profiler saw {len(times_us)} kernels of {calls} calls; {AGAIN}")
    sums = [sum(times_us[first : first + each]) for first in range(0, len(times_us) - each + 1, each)]
    return median(sums) * 1e-3


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
