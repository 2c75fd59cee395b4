"""The walk: one program goes through a segment of a sequence, block by block, with its state in registers.

Legend (symbols of Lightning Attention-2, arXiv 2401.04658, Algorithms 1 and 2):

    B, T, H     batch (or documents), time, heads       G         segments a sequence is cut into
    D, E        dims of q and k, dims of v and o        BLOCK_*   tile of that dim, a power of two
    lambda      exp(-slope), decay of one token         M         M_ij = lambda^(i-j) for i >= j, else 0
    state       KV of the paper, [D, E] in fp32         Lambda    diagonal of lambda^1 .. lambda^BLOCK_T
    n           tokens of a block that exist            position  token counted in the walk's direction

    o     = scale * ([(q k^T) * M] v + Lambda q state)
    state = lambda^n state + k^T (lambda^n Lambda^-1 v)

The gradients are the same walk under renaming, (q, k, v) -> o being

    dq: (do, v, k) forwards        dv: (k, q, do) backwards        dk: (v, do, q) backwards

with the state transposed for dq and dk. Forwards the state is carried as it stands after a token and decays
when it is used; backwards it decays when it is made (Lambda starts at lambda^0 for q, v is weighted by one
power more). So the gradient of the final state enters a backward walk as it is, and what the walk leaves is
the gradient of the initial state. States carry no scale: what enters is divided by it, what leaves is
multiplied (`carried_factor`, `final_factor`).
"""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import (
    dot_state,
    dot_values,
    index_program,
    locate_segment,
    locate_sequence,
    offset_state,
    update_state,
)


@triton.jit(
    do_not_specialize=[
        *("q_stride_b", "q_stride_t", "q_stride_h", "k_stride_b", "k_stride_t", "k_stride_h"),
        *("v_stride_b", "v_stride_t", "v_stride_h", "o_stride_b", "o_stride_t", "o_stride_h"),
        *("num_tokens", "num_heads", "num_segments", "has_carried", "has_final"),
    ]
)
def walk_kernel(
    q_ptr,  # [B, T, H, D]
    k_ptr,  # [B, T, H, D]
    v_ptr,  # [B, T, H, E]
    o_ptr,  # [B, T, H, E]
    slopes_ptr,  # [H] fp32
    carried_ptr,  # [B * H, G, D, E] fp32: the state each segment starts from
    final_ptr,  # [B * H, D, E] fp32
    cu_seqlens_ptr,  # [B + 1] int64 where PACKED
    q_stride_b: tl.int64,  # strides in units of UNIT elements
    q_stride_t: tl.int64,
    q_stride_h: tl.int64,
    k_stride_b: tl.int64,
    k_stride_t: tl.int64,
    k_stride_h: tl.int64,
    v_stride_b: tl.int64,
    v_stride_t: tl.int64,
    v_stride_h: tl.int64,
    o_stride_b: tl.int64,
    o_stride_t: tl.int64,
    o_stride_h: tl.int64,
    num_tokens: tl.int32,
    num_heads: tl.int32,
    num_segments: tl.int32,
    has_carried: tl.int32,
    has_final: tl.int32,
    scale,
    carried_factor,
    final_factor,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    UNIT: tl.constexpr,
    BACKWARDS: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    PACKED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write o for one segment and one tile of E and, in the last segment, the final state."""
    tile, head, segment, batch = index_program(tl.cdiv(E, BLOCK_E), num_heads, num_segments)
    start, length, batch_row = locate_sequence(cu_seqlens_ptr, batch, num_tokens, PACKED)
    begin, end = locate_segment(length, segment, num_segments)
    # time runs with the positions, or against them
    first = start + (length - 1 - begin if BACKWARDS else begin)
    direction: tl.constexpr = -UNIT if BACKWARDS else UNIT
    q_base = q_ptr + (batch_row * q_stride_b + head * q_stride_h + first * q_stride_t) * UNIT
    k_base = k_ptr + (batch_row * k_stride_b + head * k_stride_h + first * k_stride_t) * UNIT
    v_base = v_ptr + (batch_row * v_stride_b + head * v_stride_h + first * v_stride_t) * UNIT
    o_base = o_ptr + (batch_row * o_stride_b + head * o_stride_h + first * o_stride_t) * UNIT
    q_step = q_stride_t * direction
    k_step = k_stride_t * direction
    v_step = v_stride_t * direction
    o_step = o_stride_t * direction

    rows = tl.arange(0, BLOCK_T)
    d = tl.arange(0, BLOCK_D)
    e = tile * BLOCK_E + tl.arange(0, BLOCK_E)
    slope = tl.load(slopes_ptr + head)
    lag = rows[:, None] - rows[None, :]
    intra = tl.where(lag >= 0, tl.exp(-slope * tl.maximum(lag, 0).to(tl.float32)), 0.0) * scale  # scale * M
    inter = tl.exp(-slope * (rows + (0 if BACKWARDS else 1)).to(tl.float32)) * scale  # scale * Lambda

    row = batch.to(tl.int64) * num_heads + head
    state_offsets = offset_state(d, e, D, E, TRANSPOSED)
    state_mask = (d < D)[:, None] & (e < E)[None, :]
    carried = carried_ptr + (row * num_segments + segment) * (D * E) + state_offsets
    carried_mask = (d < D * has_carried)[:, None] & (e < E)[None, :]  # has_carried is 0 or 1
    state = tl.load(carried, mask=carried_mask, other=0.0) * carried_factor  # [D, E]

    for block in range(0, tl.cdiv(end - begin, BLOCK_T)):
        n = tl.minimum(end - begin - block * BLOCK_T, BLOCK_T)
        key_mask = (rows < n)[:, None] & (d < D)[None, :]
        value_mask = (rows < n)[:, None] & (e < E)[None, :]
        q = tl.load(q_base + rows[:, None] * q_step + d[None, :], mask=key_mask, other=0.0)  # [T, D]
        k = tl.load(k_base + rows[:, None] * k_step + d[None, :], mask=key_mask, other=0.0)  # [T, D]
        v = tl.load(v_base + rows[:, None] * v_step + e[None, :], mask=value_mask, other=0.0)  # [T, E]
        o = dot_state(q, state, PRECISION) * inter[:, None]  # [T, E]
        state = update_state(state, k, v, slope, rows, n, BACKWARDS, PRECISION)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * intra  # [T, T]
        o = dot_values(scores, v, o, PRECISION)
        tl.store(o_base + rows[:, None] * o_step + e[None, :], o.to(o_ptr.dtype.element_ty), mask=value_mask)
        q_base += BLOCK_T * q_step
        k_base += BLOCK_T * k_step
        v_base += BLOCK_T * v_step
        o_base += BLOCK_T * o_step

    if (has_final != 0) & (segment == num_segments - 1):
        tl.store(final_ptr + row * (D * E) + state_offsets, state * final_factor, mask=state_mask)
