"""Fairness: what was seen in the timed region that is no part of the mechanism, or that others are spared."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lbench.profiling.kernels import Kernel, kernels, operators, origin
from lbench.profiling.kinds import Kind
from lbench.profiling.rest import ALLOCATOR, HOST_GAP, SYNCHRONIZES, Rest
from lbench.profiling.trace import Event, Trace

LATE = 0.05
"""A share of the span spent waiting for the host that is worth telling."""


class Finding(StrEnum):
    """Something seen in the timed region; each has advice."""

    TRANSPOSE = "transposed copy"
    CAST = "cast"
    COPY = "copy"
    HOST_COPY = "copy between host and device"
    ACCUMULATION = "gradient accumulation"
    GRAPH = "autograd graph in a forward pass"
    TF32 = "TF32"
    HOST_SYNC = "host sync"
    HOST_LATE = "device waits for the host"
    FLUSH = "cache flush"
    ALLOCATOR = "driver allocation"
    COMPILED = "kernel loaded"
    DRAWN = "random numbers"

    @property
    def advice(self) -> str:
        """What it means for a comparison, and what to do."""
        return _ADVICE[self]


_ADVICE = {
    Finding.TRANSPOSE: "elements move across their order in memory: declare the layout wanted in the backend",
    Finding.CAST: "the kernels take another dtype than the case has: time that dtype too, or fuse the cast",
    Finding.COPY: "a .contiguous() or clone: fine if every caller needs it, else give it as it is wanted",
    Finding.HOST_COPY: "move constants to the device in `build`; a copy from unpinned memory also waits",
    Finding.ACCUMULATION: "gradients are added to earlier ones: take them with torch.autograd.grad",
    Finding.GRAPH: "tensors are saved for a backward that never comes: call it under torch.no_grad()",
    Finding.TF32: "products round fp32 operands to 10 bits: show errors beside times",
    Finding.HOST_SYNC: "the host waits for the device, which then runs dry: avoid .item() and nonzero",
    Finding.HOST_LATE: "a CUDA graph, fewer launches or a larger case would close the gaps",
    Finding.FLUSH: "a buffer as large as the L2 is filled: a timer's flush, or a zeroed gradient",
    Finding.ALLOCATOR: "the driver is asked for memory: warm up longer, or stop giving the cache back",
    Finding.COMPILED: "a kernel was loaded or compiled in the call: warm up every shape first",
    Finding.DRAWN: "random numbers are drawn in the call: make inputs before the timed region",
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A finding with what was seen of it."""

    finding: Finding
    count: float
    """A call; 0 where it is no matter of counting."""
    share: float = 0.0
    """Of the time of a call."""
    where: str = ""
    """Operators or kernels, the most frequent first."""


OF_KINDS = {
    Kind.TRANSPOSE: Finding.TRANSPOSE,
    Kind.CAST: Finding.CAST,
    Kind.COPY: Finding.COPY,
    Kind.HOST_COPY: Finding.HOST_COPY,
    Kind.ACCUMULATION: Finding.ACCUMULATION,
}
LOADS = re.compile(r"^cu(da)?(ModuleLoad|LibraryLoad|LinkCreate)")
ITEM = "aten::_local_scalar_dense"
DRAWS = re.compile(r"^aten::(normal_|uniform_|rand|bernoulli_|exponential_|random_)")
TF32_NAME = re.compile(r"tf32|s1688gemm(?!_(f16|bf16))", re.IGNORECASE)


def findings(trace: Trace, rest: Rest, facts: Mapping[str, Any]) -> list[Seen]:
    """All that was seen, in the order of the enum. `facts` are those of a profile's document."""
    work = kernels(trace) if trace.device else operators(trace)
    seen = [
        *_of_kinds(work),
        *_saved(facts),
        *_tf32(trace, facts),
        *_host_calls(trace, Finding.HOST_SYNC, lambda one: one.name == ITEM or _driver(SYNCHRONIZES, one)),
        *_late(rest),
        *_flushes(trace, facts),
        *_host_calls(trace, Finding.ALLOCATOR, lambda one: _driver(ALLOCATOR, one)),
        *_host_calls(trace, Finding.COMPILED, lambda one: _driver(LOADS, one)),
        *_host_calls(trace, Finding.DRAWN, lambda one: bool(DRAWS.match(one.name))),
    ]
    return sorted(seen, key=lambda one: list(Finding).index(one.finding))


