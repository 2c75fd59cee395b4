"""Copies with more columns where rows of 16-bit numbers begin at addresses the kernels cannot copy from.

Asynchronous copies take 4, 8 or 16 bytes that begin at a multiple of their size. Columns of zeros change
nothing: those of q and k add 0 to every product, those of v are outputs of their own, cut off again.
"""

from __future__ import annotations

import torch

MULTIPLE = 8  # columns: 16 bytes


def needs_padding(q: torch.Tensor, v: torch.Tensor) -> bool:
    """Whether q `[B, T, H, D]` and v `[B, T, H, E]` are 16-bit and D or E is not a multiple of 4."""
    return q.dtype.itemsize == 2 and (q.shape[-1] % 4 != 0 or v.shape[-1] % 4 != 0)


def pad_columns(x: torch.Tensor) -> torch.Tensor:
    """x `[.., D]` with D brought to the next multiple of 8."""
    missing = -x.shape[-1] % MULTIPLE
    return torch.nn.functional.pad(x, (0, missing)) if missing else x


def pad_state(state: torch.Tensor) -> torch.Tensor:
    """A state `[.., D, E]` with D and E brought to the next multiples of 8."""
    return torch.nn.functional.pad(state, (0, -state.shape[-1] % MULTIPLE, 0, -state.shape[-2] % MULTIPLE))


def cut(x: torch.Tensor | None, *sizes: int) -> torch.Tensor | None:
    """The first `sizes` of the last dims of x, contiguous."""
    if x is None:
        return None
    for dim, size in enumerate(reversed(sizes), start=1):
        x = x.narrow(-dim, 0, size)
    return x.contiguous()
