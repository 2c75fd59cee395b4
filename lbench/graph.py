"""Short calls: a CUDA graph of many, over rotating copies of the inputs, so that cold stays cold.

A pair of events costs some microseconds, which below 200 us is a part of the time. A chain of calls in a
graph costs the pair once, and the host's time to enqueue nothing; each call of it reads a copy of the inputs
that was last touched before more than the L2 holds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from lbench.clock import Call, Clock, Reading

CHAIN_S = 1e-3
"""The pair of events around a chain should be a small part of it."""
MOST_COPIES = 128
MOST_CALLS = 256
COLD = 2
"""Copies of the inputs hold so many times the L2."""


def copies_of(input_bytes: int, l2_bytes: int, *, cold: bool) -> int:
    """How many copies of the inputs a chain rotates over."""
    if not cold:
        return 1
    return min(max(math.ceil(COLD * l2_bytes / max(input_bytes, 1)), 2), MOST_COPIES)


def chain_length(call_s: float, copies: int) -> int:
    """Calls of a chain: a multiple of the copies that takes about a millisecond, or more."""
    turns = max(math.ceil(CHAIN_S / (call_s * copies)), 1)
    return copies * max(min(turns, MOST_CALLS // copies), 1)


class GraphClock:
    """Times a captured chain of calls; a reading is the mean of one chain."""

    def __init__(self, inner: Clock, replay: Callable[[], Any], calls: int) -> None:
        self.calls = calls
        self._inner, self._replay = inner, replay

    @property
    def between_s(self) -> float:
        """What the clock within adds to a reading."""
        return self._inner.between_s

    def wait(self) -> None:
        """Waits for the device."""
        self._inner.wait()

    def prepare(self, enqueue_s: float) -> None:
        """Told how long the host takes to enqueue a replay."""
        self._inner.prepare(enqueue_s)

    def read(self, call: Call, count: int) -> list[Reading]:
        """Replays the chain `count` times in place of `call`."""
        readings = self._inner.read(self._replay, count)
        return [dataclasses.replace(one, time_ms=one.time_ms / self.calls, host_us=None) for one in readings]


def capture(calls: Sequence[Call], length: int, device: str) -> Callable[[], None]:
    """A chain of `length` calls in a graph, in turn over `calls`, as the function that replays it.

    `calls` must not have been called before: what they keep is to belong to the stream that is captured.
    Raises whatever capturing raises (a call that waits for the device cannot be captured), and RuntimeError
    where a replay leaves the results of its last call unwritten.
    """
    import torch

    stream = torch.cuda.Stream(torch.device(device))
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        # A backward pass runs on the stream of its forward, which for some calls is made here.
        for call in calls:
            call()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    # Results rotate as the inputs do: written over at once, they would never leave the cache.
    results: list[Any] = [None] * len(calls)
    with torch.cuda.graph(graph, stream=stream):
        for number in range(length):
            results[number % len(calls)] = None
            results[number % len(calls)] = calls[number % len(calls)]()
    outputs, gradients = results[-1]
    result = (gradients or outputs)[0].detach()
    result.fill_(math.nan)
    graph.replay()
    torch.cuda.synchronize()
    if torch.isnan(result).any():
        raise RuntimeError("a replay leaves results unwritten")

    def replay(_inputs: Sequence[Call] = calls) -> None:  # a graph holds its own memory, not what it reads
        graph.replay()

    return replay
