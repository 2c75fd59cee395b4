"""Energy of a call, from the card's own counter.

The rule: NVML's counter moves in steps, and reading it may take as long as a step. So it is read at its step
before some work and at the one after it, never while the card works: calls back to back for `WINDOW_S`, which
the host awaits every `BATCH_S`. What the card draws with nothing running, found between steps once a process,
is subtracted and kept beside it. Inputs of short calls then lie in the L2: this is the energy of work in a
stream, not of a cold call. Where the host enqueues slower than the card works the stream has gaps, and there
is no figure. So are the samples of a long call weighed, which then needs no call for its energy alone.

A card at rest may draw more than its power limit until its limiter slows it, which looks at about a second:
a burst that a long run never has. Where a window shows one, calls are weighed again over `LONG_WINDOW_S`; of
samples that took less there is no figure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

WINDOW_S = 0.5
LONG_WINDOW_S = 2.0
"""Where the card drew more than its limit: on an H100 it tells 1 to 2 % more than one of 4 s, `WINDOW_S` 8 to
10 % (LOG.md)."""
STEPS = 5
"""Of the counter, over which idle power is found."""
BATCH_S = 0.05
"""Calls of about this time are enqueued before the host waits: a wait is a gap of some 20 us."""
SETTLE_S = 0.2
"""Between the last work and the idle window."""
DENSE = 1.1
"""Times its own length that a call may take in the stream: the rest is gaps."""
STUCK_S = 0.5
"""A counter that has not moved for so long is none."""

T = TypeVar("T")
_idle_w: dict[str, float | None] = {}


@dataclass(frozen=True)
class Counter:
    """What a card tells of its energy."""

    joules: Callable[[], float]
    """Since the driver was loaded."""
    limit_w: float = math.inf
    """What the card may draw for long; infinite where it does not tell."""


@dataclass(frozen=True)
class _Step:
    """A step of the counter as it was seen."""

    at_s: float
    joules: float


@dataclass(frozen=True)
class _Weight:
    """What was counted between a step before some work and one after it."""

    joules: float
    seconds: float
    busy_s: float
    """Of these, the work's own."""
    calls: int

    def is_burst(self, idle_w: float, limit_w: float) -> bool:
        """Whether the work drew more than the card may for long, and ended before that was over."""
        work_j = self.joules - idle_w * (self.seconds - self.busy_s)
        return self.busy_s < LONG_WINDOW_S and work_j > limit_w * self.busy_s

    def told(self, idle_w: float) -> dict[str, float]:
        """As rows keep it."""
        return {
            "joules_per_call": (self.joules - idle_w * self.seconds) / self.calls,
            "idle_w": round(idle_w, 2),
            "window_s": round(self.busy_s, 4),
            "calls": self.calls,
        }


def per_call(
    call: Callable[[], Any], device: str, call_s: float, *, counter: Counter | None = None
) -> dict[str, float]:
    """{joules_per_call, idle_w, window_s, calls}; idle power is subtracted.

    `call_s` is about how long a call takes. Empty where there is no counter, at once on a CPU, and where the
    card waited for the host between the calls.
    """
    counter = counter or counter_of(device)
    idle_w = idle_power(device, counter)
    if counter is None or idle_w is None:
        return {}

    def stream(window_s: float) -> int:
        count, calls = max(int(BATCH_S / max(call_s, 1e-6)), 1), 0
        started = time.perf_counter()
        while not calls or time.perf_counter() - started < window_s:
            for _ in range(count):
                call()
            _wait(device)
            calls += count
        return calls

    weight = _around(counter, device, lambda: stream(WINDOW_S))
    if weight is None or weight.busy_s / weight.calls > DENSE * call_s:
        return {}
    if weight.is_burst(idle_w, counter.limit_w):
        # The host keeps up: calls that now take longer are slowed by the limiter, and have no gaps.
        weight = _around(counter, device, lambda: stream(LONG_WINDOW_S))
    return weight.told(idle_w) if weight else {}


def weighed(
    work: Callable[[], T], device: str, calls_of: Callable[[T], int], *, counter: Counter | None = None
) -> tuple[T, dict[str, float]]:
    """What `work` returned, and the energy of the calls in it, as `per_call` tells it.

    `calls_of` says how many there were. What goes on between them is counted in. Empty where all of it is
    shorter than `WINDOW_S`, or than `LONG_WINDOW_S` where the card drew more than its limit.
    """
    counter = counter or counter_of(device)
    idle_w = idle_power(device, counter)
    if counter is None or idle_w is None:
        return work(), {}
    returned: list[T] = []

    def counted() -> int:
        returned.append(work())
        _wait(device)
        return calls_of(returned[0])

    weight = _around(counter, device, counted)
    result = returned[0] if returned else work()
    if weight is None or weight.seconds < WINDOW_S or weight.is_burst(idle_w, counter.limit_w):
        return result, {}
    return result, weight.told(idle_w)


def joined(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The energy of a call over several windows; empty where one of them has none."""
    if not parts or not all(parts):
        return {}
    calls = sum(part["calls"] for part in parts)
    return {
        **parts[0],
        "joules_per_call": sum(part["joules_per_call"] * part["calls"] for part in parts) / calls,
        "window_s": round(sum(part["window_s"] for part in parts), 4),
        "calls": calls,
    }


def counter_of(device: str) -> Counter | None:
    """The energy counter of a torch device; None on a CPU and where card or driver offer none."""
    if not device.startswith("cuda"):
        return None
    with suppress(Exception):  # NVML may be missing, forbidden or gone: then there is no energy column
        import pynvml
        import torch

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")

        def joules() -> float:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * 1e-3

        joules()
        with suppress(pynvml.NVMLError):
            return Counter(joules, pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) * 1e-3)
        return Counter(joules)
    return None


def idle_power(device: str, counter: Counter | None = None) -> float | None:
    """Watts with the context open and nothing running, measured once a process; None without a counter."""
    counter = counter or counter_of(device)
    if counter is None:
        return None
    if device not in _idle_w:
        _wait(device)
        time.sleep(SETTLE_S)
        _idle_w[device] = _at_rest(counter)
    return _idle_w[device]


def _at_rest(counter: Counter) -> float | None:
    """Watts over a window of steps with nothing running."""
    first = last = _step(counter)
    steps = 0
    while first is not None and last is not None:
        seconds = last.at_s - first.at_s
        if seconds >= WINDOW_S and (steps >= STEPS or seconds >= 4 * WINDOW_S):
            return (last.joules - first.joules) / seconds
        last, steps = _step(counter), steps + 1
    return None


def _around(counter: Counter, device: str, work: Callable[[], int]) -> _Weight | None:
    """Some work, which returns how many calls it made, weighed; None where the counter does not move."""
    _wait(device)
    before = _step(counter)
    if before is None:
        return None
    started = time.perf_counter()
    calls = work()
    busy_s = time.perf_counter() - started
    after = _step(counter)
    if after is None:
        return None
    return _Weight(after.joules - before.joules, after.at_s - before.at_s, busy_s, calls)


def _step(counter: Counter) -> _Step | None:
    """The next step of the counter while nothing runs; None where it does not move, or is gone."""
    try:
        before, since_s = counter.joules(), time.perf_counter()
        while True:
            time.sleep(0.002)
            now_s, joules = time.perf_counter(), counter.joules()
            if joules != before:
                return _Step(now_s, joules)
            if now_s - since_s > STUCK_S:
                return None
    except Exception as error:
        if type(error).__name__.startswith("NVMLError"):
            return None
        raise


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
