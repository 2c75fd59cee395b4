"""States that segments start from: each segment's own state, then a scan over them (legend in walk.py)."""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import index_program, locate_segment, locate_sequence, offset_state, update_state

# exp(-88) is below the least normal fp32 number: a token this far behind a segment's end weighs nothing
REACH = tl.constexpr(88.0)


@triton.jit(
    do_not_specialize=[
        *("k_stride_b", "k_stride_t", "k_stride_h", "v_stride_b", "v_stride_t", "v_stride_h"),
        *("num_tokens", "num_heads", "num_segments"),
    ]
)
def segment_states_kernel(
    k_ptr,  # [B, T, H, D]
    v_ptr,  # [B, T, H, E]
    slopes_ptr,  # [H] fp32
    states_ptr,  # [B * H, G, D, E] fp32
    cu_seqlens_ptr,  # [B + 1] int64 where PACKED
    k_stride_b: tl.int64,  # strides in units of UNIT elements
    k_stride_t: tl.int64,
    k_stride_h: tl.int64,
    v_stride_b: tl.int64,
    v_stride_t: tl.int64,
    v_stride_h: tl.int64,
    num_tokens: tl.int32,
    num_heads: tl.int32,
    num_segments: tl.int32,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    UNIT: tl.constexpr,
    BACKWARDS: tl.constexpr,
    PACKED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write the state a segment would leave had it started from zero. No program for the last segment."""
    tile, head, segment, batch = index_program(tl.cdiv(E, BLOCK_E), num_heads, num_segments - 1)
    start, length, batch_row = locate_sequence(cu_seqlens_ptr, batch, num_tokens, PACKED)
    begin, end = locate_segment(length, segment, num_segments)
    slope = tl.load(slopes_ptr + head)
    reach = tl.minimum(REACH / tl.maximum(slope, 1e-30), 1e9).to(tl.int32) + 1
    begin = tl.maximum(begin, end - reach)
    first = start + (length - 1 - begin if BACKWARDS else begin)
    direction: tl.constexpr = -UNIT if BACKWARDS else UNIT
    k_base = k_ptr + (batch_row * k_stride_b + head * k_stride_h + first * k_stride_t) * UNIT
    v_base = v_ptr + (batch_row * v_stride_b + head * v_stride_h + first * v_stride_t) * UNIT
    k_step = k_stride_t * direction
    v_step = v_stride_t * direction

    rows = tl.arange(0, BLOCK_T)
    d = tl.arange(0, BLOCK_D)
    e = tile * BLOCK_E + tl.arange(0, BLOCK_E)
    state = tl.zeros([BLOCK_D, BLOCK_E], dtype=tl.float32)
    for block in range(0, tl.cdiv(end - begin, BLOCK_T)):
        n = tl.minimum(end - begin - block * BLOCK_T, BLOCK_T)
        key_mask = (rows < n)[:, None] & (d < D)[None, :]
        value_mask = (rows < n)[:, None] & (e < E)[None, :]
        k = tl.load(k_base + rows[:, None] * k_step + d[None, :], mask=key_mask, other=0.0)  # [T, D]
        v = tl.load(v_base + rows[:, None] * v_step + e[None, :], mask=value_mask, other=0.0)  # [T, E]
        state = update_state(state, k, v, slope, rows, n, BACKWARDS, PRECISION)
        k_base += BLOCK_T * k_step
        v_base += BLOCK_T * v_step

    row = batch.to(tl.int64) * num_heads + head
    states = states_ptr + (row * num_segments + segment) * (D * E) + offset_state(d, e, D, E, False)
    tl.store(states, state, mask=(d < D)[:, None] & (e < E)[None, :])


@triton.jit(do_not_specialize=["num_tokens", "num_heads", "num_segments", "has_initial"])
def carry_states_kernel(
    states_ptr,  # [B * H, G, D, E] fp32: a segment's own state in, the state it starts from out
    initial_ptr,  # [B * H, D, E] fp32
    slopes_ptr,  # [H] fp32
    cu_seqlens_ptr,  # [B + 1] int64 where PACKED
    num_tokens: tl.int32,
    num_heads: tl.int32,
    num_segments: tl.int32,
    has_initial: tl.int32,
    initial_factor,
    STATE_SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    PACKED: tl.constexpr,
):
    """carry_(g+1) = lambda^(length of g) carry_g + own_g, over the segments of one sequence, in place."""
    tile, head, _, batch = index_program(tl.cdiv(STATE_SIZE, BLOCK), num_heads, 1)
    _, length, _ = locate_sequence(cu_seqlens_ptr, batch, num_tokens, PACKED)
    slope = tl.load(slopes_ptr + head)
    offsets = tile * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < STATE_SIZE
    row = batch.to(tl.int64) * num_heads + head
    initial = initial_ptr + row * STATE_SIZE + offsets
    carry = tl.load(initial, mask=offsets < STATE_SIZE * has_initial, other=0.0) * initial_factor  # 0 or 1
    states = states_ptr + row * num_segments * STATE_SIZE + offsets
    for segment in range(0, num_segments - 1):
        begin, end = locate_segment(length, tl.zeros((), dtype=tl.int32) + segment, num_segments)
        own = tl.load(states, mask=mask, other=0.0)
        tl.store(states, carry, mask=mask)
        carry = carry * tl.exp(-slope * (end - begin).to(tl.float32)) + own
        states += STATE_SIZE
    tl.store(states, carry, mask=mask)
