"""Errors of tensors against the truth, streamed: relative RMS over a whole tensor, and of its worst block."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lbench.mechanisms.spec import Part

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 64
"""Tokens of a block; the last block of a tensor takes the tokens behind the last multiple too (up to 127)."""
SMALLEST_BLOCK = 1e-6
"""A block's RMS counts as at least this share of its tensor's."""
ZERO = 1e-9
"""A tensor below this share of the output counts as zero, and its error is taken relative to the output."""


@dataclass(frozen=True, kw_only=True)
class Error:
    """Relative RMS errors of one tensor; infinite where a number is not finite."""

    rms: float
    """Over everything the reference covers."""
    block: float
    """The worst of any block."""


def errors_of(
    outputs: Mapping[str, Tensor], parts: Iterable[Part], dims: Mapping[str, str]
) -> dict[str, Error]:
    """Errors of every tensor that the truth's parts name; `dims` says the axes of each (`dims_of`).

    The truth is read once and never held whole; sums stay on its device until the end.
    """
    grids: dict[str, _Grid] = {}
    for part in parts:
        output = outputs[part.name]
        grid = grids.setdefault(part.name, _Grid(dims[part.name], output))
        grid.add(part, output)
    output_rms = grids["o"].rms() if "o" in grids else 0.0
    return {name: grid.error(output_rms) for name, grid in grids.items()}


class _Grid:
    """Sums of squares of one tensor by block, batch element and head: [blocks, B, H]."""

    def __init__(self, dims: str, output: Tensor) -> None:
        import torch

        sizes = dict(zip(dims, output.shape, strict=True))
        self.dims, self.head = dims, "g" if "g" in dims else "h"
        length = sizes.get("t", 1)
        blocks = max(length // BLOCK, 1)
        self.block_of = (torch.arange(length, device=output.device) // BLOCK).clamp(max=blocks - 1)
        size = (3, blocks, sizes.get("b", 1), sizes.get(self.head, 1))
        self.sums = torch.zeros(size, dtype=torch.float64, device=output.device)

    def add(self, part: Part, output: Tensor) -> None:
        """Add squared errors, squared truth and the count of a part."""
        import torch

        truth = part.values.to(output.device, torch.float64)
        error = output.detach()[part.index].to(torch.float64) - truth
        where = dict(zip(self.dims, part.index, strict=False))
        everything = slice(None)
        times = self.block_of[where.get("t", everything)]
        rows, heads = where.get("b", everything), where.get(self.head, everything)
        for sums, values in zip(
            self.sums, (error.square(), truth.square(), torch.ones_like(truth)), strict=True
        ):
            sums[:, rows, heads].index_add_(0, times, self._reduced(values))

    def _reduced(self, values: Tensor) -> Tensor:
        """Sum over all axes but time, batch and head, as [T, B, H]."""
        kept = [dim for dim in ("t", "b", self.head) if dim in self.dims]
        subscripts = {dim: index for index, dim in enumerate(self.dims)}
        others = [subscripts[dim] for dim in self.dims if dim not in kept]
        values = values.permute([subscripts[dim] for dim in kept] + others)
        if others:
            values = values.flatten(len(kept)).sum(-1)
        for axis, dim in enumerate(("t", "b", self.head)):
            if dim not in kept:
                values = values.unsqueeze(axis)
        return values

    def rms(self) -> float:
        """RMS of the truth."""
        _, truth, count = self.sums.flatten(1).sum(1).tolist()
        return math.sqrt(truth / count)

    def error(self, output_rms: float) -> Error:
        """Both figures. A block of n numbers counts as at least 1/n^2 of its tensor's RMS."""
        import torch

        error, truth, count = self.sums.flatten(1)
        if not torch.isfinite(error).all():
            return Error(rms=math.inf, block=math.inf)
        own = self.rms()
        scale = own if own > ZERO * output_rms else output_rms
        if scale == 0:
            exact = bool((error == 0).all())
            return Error(rms=0.0 if exact else math.inf, block=0.0 if exact else math.inf)
        covered = count > 0
        error, truth, count = error[covered], truth[covered], count[covered]
        # Sums of few numbers cancel by chance, which says nothing about the error.
        smallest = scale * (1 / count.square()).clamp(min=SMALLEST_BLOCK, max=1.0)
        if scale != own:
            smallest = torch.full_like(smallest, scale)
        blocks = ((error / count) / torch.maximum(truth / count, smallest.square())).sqrt()
        rms = math.sqrt(error.sum().item() / count.sum().item()) / scale
        return Error(rms=rms, block=blocks.max().item())
