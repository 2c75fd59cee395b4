"""The timer: raw samples of a call, from a clock that tests can replace. Knows nothing of mechanisms.

The protocol, with its reasons: everything is compiled before the first sample; the caches are cold at every
sample (a buffer twice the last-level cache is overwritten between samples, outside the timed region), since
a model's own layers would have evicted them; on a GPU that overwriting is repeated until it outlasts the
host's time to enqueue the call, and a batch begins with a lead, so that a pair of events holds device work
alone; the host waits only between batches of samples. A sample during which the device may have waited for
the host all the same is known by its start event, which had passed before the call was enqueued; it is
discarded and counted, unless most are like that: then all are kept and the row is doubted. Sampling stops
when the 95 % interval of the median is within `target` of it, or at the budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lbench.clock import Call, Clock, Reading, clock_of
from lbench.statistics import median, median_interval

HOST_BOUND = "host-bound: the device waited for the host in most samples; a CUDA graph would be faster"


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """When to stop sampling."""

    budget_s: float = 1.0
    """Wall time for the samples of one case, the least number of samples permitting."""
    target: float = 0.005
    """Half width of the 95 % interval over the median that is good enough."""
    least: int = 10
    most: int = 1000
    slow_s: float = 0.25
    """Calls longer than this take `slow_least` samples at the least."""
    slow_least: int = 6
    very_slow_s: float = 5.0
    """Calls longer than this take `very_slow_samples`, no more."""
    very_slow_samples: int = 5
    warm_up_s: float = 0.1

    def least_samples(self, call_s: float) -> int:
        """The fewest samples for a call of that length."""
        if call_s > self.very_slow_s:
            return self.very_slow_samples
        return self.slow_least if call_s > self.slow_s else self.least


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Raw times of one call."""

    times_ms: tuple[float, ...]
    enqueue_us: tuple[float, ...]
    host_bound: int = 0
    """Samples during which the device waited for the host: discarded, unless they are most (`doubts`)."""
    doubts: tuple[str, ...] = ()

    @property
    def time_ms(self) -> float:
        """The median."""
        return median(self.times_ms)

    @property
    def interval_ms(self) -> tuple[float, float]:
        """The 95 % interval of the median."""
        return median_interval(self.times_ms)

    def __str__(self) -> str:
        low, high = self.interval_ms
        spread = f"95 % of the median: {low:.4g} to {high:.4g}, {len(self.times_ms)} samples"
        return f"{self.time_ms:.4g} ms ({spread})"


def sample(call: Call, clock: Clock, stopping: Stopping, call_s: float | None = None) -> Sample:
    """Samples `call`, which must be compiled already, until `stopping` says enough.

    `call_s` is how long a call takes where that is known: a slow one is then not called to find out.
    """
    enqueue_s: list[float] = []

    def timed_on_host() -> Any:
        start = time.perf_counter()
        call()
        enqueue_s.append(time.perf_counter() - start)

    clock.wait()
    sampled_call = timed_on_host
    if call_s is None or call_s < stopping.slow_s:
        # The host is timed apart: in a batch it may have to wait for room in the device's queue.
        call_s, sampled_call = _call_s(timed_on_host, clock, stopping.slow_s), call
        clock.prepare(max(enqueue_s[1:], default=enqueue_s[0]))
        clock.read(call, _between(1, int(stopping.warm_up_s / call_s), 100))
    least = stopping.least_samples(call_s)
    most = stopping.very_slow_samples if call_s > stopping.very_slow_s else stopping.most
    batch = _between(1, int(0.05 / call_s), 50)
    readings: list[Reading] = []
    started = time.perf_counter()
    while len(readings) < most:
        readings += clock.read(sampled_call, min(batch, most - len(readings)))
        times_ms, doubts = _trusted(readings)
        enough = len(times_ms) >= least
        if enough and (time.perf_counter() - started > stopping.budget_s or _settled(times_ms, stopping)):
            break
    return Sample(
        times_ms=tuple(round(time_ms, 7) for time_ms in times_ms),
        enqueue_us=tuple(round(seconds * 1e6, 2) for seconds in enqueue_s),
        host_bound=sum(reading.host_bound for reading in readings),
        doubts=doubts,
    )


def _trusted(readings: list[Reading]) -> tuple[list[float], tuple[str, ...]]:
    """The times that count: without the host-bound ones, unless they are most; then with a doubt."""
    clean = [reading.time_ms for reading in readings if not reading.host_bound]
    if 2 * len(clean) >= len(readings):
        return clean, ()
    return [reading.time_ms for reading in readings], (HOST_BOUND,)


def _call_s(call: Call, clock: Clock, slow_s: float) -> float:
    """How long a call takes to its end: the last of five, or the first where it is slow."""
    for _ in range(5):
        start = time.perf_counter()
        call()
        clock.wait()
        call_s = time.perf_counter() - start
        if call_s > slow_s:
            break
    return max(call_s, 1e-6)


def _settled(times_ms: list[float], stopping: Stopping) -> bool:
    low, high = median_interval(times_ms)
    return high - low <= 2 * stopping.target * median(times_ms)


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def measure(
    function: Callable[..., Any],
    *arguments: Any,
    device: str | None = None,
    budget_s: float = 1.0,
    **named: Any,
) -> Sample:
    """Times `function(*arguments, **named)` as a sweep would, for use in notebooks.

    `device` is the torch device it works on; by default that of the first tensor argument, else the CPU.
    Returns a `Sample`: raw `times_ms`, their median `time_ms` and its 95 % interval `interval_ms`.
    """

    def call() -> Any:
        return function(*arguments, **named)

    if device is None:
        tensors = [value for value in (*arguments, *named.values()) if hasattr(value, "device")]
        device = str(tensors[0].device) if tensors else "cpu"
    call()
    return sample(call, clock_of(device), Stopping(budget_s=budget_s))
