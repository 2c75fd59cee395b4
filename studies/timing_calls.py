"""The calls that the timing study measures: arithmetic and memory, of any length that is asked for.

Their inputs are zeros and constants, which take little power: at the power cap a card's clock is another from
one minute to the next, and two times of one call differ by more than what the study looks for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

KINDS = (
    "gamma",
    "matmul",
    "attention",
    "scale",
    "matmul",
    "attention",
    "lightning",
    "gamma",
    "attention",
    "attention",
)
"""From the shortest call to the longest. The shortest reads next to nothing, so that it does not matter what
the cache holds; the longest are attention, which alone is long in little memory."""
GROWTH = {"attention": 2}
"""The time grows with this power of the size; else with the first."""
STEP = 64


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A call as `lbench.measurement` wants it."""

    name: str
    kind: str
    size: int
    call: Callable[[], Any]
    again: Callable[[], Callable[[], Any]]
    input_bytes: int
    in_graph: bool = False


def make(kind: str, size: int, device: str, slowdown: float = 0.0) -> Timed:
    """A call of `size` units, all of which take about the same time; a slowdown adds units."""
    units = max(round(size * (1 + slowdown)), 1)
    builders = {
        "gamma": _gamma,
        "scale": _scale,
        "matmul": _matmul,
        "lightning": _lightning,
        "attention": _attention,
    }
    build = builders[kind]
    call, input_bytes = build(units, device)
    return Timed(
        name=f"{kind} {size}",
        kind=kind,
        size=size,
        call=call,
        again=lambda: build(units, device)[0],
        input_bytes=input_bytes,
    )


def of_length(device: str, number: int, wanted_s: float, *, linear: bool = False) -> Timed:
    """A call of about `wanted_s`; `number` picks its kind, `linear` one whose time grows as its work."""
    kind = "scale" if linear or not device.startswith("cuda") else KINDS[number % len(KINDS)]
    size = 1024 if kind == "scale" else 8
    for _ in range(4):
        taken_s = _seconds(make(kind, size, device).call, device)
        size = max(round(size * min(wanted_s / taken_s, 1000.0) ** (1 / GROWTH.get(kind, 1))), 1)
    return make(kind, size, device)


def slowed(work: Timed, device: str, slowdown: float) -> Timed:
    """The same call with that share of work added."""
    return make(work.kind, work.size, device, slowdown)


def _scale(units: int, device: str) -> tuple[Callable[[], Any], int]:
    """One elementwise kernel: a unit is 16 KiB read and as much written."""
    source = torch.ones(units * 4096, device=device)
    target = torch.empty_like(source)
    return (lambda: ((torch.mul(source, 2.0, out=target),), ())), 2 * source.nbytes


def _gamma(units: int, device: str) -> tuple[Callable[[], Any], int]:
    """One elementwise kernel of some thousand operations a number: a unit is 4,096 numbers."""
    shape, near = torch.full((units * 4096,), 50.0, device=device), torch.full((), 60.0, device=device)
    target = torch.empty_like(shape)
    return (lambda: ((torch.igamma(shape, near, out=target),), ())), shape.nbytes


def _matmul(units: int, device: str) -> tuple[Callable[[], Any], int]:
    """One product of [64 units, 2048] and [2048, 2048] in bf16."""
    left = torch.zeros(STEP * units, 2048, device=device, dtype=torch.bfloat16)
    right = torch.zeros(2048, 2048, device=device, dtype=torch.bfloat16)
    target = torch.empty(STEP * units, 2048, device=device, dtype=torch.bfloat16)
    return (lambda: ((torch.mm(left, right, out=target),), ())), left.nbytes + right.nbytes


def _lightning(units: int, device: str) -> tuple[Callable[[], Any], int]:
    """Lightning attention forward over 64 units tokens, 16 heads of 128: several kernels."""
    return _backend("lightning_triton", "lightning", units, device)


def _attention(units: int, device: str) -> tuple[Callable[[], Any], int]:
    """FlashAttention-2 as torch has it, forward over 64 units tokens, 16 heads of 128: one kernel."""
    return _backend("sdpa_flash", "softmax", units, device)


def _backend(name: str, mechanism: str, units: int, device: str) -> tuple[Callable[[], Any], int]:
    from lbench import workload
    from lbench.case import Case

    work = workload.build(Case(backend=name, mechanism=mechanism, seq_len=STEP * units), device)
    for tensor in work.inputs.tensors.values():
        tensor.zero_()
    return work.call, work.input_bytes


def _seconds(call: Callable[[], Any], device: str) -> float:
    """About how long a call takes on the device, many in a row so that the host does not count."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    call()
    wait()
    count = 1
    while True:
        started = time.perf_counter()
        for _ in range(count):
            call()
        wait()
        taken_s = time.perf_counter() - started
        if taken_s > 5e-3:
            return taken_s / count
        count *= 2
