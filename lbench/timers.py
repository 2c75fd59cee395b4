"""Which timer a round takes: wall time, events, or a CUDA graph for a short call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, runtime_checkable
from typing import Protocol as Interface

from lbench.doubts import Doubt
from lbench.protocol import SHORT_S, Protocol

if TYPE_CHECKING:
    from lbench.clock import Clock


@runtime_checkable
class Timeable(Interface):
    """What a timer needs to know of a workload."""

    @property
    def call(self) -> Callable[[], Any]:
        """What is timed."""

    @property
    def again(self) -> Callable[[], Callable[[], Any]]:
        """Makes `call` once more, on a copy of the inputs of its own."""

    @property
    def input_bytes(self) -> int:
        """Bytes of what `call` reads."""

    @property
    def in_graph(self) -> bool:
        """Whether a GPU times it in a CUDA graph however long it is."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One round of one case, as the runner asks for it."""

    number: int
    """Counted from 0."""
    call_s: float
    enqueue_s: float
    seen: tuple[float, ...] = ()
    """Times (ms) of the rounds before."""
    spent_s: float = 0.0
    """Wall time of the samples of the rounds before."""
    twin: bool = False
    """Whether it is the case's second self: a replay tells their samples apart, a worker does not."""


def clock_for(
    work: Timeable, device: str, protocol: Protocol, turn: Turn
) -> tuple[Clock, Protocol, list[str]]:
    """The clock of a round, ready to read; the protocol with its timer named; doubts that this raises."""
    from lbench.clock import clock_of

    clock = clock_of(device, cold=protocol.l2 == "cold")
    doubts: list[str] = []
    if not device.startswith("cuda"):
        timer = "wall"
    else:
        chained = turn.call_s < SHORT_S or work.in_graph
        timer = "graph" if chained and protocol.timer == "auto" else protocol.timer
        timer = "events" if timer == "auto" else timer
    if timer == "graph":
        try:
            return _graph_clock(work, device, protocol, turn, clock)
        except Exception as error:  # a library that waits for the device, or allocates by itself
            doubts.append(Doubt.TOO_SHORT.told(f"no CUDA graph, so events: {_first_line(error)}"))
            timer = "events"
            clock.wait()
    clock.prepare(turn.enqueue_s)
    return clock, dataclasses.replace(protocol, timer=timer), doubts


def _graph_clock(
    work: Timeable, device: str, protocol: Protocol, turn: Turn, inner: Clock
) -> tuple[Clock, Protocol, list[str]]:
    from lbench import graph, timing
    from lbench.clock import l2_bytes

    cold = protocol.l2 == "cold"
    copies = graph.copies_of(work.input_bytes, l2_bytes(device), cold=cold)
    length = graph.chain_length(turn.call_s, copies)
    replay = graph.capture([work.again() for _ in range(copies)], length, device)
    clock = graph.GraphClock(inner, replay, length)
    _, enqueue_us = timing.host_times(replay, inner, protocol.stopping.slow_s)
    clock.prepare(max(enqueue_us[1:], default=enqueue_us[0]) * 1e-6)
    warm = cold and copies * work.input_bytes <= l2_bytes(device)
    doubts = [Doubt.L2_WARM.told(f"{copies} copies of the inputs fit in the L2")] if warm else []
    used = dataclasses.replace(protocol, timer="graph", calls_per_sample=length, input_copies=copies)
    return clock, used, doubts


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
