"""The timer: raw samples of a call, from a clock that tests can replace. Knows nothing of mechanisms.

The protocol, with its reasons: everything is compiled before the first sample; the caches are cold at every
sample (a buffer twice the last-level cache is overwritten between samples, outside the timed region), since
a model's own layers would have evicted them; on a GPU that overwriting is repeated until it outlasts the
host's time to enqueue the call, and a batch begins with a lead, so that a pair of events holds device work
alone; the host waits only between batches of samples. A sample during which the device may have waited for
the host all the same is known by its start event, which had passed before the call was enqueued; it is
discarded and counted, unless most are like that: then all are kept and the row is doubted. So are samples of
a block of 100 ms or more at whose ends the card said that heat or its hardware slowed it down. Sampling stops
when the 99 % interval of the median is within `target` of it, or at the budget. A reading that is no positive
time (the clock was set back) never counts.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lbench.clock import Call, Clock, Reading, clock_of
from lbench.doubts import Doubt
from lbench.protocol import Stopping
from lbench.statistics import known_interval, median, median_interval
from lbench.telemetry import DISCARDED, Silent, State, Telemetry

BLOCK_S = 0.1
"""Wall time of samples after which the card is asked how it is; a shorter round is one block."""
SURE = 0.99
"""Of the interval that ends the sampling: whoever looks after every batch sees one that is short by luck."""
BATCH_S = 0.05
"""Calls that the host enqueues without waiting take about so long."""


class NoTime(RuntimeError):
    """The clock never ran forwards during a call."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Raw times of one call."""

    times_ms: tuple[float, ...]
    enqueue_us: tuple[float, ...] = ()
    blocks: tuple[dict[str, Any], ...] = ()
    """Stretches of 100 ms or more: first, count (of `times_ms`), sm_mhz, power_w, temperature_c, slowdown."""
    discarded: dict[str, int] = field(default_factory=dict)
    """Samples thrown away by reason, unless they were most (`doubts`)."""
    doubts: tuple[str, ...] = ()

    def calls(self) -> int:
        """Samples taken, those that were thrown away included."""
        return len(self.times_ms) + sum(self.discarded.values())

    @property
    def time_ms(self) -> float:
        """The median."""
        return median(self.times_ms)

    @property
    def interval_ms(self) -> tuple[float, float]:
        """The 95 % interval of the median; NaN for fewer than three samples."""
        return known_interval(self.times_ms)

    def __str__(self) -> str:
        low, high = self.interval_ms
        spread = f"95 % of the median: {low:.4g} to {high:.4g}, {len(self.times_ms)} samples"
        return f"{self.time_ms:.4g} ms ({spread})"


@dataclass(kw_only=True)
class _Block:
    """Samples between two looks at the card."""

    readings: list[Reading] = field(default_factory=list)
    state: State | None = None
    slowdowns: frozenset[str] = frozenset()

    def reason(self, reading: Reading) -> str:
        """Why a reading of this block does not count; empty where it does."""
        if not reading.time_ms > 0:
            return Doubt.CLOCK_JUMP.value
        if self.slowdowns.intersection(DISCARDED):
            return Doubt.THERMAL_SLOWDOWN.value
        return Doubt.HOST_BOUND.value if reading.host_bound else ""

    def as_dict(self, first: int, count: int) -> dict[str, Any]:
        state = self.state or State()
        return {
            "first": first,
            "count": count,
            "sm_mhz": state.sm_mhz,
            "power_w": state.power_w,
            "temperature_c": state.temperature_c,
            "slowdown": ", ".join(sorted(self.slowdowns)),
        }


def host_times(call: Call, clock: Clock, slow_s: float) -> tuple[float, tuple[float, ...]]:
    """How long a call takes to its end (s), and the host to enqueue it (us, each of up to five).

    The host is timed apart: in a batch it may have to wait for room in the device's queue. One call does
    where it is longer than `slow_s`.
    """
    enqueue_us: list[float] = []
    call_s = 0.0
    clock.wait()
    for _ in range(5):
        start = time.perf_counter()
        call()
        enqueue_us.append((time.perf_counter() - start) * 1e6)
        clock.wait()
        call_s = time.perf_counter() - start
        if call_s > slow_s:
            break
    return max(call_s, 1e-6), tuple(round(value, 2) for value in enqueue_us)


