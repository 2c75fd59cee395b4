"""How long the mixers of a model take inside it: marks before and behind each, in the backward too."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


class Meter:
    """Reads the device's clock where a mixer begins and ends, while it is `on`."""

    def __init__(self, device: str) -> None:
        self.on = False
        self._cuda = device.startswith("cuda")
        self._marks: list[tuple[bool, Any]] = []

    def around(self, tensors: dict[str, Tensor], call: Callable[[dict[str, Tensor]], Tensor]) -> Tensor:
        """`call(tensors)`, marked where the meter is on."""
        if not self.on:
            return call(tensors)
        begun = dict(zip(tensors, _Mark.apply(self, True, *tensors.values()), strict=True))
        (o,) = _Mark.apply(self, False, call(begun))
        return o

    def note(self, begins: bool) -> None:
        """A mixer begins or ends here."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append((begins, event))
        else:
            self._marks.append((begins, time.perf_counter()))

    @contextlib.contextmanager
    def running(self) -> Iterator[dict[str, float]]:
        """The meter is on; what it is given then holds, once left, mixer_ms and metered_ms (of all of it)."""
        found: dict[str, float] = {}
        self._marks.clear()
        self.on = True
        try:
            self.note(True)
            yield found
            self.note(False)
        finally:
            self.on = False
        if self._cuda:
            torch.cuda.synchronize()
        (_, first), *inner, (_, last) = self._marks
        within, begun = 0.0, None
        for begins, mark in inner:
            if begins:
                begun = mark
            elif begun is not None:
                within += self._ms(begun, mark)
                begun = None
        found |= {"mixer_ms": within, "metered_ms": self._ms(first, last)}

    def _ms(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end)) if self._cuda else (end - start) * 1e3


class _Mark(torch.autograd.Function):
    """Passes tensors through; the gradients of what stands behind a mixer come before its own backward."""

    @staticmethod
    def forward(ctx: Any, meter: Meter, begins: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.meter, ctx.begins = meter, begins
        meter.note(begins)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        ctx.meter.note(not ctx.begins)
        return (None, None, *gradients)