def _of_kinds(work: Iterable[Kernel]) -> list[Seen]:
    found = []
    for kind, finding in OF_KINDS.items():
        alike = [one for one in work if one.kind == kind and one.launches]
        if alike:
            where = dict.fromkeys(one.launched_by or one.name for one in alike)
            found.append(
                Seen(
                    finding=finding,
                    count=sum(one.launches for one in alike if _is_work(one)),
                    share=sum(one.share for one in alike),
                    where=_few(where),
                )
            )
    return found


def _is_work(kernel: Kernel) -> bool:
    """Operators that only call another one are not counted beside it."""
    return (
        bool(kernel.block)
        or kernel.name in ("aten::copy_", "aten::add_")
        or not kernel.name.startswith("aten")
    )


def _saved(facts: Mapping[str, Any]) -> list[Seen]:
    if facts.get("gradients_wanted") or not (facts.get("saved_tensors") or facts.get("requires_grad")):
        return []
    return [Seen(finding=Finding.GRAPH, count=float(facts.get("saved_tensors") or 0))]


def _tf32(trace: Trace, facts: Mapping[str, Any]) -> list[Seen]:
    named = {event.name for event in trace.device if TF32_NAME.search(event.name)}
    compiled = [name for name, uses in (facts.get("tf32_kernels") or {}).items() if uses]
    where = [*map(str, compiled), *(name[:60] for name in named)]
    return [Seen(finding=Finding.TF32, count=0.0, where=_few(where))] if where else []


def _host_calls(trace: Trace, finding: Finding, wanted: Callable[[Event], bool]) -> list[Seen]:
    alike = [event for event in trace.host if wanted(event)]
    if not alike:
        return []
    span_us = sum(call.time_us for call in trace.calls) or 1.0
    where = dict.fromkeys(" from ".join(filter(None, (event.name, origin(event)))) for event in alike)
    share = min(sum(event.time_us for event in alike) / span_us, 1.0)
    return [Seen(finding=finding, count=len(alike) / len(trace.calls), share=share, where=_few(where))]


def _driver(pattern: re.Pattern[str], event: Event) -> bool:
    return event.category in ("cuda_runtime", "cuda_driver") and bool(pattern.match(event.name))


def _late(rest: Rest) -> list[Seen]:
    share = rest.shares.get(HOST_GAP, 0.0)
    return [Seen(finding=Finding.HOST_LATE, count=0.0, share=share)] if share > LATE else []


def _flushes(trace: Trace, facts: Mapping[str, Any]) -> list[Seen]:
    """Fills of a buffer that is as large as the L2 or larger."""
    l2_bytes = facts.get("l2_bytes")
    if not l2_bytes:
        return []
    large = [event for event in trace.device if _filled_bytes(event) >= l2_bytes]
    if not large:
        return []
    span_us = sum(event.time_us for event in trace.device) or 1.0
    return [
        Seen(
            finding=Finding.FLUSH,
            count=len(large) / len(trace.calls),
            share=sum(event.time_us for event in large) / span_us,
            where=_few(dict.fromkeys(origin(event) or event.name for event in large)),
        )
    ]


def _filled_bytes(event: Event) -> int:
    if event.category == "gpu_memset":
        return int(event.args.get("bytes") or 0)
    for one in event.above:
        if one.name in ("aten::fill_", "aten::zero_"):
            return _tensor_bytes(one.args)
    return 0


def _tensor_bytes(args: Mapping[str, Any]) -> int:
    dims, types = args.get("Input Dims") or [[]], args.get("Input type") or [""]
    size = _TYPE_BYTES.get(types[0], 0)
    for dim in dims[0]:
        size *= dim
    return size


_TYPE_BYTES = {"float": 4, "c10::BFloat16": 2, "c10::Half": 2, "double": 8, "int": 4, "long int": 8,
               "signed char": 1, "unsigned char": 1}  # fmt: skip


def _few(names: Iterable[str], most: int = 4) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