def warm_up(
    call: Call,
    clock: Clock,
    stopping: Stopping,
    sample_s: float,
    now: Callable[[], float] = time.perf_counter,
) -> None:
    """The unmeasured calls before a round of samples, each as long as a sample with what goes before it."""
    left = stopping.warm_up_calls(sample_s)
    batch = _between(1, left // 5, 50)
    started = now()
    while left > 0:
        clock.read(call, batch)
        left -= batch
        if now() - started > stopping.warm_up_s:
            break


def take(
    call: Call,
    clock: Clock,
    stopping: Stopping,
    *,
    sample_s: float,
    seen: Sequence[float] = (),
    telemetry: Telemetry | None = None,
    now: Callable[[], float] = time.perf_counter,
) -> Sample:
    """One round of samples of a warm call, until `stopping` (of this round) says enough.

    `sample_s` is about how long one sample takes; `seen` are the times (ms) of rounds before, which count
    towards the interval of the median. NoTime where no reading was a time.
    """
    telemetry = telemetry or Silent()
    wanted_s = max(stopping.budget_s, stopping.least * sample_s)
    batch = _between(1, int(min(BATCH_S, wanted_s) / sample_s), 50)
    state = telemetry.read()
    blocks = [_Block(slowdowns=state.slowdowns if state else frozenset())]
    started = block_started = now()
    taken = 0
    while taken < stopping.most:
        count = min(batch, stopping.most - taken)
        blocks[-1].readings += clock.read(call, count)
        taken += count
        moment = now()
        if moment - block_started >= BLOCK_S:
            _look(blocks[-1], telemetry)
            blocks.append(_Block(slowdowns=blocks[-1].state.slowdowns if blocks[-1].state else frozenset()))
            block_started = moment
        times_ms = [*seen, *_sample(blocks).times_ms]
        enough = len(times_ms) - len(seen) >= stopping.least
        if enough and (moment - started > stopping.budget_s or _settled(times_ms, stopping)):
            break
    _close(blocks, telemetry)
    sampled = _sample(blocks)
    if not sampled.times_ms:
        raise NoTime(f"none of {sampled.calls()} readings of the clock was a positive time; measure again")
    return sampled


def _look(block: _Block, telemetry: Telemetry) -> None:
    block.state = telemetry.read()
    if block.state is not None:
        block.slowdowns |= block.state.slowdowns


def _close(blocks: list[_Block], telemetry: Telemetry) -> None:
    """Ends the last block; one that is shorter than a block belongs to the one before it."""
    if len(blocks) > 1:
        last = blocks.pop()
        blocks[-1].readings += last.readings
        if not last.readings:
            return
    _look(blocks[-1], telemetry)


def _sample(blocks: Sequence[_Block]) -> Sample:
    """What counts, block by block: without discarded readings, unless they are most; then with doubts.

    What is no positive time counts in no case.
    """
    reasons = [block.reason(reading) for block in blocks for reading in block.readings]
    discarded = {reason: reasons.count(reason) for reason in sorted({*reasons} - {""})}
    doubts: tuple[str, ...] = ()
    if 2 * sum(discarded.values()) > len(reasons):
        doubts = tuple(Doubt(reason).told("in most samples") for reason in discarded)
        discarded = {name: count for name, count in discarded.items() if name == Doubt.CLOCK_JUMP}
    times_ms: list[float] = []
    kept: list[dict[str, Any]] = []
    for block in blocks:
        counted = [
            reading.time_ms
            for reading in block.readings
            if not block.reason(reading) or (doubts and reading.time_ms > 0)
        ]
        kept.append(block.as_dict(len(times_ms), len(counted)))
        times_ms += counted
    return Sample(
        times_ms=tuple(round(time_ms, 7) for time_ms in times_ms),
        enqueue_us=tuple(
            round(reading.host_us, 2)
            for block in blocks
            for reading in block.readings
            if reading.host_us is not None
        ),
        blocks=tuple(kept),
        discarded=discarded,
        doubts=doubts,
    )


def _settled(times_ms: list[float], stopping: Stopping) -> bool:
    low, high = median_interval(times_ms, SURE)
    return high - low <= 2 * stopping.target * median(times_ms)


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def sample(call: Call, clock: Clock, stopping: Stopping) -> Sample:
    """Samples `call`, which must be compiled already, in a single round."""
    call_s, enqueue_us = host_times(call, clock, stopping.slow_s)
    clock.prepare((max(enqueue_us[1:]) if enqueue_us[1:] else enqueue_us[0]) * 1e-6)
    sample_s = call_s + clock.between_s
    warm_up(call, clock, stopping, sample_s)
    taken = take(call, clock, stopping.share(0, 0.0, stopping.rounds_of(call_s), call_s), sample_s=sample_s)
    return Sample(
        times_ms=taken.times_ms,
        enqueue_us=enqueue_us,
        blocks=taken.blocks,
        discarded=taken.discarded,
        doubts=taken.doubts,
    )


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
    with _current(device):
        call()
        return sample(call, clock_of(device), Stopping(budget_s=budget_s))


def _current(device: str) -> contextlib.AbstractContextManager[Any]:
    """Within it a GPU is the current one: events and streams are those of that."""
    if not device.startswith("cuda"):
        return contextlib.nullcontext()
    import torch

    return torch.cuda.device(device)
