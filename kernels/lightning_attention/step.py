"""One token of decoding (legend in walk.py)."""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl

from .launch import on_device
from .layout import ALIGNMENT_BYTES, choose_unit, count_strides, densify, is_aligned
from .tiles import pad_dim
from .variants import Variant


@triton.jit(
    do_not_specialize=[
        *("q_stride_b", "q_stride_h", "k_stride_b", "k_stride_h", "v_stride_b", "v_stride_h"),
        *("state_stride_b", "state_stride_h", "new_stride_b", "new_stride_h", "num_heads"),
        *("q_ptr", "k_ptr", "v_ptr", "slopes_ptr", "o_ptr"),
    ]
)
def step_kernel(
    q_ptr,  # [B, H, D]
    k_ptr,  # [B, H, D]
    v_ptr,  # [B, H, E]
    slopes_ptr,  # [H] fp32
    state_ptr,  # [B, H, D, E] fp32
    o_ptr,  # [B, H, E]
    new_state_ptr,  # [B, H, D, E] fp32, may be state itself
    q_stride_b: tl.int64,
    q_stride_h: tl.int64,
    k_stride_b: tl.int64,
    k_stride_h: tl.int64,
    v_stride_b: tl.int64,
    v_stride_h: tl.int64,
    state_stride_b: tl.int64,  # state strides in units of UNIT elements
    state_stride_h: tl.int64,
    new_stride_b: tl.int64,
    new_stride_h: tl.int64,
    num_heads: tl.int32,
    scale,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    UNIT: tl.constexpr,
):
    """state <- lambda state + k v^T and o = scale q state, for one head and one tile of E, in fp32."""
    num_tiles: tl.constexpr = (E + BLOCK_E - 1) // BLOCK_E
    program = tl.program_id(0)
    tile = program % num_tiles
    row = (program // num_tiles).to(tl.int64)
    batch = row // num_heads
    head = row % num_heads
    d = tl.arange(0, BLOCK_D)
    e = tile * BLOCK_E + tl.arange(0, BLOCK_E)
    state_offsets = d[:, None] * E + e[None, :]
    state_mask = (d < D)[:, None] & (e < E)[None, :]
    slope = tl.load(slopes_ptr + head)
    q = tl.load(q_ptr + batch * q_stride_b + head * q_stride_h + d, mask=d < D, other=0.0)  # [D]
    k = tl.load(k_ptr + batch * k_stride_b + head * k_stride_h + d, mask=d < D, other=0.0)  # [D]
    v = tl.load(v_ptr + batch * v_stride_b + head * v_stride_h + e, mask=e < E, other=0.0)  # [E]
    state_base = (batch * state_stride_b + head * state_stride_h) * UNIT
    new_base = (batch * new_stride_b + head * new_stride_h) * UNIT
    state = tl.load(state_ptr + state_base + state_offsets, mask=state_mask, other=0.0)  # [D, E]
    state = state * tl.exp(-slope) + k.to(tl.float32)[:, None] * v.to(tl.float32)[None, :]
    o = tl.sum(state * q.to(tl.float32)[:, None], axis=0) * scale
    tl.store(new_state_ptr + new_base + state_offsets, state, mask=state_mask)
    tl.store(o_ptr + row * E + e, o.to(o_ptr.dtype.element_ty), mask=e < E)


def launch_step(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    state: torch.Tensor,
    scale: float,
    inplace: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token: o `[B, H, E]` and the new state `[B, H, D, E]`, which is `state` if inplace."""
    batch, heads, dim, dim_out = *q.shape, v.shape[-1]
    unit = choose_unit(torch.float32, dim_out, dim_out)
    if inplace and not is_aligned(state, unit):
        unit = 1
    elif not inplace and (not is_aligned(state, unit) or state.stride(-2) != dim_out):
        state = state.clone(memory_format=torch.contiguous_format)
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    new_state = (
        state if inplace else torch.empty(batch, heads, dim, dim_out, dtype=torch.float32, device=q.device)
    )
    o = torch.empty(batch, heads, dim_out, dtype=q.dtype, device=q.device)
    block_e = min(32, pad_dim(dim_out))
    with on_device(q):
        _step_variant(q.dtype, dim, dim_out, block_e, unit, state.data_ptr() % ALIGNMENT_BYTES == 0).launch(
            *(batch * heads * -(-dim_out // block_e), q.device),
            *(q, k, v, densify(slopes), state, o, new_state),
            *(*count_strides(q, 1), *count_strides(k, 1), *count_strides(v, 1)),
            *(*count_strides(state, unit)[:2], *count_strides(new_state, unit)[:2], heads, scale),
        )
    if inplace and not state.is_inference():
        torch.autograd.graph.increment_version(state)  # autograd tells who saved it before
    return o, new_state


@functools.cache
def _step_variant(
    dtype: torch.dtype, dim: int, dim_out: int, block_e: int, unit: int, aligned: bool
) -> Variant:
    constants = {"D": dim, "E": dim_out, "BLOCK_D": pad_dim(dim), "BLOCK_E": block_e, "UNIT": unit}
    return Variant(step_kernel, constants, num_warps=4)
