"""The walk: one program goes through its share of the tokens, block by block, with its state in registers.

Legend (symbols of Lightning Attention-2, arXiv 2401.04658, Algorithms 1 and 2):

    B, T, H     batch, time, heads                      N         sequences: B, or documents where packed
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
multiplied (`initial_factor`, `final_factor`).
"""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import (
    accumulate_state,
    dot_state,
    dot_values,
    load_rows,
    load_state,
    locate_row,
    store_state,
    update_state,
)


@triton.jit(
    do_not_specialize=[
        *("q_stride_b", "q_stride_t", "q_stride_h", "k_stride_b", "k_stride_t", "k_stride_h"),
        *("v_stride_b", "v_stride_t", "v_stride_h", "o_stride_b", "o_stride_t", "o_stride_h"),
        *("num_sequences", "num_tokens", "num_heads", "has_initial", "has_final"),
    ]
)
def walk_kernel(
    q_ptr,  # [B, T, H, D]
    k_ptr,  # [B, T, H, D]
    v_ptr,  # [B, T, H, E]
    o_ptr,  # [B, T, H, E]
    slopes_ptr,  # [H] fp32
    cuts_ptr,  # [programs + 1, 4] int32
    cu_seqlens_ptr,  # [N + 1] int64 where PACKED
    carried_ptr,  # [programs + 1, D, E] fp32: the state at a cut whose warm-up is -1
    initial_ptr,  # [N, H, D, E] fp32
    final_ptr,  # [N, H, D, E] fp32
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
    num_sequences: tl.int32,
    num_tokens: tl.int32,
    num_heads: tl.int32,
    has_initial: tl.int32,
    has_final: tl.int32,
    scale,
    initial_factor,
    final_factor,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
    BACKWARDS: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    PACKED: tl.constexpr,
):
    """Write o for one share and one tile of E and, where a row ends in the share, its final state."""
    TILES: tl.constexpr = (E + BLOCK_E - 1) // BLOCK_E
    program = tl.program_id(0) // TILES
    tile = tl.program_id(0) % TILES
    first_row = tl.load(cuts_ptr + program * 4)
    first_position = tl.load(cuts_ptr + program * 4 + 1)
    last_row = tl.load(cuts_ptr + program * 4 + 4)
    last_position = tl.load(cuts_ptr + program * 4 + 5)
    direction: tl.constexpr = -UNIT if BACKWARDS else UNIT
    rows = tl.arange(0, BLOCK_T)
    d = tl.arange(0, BLOCK_D)
    e = tile * BLOCK_E + tl.arange(0, BLOCK_E)
    for row in range(first_row, last_row + (last_position > 0).to(tl.int32)):
        head, sequence, batch, start, length = locate_row(
            row, num_sequences, num_tokens, cu_seqlens_ptr, PACKED
        )
        begin = tl.where(row == first_row, first_position, 0)
        end = tl.where(row == last_row, last_position, length)
        if BACKWARDS:  # positions are counted from the end of the row, and warm-up is due at the cut above
            starts_inside = row == last_row
            writes_final = begin == 0
            cut = program + 1
            begin, end = length - end, length - begin
        else:
            starts_inside = (row == first_row) & (first_position > 0)
            writes_final = row < last_row
            cut = program
        warm_up = tl.load(cuts_ptr + cut * 4 + (3 if BACKWARDS else 2))
        warm_up = tl.where(starts_inside, warm_up, 0)
        position = begin - tl.maximum(warm_up, 0)
        first = start + (length - 1 - position if BACKWARDS else position)
        q_base = q_ptr + (batch * q_stride_b + head * q_stride_h + first * q_stride_t) * UNIT
        k_base = k_ptr + (batch * k_stride_b + head * k_stride_h + first * k_stride_t) * UNIT
        v_base = v_ptr + (batch * v_stride_b + head * v_stride_h + first * v_stride_t) * UNIT
        o_base = o_ptr + (batch * o_stride_b + head * o_stride_h + first * o_stride_t) * UNIT
        q_step = q_stride_t * direction
        k_step = k_stride_t * direction
        v_step = v_stride_t * direction
        o_step = o_stride_t * direction
        slope = tl.load(slopes_ptr + head)
        lag = rows[:, None] - rows[None, :]
        decay = tl.exp(-slope * tl.maximum(lag, 0).to(tl.float32))
        intra = tl.where(lag >= 0, decay, 0.0) * scale  # scale * M
        inter = tl.exp(-slope * (rows + (0 if BACKWARDS else 1)).to(tl.float32)) * scale  # scale * Lambda

        state_row = sequence.to(tl.int64) * num_heads + head
        source = initial_ptr + state_row * (D * E)
        present, factor = has_initial & (position == 0).to(tl.int32), initial_factor
        if warm_up < 0:
            source = carried_ptr + cut.to(tl.int64) * (D * E)
            present, factor = 1, 1.0
        state = tl.zeros([BLOCK_D, BLOCK_E], dtype=tl.float32)  # [D, E]
        if present != 0:
            state = load_state(source, tile, D, E, BLOCK_D, BLOCK_E, TRANSPOSED) * factor
        state = accumulate_state(
            *(state, k_base, k_step, v_base, v_step, d, e, slope, begin - position),
            *(D, E, BLOCK_T, BACKWARDS, PRECISION),
        )
        q_base += (begin - position) * q_step
        k_base += (begin - position) * k_step
        v_base += (begin - position) * v_step
        o_base += (begin - position) * o_step

        for block in range(0, tl.cdiv(end - begin, BLOCK_T)):
            n = tl.minimum(end - begin - block * BLOCK_T, BLOCK_T)
            q = load_rows(q_base, rows, q_step, d, n, D)  # [T, D]
            k = load_rows(k_base, rows, k_step, d, n, D)  # [T, D]
            v = load_rows(v_base, rows, v_step, e, n, E)  # [T, E]
            o = dot_state(q, state, PRECISION) * inter[:, None]  # [T, E]
            scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * intra  # [T, T]
            o = dot_values(scores, v, o, PRECISION)
            state = update_state(state, k, v, slope, rows, n, BACKWARDS, PRECISION)
            mask = (rows < n)[:, None] & (e < E)[None, :]
            tl.store(o_base + rows[:, None] * o_step + e[None, :], o.to(o_ptr.dtype.element_ty), mask=mask)
            q_base += BLOCK_T * q_step
            k_base += BLOCK_T * k_step
            v_base += BLOCK_T * v_step
            o_base += BLOCK_T * o_step

        # Not in a branch: Triton 3.6 cannot compile one that reads an accumulator on Blackwell.
        present = has_final * writes_final.to(tl.int32)
        final = final_ptr + state_row * (D * E)
        store_state(final, state * final_factor, tile, present, D, E, BLOCK_D, BLOCK_E, TRANSPOSED)
