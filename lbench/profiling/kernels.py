"""A trace as a table: time, share and launches by GPU kernel, or by operator on a CPU."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lbench.profiling.kinds import Kind, kind_of
from lbench.profiling.occupancy import Card, occupancy
from lbench.profiling.trace import MARK, Event, Trace, self_times_us

LONGEST = 60
OUTSIDE = "(outside operators)"
"""Python, autograd's bookkeeping, and what a library does without telling torch."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """All launches of one kernel with one shape of block, a call of the workload."""

    name: str
    full_name: str
    kind: Kind
    time_ms: float
    """A call, all launches together."""
    share: float
    """Of the time of all kernels."""
    launches: float
    """A call."""
    grids: tuple[tuple[int, ...], ...] = ()
    """Different grids it was launched with, the most frequent first."""
    block: tuple[int, ...] = ()
    registers: int | None = None
    """A thread."""
    shared_bytes: int | None = None
    """Shared memory of a block."""
    occupancy: float | None = None
    """Estimate: warps that fit on a multiprocessor at once, as a share of the most it holds."""
    launched_by: str = ""
    """The operator, or autograd function, it was launched from."""

    @property
    def blocks(self) -> int | None:
        """Blocks of the most frequent grid."""
        if not self.grids:
            return None
        count = 1
        for size in self.grids[0]:
            count *= size
        return count


def kernels(trace: Trace, card: Card | None = None) -> list[Kernel]:
    """GPU kernels, copies and fills, the longest first."""
    groups: dict[tuple, list[Event]] = defaultdict(list)
    for event in trace.device:
        groups[(event.name, kind_of(event), *(_number(event, name) for name in _ALIKE))].append(event)
    total_us = sum(event.time_us for event in trace.device) or 1.0
    made = [
        _kernel(events, kind, total_us, len(trace.calls), card) for (_, kind, *_), events in groups.items()
    ]
    return sorted(made, key=lambda one: -one.time_ms)


_ALIKE = ("registers per thread", "shared memory", "block")


def operators(trace: Trace) -> list[Kernel]:
    """Operators of a CPU by the time they took beyond those they called, and what lay outside of them."""
    work = [event for event in trace.host if event.category == "cpu_op"]
    known = {id(event) for event in work}
    times: dict[tuple[str, Kind], list[float]] = defaultdict(list)
    callers: dict[tuple[str, Kind], str] = {}
    for event, time_us in zip(work, self_times_us(work), strict=True):
        entry = (event.name, kind_of(event))
        times[entry].append(time_us)
        callers.setdefault(entry, origin(event))
    span_us = sum(call.time_us for call in trace.calls)
    inside_us = sum(event.time_us for event in work if not any(id(one) in known for one in event.above))
    times[(OUTSIDE, Kind.COMPUTE)].append(max(span_us - inside_us, 0.0))
    total_us = sum(map(sum, times.values())) or 1.0
    calls = len(trace.calls)
    made = [
        Kernel(
            name=short(name),
            full_name=name,
            kind=kind,
            time_ms=sum(parts) / calls * 1e-3,
            share=sum(parts) / total_us,
            launches=0.0 if name == OUTSIDE else len(parts) / calls,
            launched_by=callers.get((name, kind), ""),
        )
        for (name, kind), parts in times.items()
    ]
    return sorted(made, key=lambda one: -one.time_ms)


def short(name: str) -> str:
    """A kernel's name without return type, namespace, template arguments and parameters."""
    found = re.search(r"\(anonymous namespace\)::", name)
    bare = name[found.end() :] if found else name.removeprefix("void ")
    if not name.startswith(("aten::", "autograd::", "Mem", "(")):
        bare = re.split(r"[<(]", bare, maxsplit=1)[0].strip().rpartition("::")[2] or name
    return bare if len(bare) <= LONGEST else bare[: LONGEST - 1] + "\u2026"


def origin(event: Event) -> str:
    """Who asked for some work: the innermost autograd function around it, else the outermost operator."""
    names = [one.name for one in event.above if one.category == "cpu_op" and one.name != MARK]
    for name in reversed(names):
        if not name.startswith(("aten::", "autograd::engine")):
            return short(name)
    inner = [name for name in names if not name.startswith("autograd::engine")]
    return short(inner[0]) if inner else ""


def _kernel(events: Sequence[Event], kind: Kind, total_us: float, calls: int, card: Card | None) -> Kernel:
    one = events[0]
    grids: dict[tuple[int, ...], int] = defaultdict(int)
    for event in events:
        if grid := _sizes(event.args, "grid"):
            grids[grid] += 1
    time_us = sum(event.time_us for event in events)
    block = _sizes(one.args, "block")
    registers, shared = (_whole(one.args.get(name)) for name in _ALIKE[:2])
    return Kernel(
        name=short(one.name),
        full_name=one.name,
        kind=kind,
        time_ms=time_us / calls * 1e-3,
        share=time_us / total_us,
        launches=len(events) / calls,
        grids=tuple(sorted(grids, key=lambda grid: -grids[grid])),
        block=block,
        registers=registers,
        shared_bytes=shared,
        occupancy=occupancy(card, block, registers, shared),
        launched_by=origin(one),
    )


def _number(event: Event, name: str) -> str:
    return str(event.args.get(name))


def _sizes(args: Mapping, name: str) -> tuple[int, ...]:
    value = args.get(name)
    return tuple(int(size) for size in value) if isinstance(value, list) else ()


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, (int, float)) else None
