"""What work was for: the backend's own arithmetic, or a copy, a cast, a fill, a sum of gradients."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from lbench.profiling.trace import Event


class Kind(StrEnum):
    """What work was for; the first of these has a moment in which several go on."""

    COMPUTE = "compute"
    ACCUMULATION = "gradient accumulation"
    TRANSPOSE = "transposed copy"
    CAST = "cast"
    COPY = "copy"
    HOST_COPY = "copy between host and device"
    FILL = "fill"


FILLS = frozenset({"aten::fill_", "aten::zero_", "aten::zeros", "aten::zeros_like", "aten::ones"})
ACCUMULATES = "torch::autograd::AccumulateGrad"
"""The node itself: the engine names it, too, where it only hands a gradient out."""


def kind_of(event: Event) -> Kind:
    """What a device event, or an operator of the host, was for."""
    if event.category == "gpu_memset" or event.name.startswith("Memset"):
        return Kind.FILL
    around = (*event.above, event)
    names = {one.name for one in around}
    if ACCUMULATES in names:
        return Kind.ACCUMULATION
    copies = [one for one in around if one.name == "aten::copy_"]
    if event.category == "gpu_memcpy" or event.name.startswith("Memcpy"):
        if re.search(r"HtoD|DtoH|Host", event.name):
            return Kind.HOST_COPY
        return kind_of_copy(copies[-1]) if copies else Kind.COPY
    if copies:
        return kind_of_copy(copies[-1])
    return Kind.FILL if names & FILLS else Kind.COMPUTE


def kind_of_copy(copy: Event) -> Kind:
    """What an `aten::copy_` did to its source, by the types and strides of its first two inputs."""
    types = _first_two(copy.args.get("Input type"))
    if types and types[0] != types[1]:
        return Kind.CAST
    strides, dims = (_first_two(copy.args.get(name)) for name in ("Input Strides", "Input Dims"))
    if strides and dims and dims[0] == dims[1] and _order(strides[0], dims[0]) != _order(strides[1], dims[1]):
        return Kind.TRANSPOSE
    return Kind.COPY


def _first_two(values: object) -> tuple[Sequence, Sequence] | None:
    if isinstance(values, list) and len(values) >= 2 and values[0] and values[1]:
        return values[0], values[1]
    return None


def _order(strides: Sequence[int], dims: Sequence[int]) -> list[int]:
    """Axes from the one with the largest stride to that with the smallest; those of size 1 have no place."""
    axes = [axis for axis, size in enumerate(dims) if size != 1]
    return sorted(axes, key=lambda axis: (-strides[axis], axis))
