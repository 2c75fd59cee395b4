"""From tensors to launches of the Gluon kernels for Hopper (hopper_*.py). No checks and no gradients."""

from __future__ import annotations

import functools
from typing import Any

import torch
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from .hopper_gradients import hopper_gradients_kernel
from .hopper_walk import hopper_walk_kernel
from .launch import Sequences, on_device, or_unread
from .variants import Variant

BLOCK_T = 64
STAGES = 2  # blocks in flight; a third gains nothing (LOG.md)
Steps = tuple[int, int, int]  # rows from batch to batch, rows and columns from head to head


def launch_walk(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    sequences: Sequences,
    *,
    carried: torch.Tensor | None,
    initial: torch.Tensor | None = None,
    initial_factor: float = 1.0,
    final: torch.Tensor | None = None,
    final_factor: float = 1.0,
    transposed: bool = False,
) -> torch.Tensor:
    """A walk forwards, as `launch.launch_walk`: o `[B, T, H, E]`."""
    batch, num_tokens, heads, dim, dim_out = *q.shape, v.shape[-1]
    o = torch.empty(batch, num_tokens, heads, dim_out, dtype=q.dtype, device=q.device)
    q_rows, q_steps = describe(q, dim)
    k_rows, k_steps = describe(k, dim)
    v_rows, v_steps = describe(v, dim_out // 2)
    initial, has_initial = or_unread(initial, sequences)
    final, has_final = or_unread(final, sequences)
    with on_device(q):
        _walk_variant(dim, dim_out, sequences.packed, transposed).launch(
            *(sequences.shares.num_programs, q.device),
            *(q_rows, k_rows, v_rows, describe(o, dim_out // 2)[0], o),
            *(sequences.slopes, sequences.shares.cuts, sequences.bounds),
            *(or_unread(carried, sequences)[0], initial, final, *q_steps, *k_steps, *v_steps),
            *(sequences.num_sequences, num_tokens, heads, has_initial, has_final),
            *(sequences.scale, initial_factor, final_factor),
        )
    return o


def launch_gradients(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    sequences: Sequences,
    *,
    carried: torch.Tensor | None,
    initial: torch.Tensor | None,
    initial_factor: float,
    final: torch.Tensor | None,
    final_factor: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """dk `[B, T, H, D]` and dv `[B, T, H, E]`; `initial`, `final`: gradients of last and first state."""
    batch, num_tokens, heads, dim, dim_out = *q.shape, v.shape[-1]
    dk = torch.empty(batch, num_tokens, heads, dim, dtype=q.dtype, device=q.device)
    dv = torch.empty(batch, num_tokens, heads, dim_out, dtype=q.dtype, device=q.device)
    found: list[Any] = [describe(x, x.shape[-1]) for x in (q, k, v, do)]
    initial, has_initial = or_unread(initial, sequences)
    final, has_final = or_unread(final, sequences)
    with on_device(q):
        _gradients_variant(dim, dim_out, sequences.packed).launch(
            *(sequences.shares.num_programs, q.device),
            *(rows for rows, _ in found),
            *(describe(dk, dim)[0], describe(dv, dim_out)[0], dk, dv),
            *(sequences.slopes, sequences.shares.cuts, sequences.bounds),
            *(or_unread(carried, sequences)[0], initial, final),
            *(step for _, steps in found for step in steps),
            *(sequences.num_sequences, num_tokens, heads, has_initial, has_final),
            *(sequences.scale, initial_factor, final_factor),
        )
    return dk, dv


def describe(x: torch.Tensor, columns: int) -> tuple[Any, Steps]:
    """x `[B, T, H, D]` as rows, one a token, for TMA: blocks of 64 rows of `columns`; copied if it must be.

    A token of a head lies at row `batch * steps[0] + head * steps[1] + token` and column `head * steps[2]`:
    heads side by side in a row, or one after another.
    """
    steps = find_steps(x)
    if steps is None:
        x = x.contiguous() if not x.is_contiguous() else x.clone()
        steps = find_steps(x)
    assert steps is not None
    batch, num_tokens, heads, dim = x.shape
    rows = (batch - 1) * steps[0] + (heads - 1) * steps[1] + num_tokens
    width = (heads - 1) * steps[2] + dim
    stride = x.stride(1) if num_tokens > 1 else heads * dim
    described = object.__new__(TensorDescriptor)  # what its own constructor checks, find_steps has
    described.__dict__.update(
        base=x,
        shape=[rows, width],
        strides=[stride, 1],
        block_shape=[BLOCK_T, columns],
        layout=_layout(columns),
        padding="zero",
    )
    return described, steps


def find_steps(x: torch.Tensor) -> Steps | None:
    """Steps of x in rows and columns, or None where TMA cannot read it so."""
    batch, num_tokens, heads, dim = x.shape
    by_batch, by_token, by_head, by_column = x.stride()
    by_token = by_token if num_tokens > 1 else heads * dim
    by_batch = by_batch if batch > 1 else by_token
    by_head = by_head if heads > 1 else 0
    if by_column != 1 or by_token <= 0 or by_token % 8 or by_batch % by_token or x.data_ptr() % 16:
        return None
    if by_head % by_token == 0:
        return by_batch // by_token, by_head // by_token, 0
    return (by_batch // by_token, 0, by_head) if by_head % 8 == 0 and by_head < by_token else None


@functools.cache
def _walk_variant(dim: int, dim_out: int, packed: bool, transposed: bool) -> Variant:
    constants = {"D": dim, "E": dim_out, "STAGES": STAGES, "PACKED": packed, "TRANSPOSED": transposed}
    return Variant(hopper_walk_kernel, constants, num_warps=4)


@functools.cache
def _gradients_variant(dim: int, dim_out: int, packed: bool) -> Variant:
    return Variant(
        hopper_gradients_kernel, {"D": dim, "E": dim_out, "STAGES": STAGES, "PACKED": packed}, num_warps=4
    )


@functools.cache
def _layout(columns: int) -> Any:
    return gl.NVMMASharedLayout.get_default_for([BLOCK_T, columns], gl.bfloat16)
