"""Clocks: how long a call takes on a device, caches cold before each. Tests put their own in place."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Call = Callable[[], Any]


@dataclass(frozen=True)
class Reading:
    """One sample as a clock saw it."""

    time_ms: float
    host_bound: bool = False
    """The device may have waited for the host during it."""
    host_us: float | None = None
    """How long the host took to enqueue it, where that was looked at."""


class Clock(Protocol):
    """What a device must offer to be timed."""

    @property
    def between_s(self) -> float:
        """Wall time that making the caches cold adds to each sample, as `prepare` found it."""

    def wait(self) -> None:
        """Returns when the device has nothing left to do."""

    def prepare(self, enqueue_s: float) -> None:
        """Told once how long the host takes to enqueue the call."""

    def read(self, call: Call, count: int) -> list[Reading]:
        """Times `count` calls, caches cold before each."""


class CudaClock:
    """Device time between two events on the current stream.

    Cold: a buffer twice the L2 is overwritten before every sample. Warm: a spinning kernel keeps the device
    busy in its place, and what the call before has left in the cache stays there.
    """

    LEAD_S = 0.005
    """Device work enqueued ahead of a batch, so that a hiccup of the host does not let the device run dry."""
    SPIN_CYCLES = 40_000
    """Of one spinning kernel: 20 us and more."""
    between_s = 0.0
    """The device overwrites while the host enqueues: batches are sized by the calls."""

    def __init__(self, device: str = "cuda", *, cold: bool = True) -> None:
        import torch

        self._torch = torch
        self._cold = cold
        buffer_bytes = 2 * l2_bytes(device) if cold else 1
        self._buffer: Tensor = torch.empty(buffer_bytes, dtype=torch.int8, device=device)
        self._overwrites = self._lead = 1

    def wait(self) -> None:
        """Waits for the device."""
        self._torch.cuda.synchronize()

    def prepare(self, enqueue_s: float) -> None:
        """Sets how often the buffer is overwritten, so that the device is busy while the host enqueues."""
        self._overwrite(10)  # the first ones load the kernel
        self.wait()
        start, end = self._events()
        start.record()
        self._overwrite(20)
        end.record()
        self.wait()
        overwrite_s = start.elapsed_time(end) * 1e-3 / 20
        self._overwrites = min(int(2 * enqueue_s / overwrite_s) + 1, 1000)
        self._lead = min(int(max(self.LEAD_S, 3 * enqueue_s) / overwrite_s) + 1, 2000)

    def _events(self) -> tuple[Any, Any]:
        return self._torch.cuda.Event(enable_timing=True), self._torch.cuda.Event(enable_timing=True)

    def _overwrite(self, times: int) -> None:
        for _ in range(times):
            if self._cold:
                self._buffer.zero_()
            else:
                self._torch.cuda._sleep(self.SPIN_CYCLES)

    def read(self, call: Call, count: int) -> list[Reading]:
        """One pair of events a call; the host waits once at the end."""
        taken = []
        self._overwrite(self._lead)
        for _ in range(count):
            start, end = self._events()
            self._overwrite(self._overwrites)
            start.record()
            began = time.perf_counter()
            call()
            host_s = time.perf_counter() - began
            end.record()
            taken.append((start, end, host_s, start.query()))
        self.wait()
        return [
            # A device that had started early but computed long after the host was done did not wait.
            Reading(time_ms, host_bound=started_early and time_ms < 1.5e3 * host_s, host_us=host_s * 1e6)
            for start, end, host_s, started_early in taken
            for time_ms in (start.elapsed_time(end),)
        ]


class CpuClock:
    """Wall time of the calling thread."""

    CACHE_BYTES = 64 * 1024 * 1024

    def __init__(self, *, cold: bool = True) -> None:
        import torch

        self._buffer = torch.empty(self.CACHE_BYTES if cold else 0, dtype=torch.int8)
        self.between_s = 0.0

    def wait(self) -> None:
        """A CPU call has ended when it returns."""

    def prepare(self, enqueue_s: float) -> None:
        """Nothing to hide: the call runs on the host. Overwriting the caches may take longer than it."""
        self._buffer.zero_()  # its pages are made at the first touch
        start = time.perf_counter()
        self._buffer.zero_()
        self.between_s = time.perf_counter() - start

    def read(self, call: Call, count: int) -> list[Reading]:
        """One reading of the performance counter a side."""
        readings = []
        for _ in range(count):
            self._buffer.zero_()
            start = time.perf_counter()
            call()
            readings.append(Reading((time.perf_counter() - start) * 1e3))
        return readings


def clock_of(device: str, *, cold: bool = True) -> Clock:
    """The clock of a torch device (`cuda`, `cuda:1`, `cpu`)."""
    return CudaClock(device, cold=cold) if device.startswith("cuda") else CpuClock(cold=cold)


def l2_bytes(device: str) -> int:
    """Size of a GPU's last-level cache."""
    import torch

    return int(torch.cuda.get_device_properties(torch.device(device)).L2_cache_size)
