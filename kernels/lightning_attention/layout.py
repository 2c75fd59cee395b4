"""Layouts the kernels read in place, and copies of the others."""

from __future__ import annotations

import math

import torch

ALIGNMENT_BYTES = 16


def choose_unit(dtype: torch.dtype, dim: int, dim_out: int) -> int:
    """Elements that rows begin at a multiple of: up to 16 bytes, as the dims allow. The unit of strides."""
    return math.gcd(ALIGNMENT_BYTES // dtype.itemsize, dim, dim_out)


def lay_out(x: torch.Tensor, unit: int) -> torch.Tensor:
    """x `[B, T, H, D]`, or a copy where rows are not dense or begin off the unit."""
    return x if is_aligned(x, unit) else x.clone(memory_format=torch.contiguous_format)


def densify(x: torch.Tensor) -> torch.Tensor:
    """x itself, or a contiguous copy where it is not contiguous and 16-byte aligned."""
    dense = x.is_contiguous() and x.data_ptr() % ALIGNMENT_BYTES == 0
    return x if dense else x.clone(memory_format=torch.contiguous_format)


def is_aligned(x: torch.Tensor, unit: int) -> bool:
    """Whether the last dim is dense, the start 16-byte aligned and every stride a multiple of the unit."""
    strides = element_strides(x)
    return x.stride(-1) == 1 and x.data_ptr() % ALIGNMENT_BYTES == 0 and all(s % unit == 0 for s in strides)


def element_strides(x: torch.Tensor) -> list[int]:
    """Strides of all dims but the last; those of dims of size 1 mean nothing and count as 0."""
    return [0 if size == 1 else stride for size, stride in zip(x.shape[:-1], x.stride()[:-1], strict=True)]


def count_strides(x: torch.Tensor, unit: int) -> list[int]:
    """Strides of all dims but the last in units."""
    return [stride // unit for stride in element_strides(x)]
