"""Energy of a call, from the card's own counter.

The rule: NVML's counter moves in steps, so the card works back to back from one step of the counter to
another at least `WINDOW_S` and `STEPS` steps later, and energy and calls are counted between the two; what
the card draws with nothing running, found the same way once a process, is subtracted and kept beside it.
Inputs of short calls then lie in the L2: this is the energy of work in a stream, not of a cold call. Of calls
longer than `LONG_S` one is enough: the counter is read at its step before the call and at the one after it.
So are the samples of a long call weighed, which then needs no call for its energy alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

WINDOW_S = 0.5
STEPS = 5
LONG_S = 1.0
"""Such calls are as long as a window is with its steps at both ends."""
BATCH_S = 0.005
"""Calls of about this time are enqueued before the counter is looked at again."""
SETTLE_S = 0.2
"""Between the last work and the idle window."""
STUCK_S = 0.5
"""A counter that has not moved for so long is none."""

T = TypeVar("T")
Counter = Callable[[], float]
"""Joules since the driver was loaded."""
_idle_w: dict[str, float | None] = {}


@dataclass(frozen=True)
class _Mark:
    """A step of the counter as it was seen."""

    at_s: float
    joules: float
    calls: int = 0


def per_call(
    call: Callable[[], Any],
    device: str,
    call_s: float,
    *,
    window_s: float = WINDOW_S,
    counter: Counter | None = None,
) -> dict[str, float]:
    """{joules_per_call, idle_w, window_s, calls}; idle power is subtracted. Empty where there is no counter.

    `call_s` is about how long a call takes. Returns at once on a CPU.
    """
    counter = counter or counter_of(device)
    idle_w = idle_power(device, counter)
    if counter is None or idle_w is None:
        return {}

    def work() -> int:
        count = max(int(BATCH_S / max(call_s, 1e-6)), 1)
        for _ in range(count):
            call()
        _wait(device)
        return count

    if call_s > LONG_S:
        span = _around(counter, work)
    else:
        span = _between_steps(counter, work, window_s, patience_s=STUCK_S + 3 * call_s)
    return {} if span is None else _told(*span, idle_w)


def weighed(
    work: Callable[[], T], device: str, calls_of: Callable[[T], int], *, counter: Counter | None = None
) -> tuple[T, dict[str, float]]:
    """What `work` returned, and the energy of the calls in it, as `per_call` tells it.

    `calls_of` says how many there were. What goes on between them is counted in. Empty where all of it is
    shorter than a window.
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

    span = _around(counter, counted)
    result = returned[0] if returned else work()
    if span is None or span[1].at_s - span[0].at_s < WINDOW_S:
        return result, {}
    return result, _told(*span, idle_w)


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


def _told(first: _Mark, last: _Mark, idle_w: float) -> dict[str, float]:
    calls, seconds = last.calls - first.calls, last.at_s - first.at_s
    joules = (last.joules - first.joules - idle_w * seconds) / calls
    return {
        "joules_per_call": joules,
        "idle_w": round(idle_w, 2),
        "window_s": round(seconds, 4),
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

        def read() -> float:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * 1e-3

        read()
        return read
    return None


def idle_power(device: str, counter: Counter | None = None) -> float | None:
    """Watts with the context open and nothing running, measured once a process; None without a counter."""
    counter = counter or counter_of(device)
    if counter is None:
        return None
    if device not in _idle_w:
        _wait(device)
        time.sleep(SETTLE_S)
        span = _between_steps(counter, _rest, WINDOW_S, patience_s=STUCK_S)
        _idle_w[device] = None
        if span is not None:
            first, last = span
            _idle_w[device] = (last.joules - first.joules) / (last.at_s - first.at_s)
    return _idle_w[device]


def _rest() -> int:
    time.sleep(0.002)
    return 1


def _around(counter: Counter, work: Callable[[], int]) -> tuple[_Mark, _Mark] | None:
    """A step of the counter before some work, and the first one after it; None where it does not move."""
    before = _between_steps(counter, _rest, 0.0, patience_s=STUCK_S)
    if before is None:
        return None
    calls = work()
    after = _between_steps(counter, _rest, 0.0, patience_s=STUCK_S)
    if after is None:
        return None
    return replace(before[1], calls=0), replace(after[0], calls=calls)


def _between_steps(
    counter: Counter, work: Callable[[], int], window_s: float, patience_s: float
) -> tuple[_Mark, _Mark] | None:
    """The first and the last step of the counter over a window of work; None where it does not move."""
    first: _Mark | None = None
    calls = steps = 0
    try:
        before, moved_s = counter(), time.perf_counter()
        while True:
            calls += work()
            now_s, joules = time.perf_counter(), counter()
            if joules == before:
                if now_s - moved_s > patience_s:
                    return None
                continue
            before, moved_s = joules, now_s
            if first is None:
                first = _Mark(now_s, joules, calls)
                continue
            steps += 1
            if now_s - first.at_s >= window_s and (steps >= STEPS or now_s - first.at_s >= 4 * window_s):
                return first, _Mark(now_s, joules, calls)
    except Exception as error:
        if type(error).__name__.startswith("NVMLError"):
            return None
        raise


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
