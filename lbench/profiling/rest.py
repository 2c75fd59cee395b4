"""Where the time goes beside the kernels: gaps, copies, casts, fills, and calls to allocator and driver."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lbench.profiling.kernels import OUTSIDE, operators
from lbench.profiling.kinds import Kind, kind_of
from lbench.profiling.spans import IDLE, gaps, partition
from lbench.profiling.trace import RUNTIME, Event, Trace

HOST_GAP = "gap: the host was late"
DEVICE_GAP = "gap: between kernels"
ON_GPU = 1
"""How torch's allocations name a device of that type."""
ALLOCATOR = re.compile(r"^cu(da)?(Malloc|Free|Mem(Alloc|Free|Create|Release|Map|Unmap|AddressReserve))")
SYNCHRONIZES = re.compile(r"^cu(da)?(Stream|Device|Event|Ctx)Synchronize|^cu(da)?Memcpy(?!.*Async)")


@dataclass(frozen=True, kw_only=True)
class Rest:
    """One call of the workload, the mean of all in the trace."""

    span_ms: float
    """From the start of the first kernel to the end of the last; on a CPU, the call."""
    parts_ms: Mapping[str, float]
    """What the span went to, every moment counted once; they add up to it."""
    host_ms: float
    """Time in which the host was in the call, tools included; on a CPU, the span."""
    driver: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Calls of allocator and waiting in the driver: name -> (calls, ms)."""
    threads: int = 1
    """Of the host, on which operators were called; autograd has its own on a GPU."""
    allocations: float = 0.0
    """Tensors made through torch's allocator, from its cache or not."""
    allocated_mib: float = 0.0

    @property
    def shares(self) -> dict[str, float]:
        """The parts as shares of the span."""
        return {name: part / self.span_ms if self.span_ms else 0.0 for name, part in self.parts_ms.items()}


def rest(trace: Trace) -> Rest:
    """The parts of a call; of a trace without device events, those of its operators."""
    calls = len(trace.calls)
    on_gpu = [event for event in trace.allocations if event.args.get("Device Type") == ON_GPU]
    taken = [event.args.get("Bytes", 0) for event in on_gpu or trace.allocations]
    taken = [size for size in taken if size > 0]
    parts = _device_parts(trace) if trace.device else _host_parts(trace)
    driver: dict[str, list[float]] = defaultdict(list)
    for event in trace.host:
        if event.category in RUNTIME and (ALLOCATOR.match(event.name) or SYNCHRONIZES.match(event.name)):
            driver[event.name].append(event.time_us)
    return Rest(
        span_ms=sum(parts.values()) / calls * 1e-3,
        parts_ms={name: part / calls * 1e-3 for name, part in parts.items()},
        host_ms=sum(call.time_us for call in trace.calls) / calls * 1e-3,
        driver={name: (len(times) / calls, sum(times) / calls * 1e-3) for name, times in driver.items()},
        threads=len({event.thread for event in trace.host if event.category == "cpu_op"}) or 1,
        allocations=len(taken) / calls,
        allocated_mib=sum(taken) / calls / 2**20,
    )


def _device_parts(trace: Trace) -> dict[str, float]:
    """Microseconds of all calls by kind, and the gaps by whose fault they are."""
    parts: dict[str, float] = defaultdict(float)
    for number in range(len(trace.calls)):
        events = [event for event in trace.device if event.call == number]
        if not events:
            continue
        window = events[0].start_us, max(event.end_us for event in events)
        spans = [(event.start_us, event.end_us, kind_of(event).value) for event in events]
        found = partition(spans, [kind.value for kind in Kind], window)
        late_us = _late_us(events)
        found[HOST_GAP], found[DEVICE_GAP] = late_us, max(found.pop(IDLE) - late_us, 0.0)
        for name, part in found.items():
            parts[name] += part
    return dict(parts)


def _late_us(events: Sequence[Event]) -> float:
    """How much of the gaps had passed before the host had launched what ended them."""
    late_us = 0.0
    ordered = sorted(events, key=lambda one: (one.start_us, one.end_us))
    for start, end, index in gaps((one.start_us, one.end_us, "") for one in ordered):
        launch = ordered[index].above[-1]
        late_us += max(min(launch.end_us, end) - start, 0.0)
    return late_us


def _host_parts(trace: Trace) -> dict[str, float]:
    parts: dict[str, float] = defaultdict(float)
    calls = len(trace.calls)
    for one in operators(trace):
        parts[OUTSIDE if one.name == OUTSIDE else one.kind.value] += one.time_ms * calls * 1e3
    return dict(parts)
