"""A trace in Chrome's format, as torch.profiler writes it: the calls in it, and who launched what."""

from __future__ import annotations

import dataclasses
import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARK = "lbench call"
"""The annotation around every call of the workload; what lies outside was not timed."""
DEVICE = {"kernel": "kernel", "gpu_memcpy": "memcpy", "gpu_memset": "memset"}
"""Categories of what ran on a GPU."""
RUNTIME = frozenset({"cuda_runtime", "cuda_driver"})
HOST = RUNTIME | {"cpu_op", "user_annotation", "python_function"}


class Unreadable(ValueError):
    """What a tool wrote cannot be used; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that took time, on a thread of the host or on a stream of the device."""

    name: str
    category: str
    start_us: float
    end_us: float
    thread: str
    args: Mapping[str, Any] = field(default_factory=dict)
    above: tuple[Event, ...] = ()
    """Those it ran in, outermost first; of a device event those of its launch, with the launch itself."""
    call: int = 0
    """Which of the marked calls it belongs to."""

    @property
    def time_us(self) -> float:
        """How long it took."""
        return self.end_us - self.start_us


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The marked calls of a trace and what belongs to them."""

    calls: tuple[Event, ...]
    host: tuple[Event, ...]
    """Operators, annotations and calls of the driver, in the order of their start."""
    device: tuple[Event, ...]
    """Kernels, copies and fills, in the order of their start."""
    allocations: tuple[Event, ...] = ()
    """Bytes taken from torch's allocator (`args["Bytes"]`, negative where they are given back)."""


def read(path: Path) -> Trace:
    """The trace in a file, packed or not. Unreadable where it is none, or where no call is marked in it."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            events = json.load(file)["traceEvents"]
        return of_events(events)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"{path.name} is no trace: {type(error).__name__}: {error}") from error


def of_events(events: Iterable[Mapping[str, Any]]) -> Trace:
    """The trace that a list of Chrome's events describes."""
    host, device, memory = [], [], []
    for raw in events:
        category = str(raw.get("cat", "")).lower()
        if raw.get("ph") == "X" and category in HOST:
            host.append(_event(raw, category))
        elif raw.get("ph") == "X" and category in DEVICE:
            device.append(_event(raw, category))
        elif raw.get("name") == "[memory]":
            memory.append(_event(raw, category))
    calls = sorted((one for one in host if _is_call(one)), key=lambda one: one.start_us)
    if not calls:
        raise Unreadable("the trace holds no call of the workload; the profiler was not there when it ran")
    within = nested(_placed(host, calls))
    launches: dict[Any, Event] = {}
    for one in within:
        # Kernels of a driver that was not traced still name the operator they were launched from.
        tie = "correlation" if one.category in RUNTIME else "External id"
        if one.args.get(tie):
            launches[tie, one.args[tie]] = one
    return Trace(
        calls=tuple(calls),
        host=tuple(within),
        device=tuple(_launched(device, launches)),
        allocations=tuple(sorted(_placed(memory, calls), key=lambda one: one.start_us)),
    )


def nested(events: Iterable[Event]) -> list[Event]:
    """Host events in the order of their start, each knowing those of its thread that it ran in."""
    open_on: dict[str, list[Event]] = defaultdict(list)
    found = []
    for event in sorted(events, key=lambda one: (one.start_us, -one.end_us)):
        stack = open_on[event.thread]
        while stack and stack[-1].end_us <= event.start_us:
            stack.pop()
        placed = dataclasses.replace(event, above=tuple(stack))
        stack.append(placed)
        found.append(placed)
    return found


def self_times_us(events: Sequence[Event]) -> list[float]:
    """What each event of `nested` took beyond those of the given ones that are directly in it."""
    left = {id(event): event.time_us for event in events}
    for event in events:
        outer = next((one for one in reversed(event.above) if id(one) in left), None)
        if outer is not None:
            left[id(outer)] -= max(min(event.end_us, outer.end_us) - event.start_us, 0.0)
    return [max(left[id(event)], 0.0) for event in events]


def _launched(events: Iterable[Event], launches: Mapping[Any, Event]) -> list[Event]:
    found = []
    for event in sorted(events, key=lambda one: one.start_us):
        ties = ((name, event.args.get(name)) for name in ("correlation", "External id"))
        launch = next((launches[tie] for tie in ties if tie in launches), None)
        if launch is not None:
            found.append(dataclasses.replace(event, above=(*launch.above, launch), call=launch.call))
    return found


def _is_call(event: Event) -> bool:
    return event.name == MARK and event.category == "user_annotation"


def _placed(events: Iterable[Event], calls: Sequence[Event]) -> list[Event]:
    """Events that began within a call, on whatever thread: autograd has its own."""
    return [
        dataclasses.replace(event, call=number)
        for event in events
        for number, call in enumerate(calls)
        if call.start_us <= event.start_us < call.end_us
    ]


def _event(raw: Mapping[str, Any], category: str) -> Event:
    start_us = float(raw["ts"])
    return Event(
        name=str(raw["name"]),
        category=category,
        start_us=start_us,
        end_us=start_us + float(raw.get("dur", 0.0)),
        thread=f"{raw.get('pid')}/{raw.get('tid')}",
        args=raw.get("args") or {},
    )
