"""States carried from cut to cut where decay is too slow for a warm-up (legend in walk.py)."""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import accumulate_state, locate_row, store_state


@triton.jit
def locate_reach(cuts_ptr, cut, position, row, length, BACKWARDS: tl.constexpr):
    """First and past-the-end position of the tokens between the cut before (in the walk) and this one."""
    if BACKWARDS:
        other = cuts_ptr + (cut + 1) * 4
        far = tl.where(tl.load(other) == row, tl.load(other + 1), length)
        begin, end = length - far, length - position
    else:
        other = cuts_ptr + (cut - 1) * 4
        begin, end = tl.where(tl.load(other) == row, tl.load(other + 1), 0), position
    return begin, end


@triton.jit(
    do_not_specialize=[
        *("k_stride_b", "k_stride_t", "k_stride_h", "v_stride_b", "v_stride_t", "v_stride_h"),
        *("num_sequences", "num_tokens"),
    ]
)
def own_states_kernel(
    k_ptr,  # [B, T, H, D]
    v_ptr,  # [B, T, H, E]
    slopes_ptr,  # [H] fp32
    cuts_ptr,  # [programs + 1, 4] int32
    cu_seqlens_ptr,  # [N + 1] int64 where PACKED
    states_ptr,  # [programs + 1, PIECES, D, E] fp32
    k_stride_b: tl.int64,  # strides in units of UNIT elements
    k_stride_t: tl.int64,
    k_stride_h: tl.int64,
    v_stride_b: tl.int64,
    v_stride_t: tl.int64,
    v_stride_h: tl.int64,
    num_sequences: tl.int32,
    num_tokens: tl.int32,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
    PIECES: tl.constexpr,
    BACKWARDS: tl.constexpr,
    PACKED: tl.constexpr,
):
    """The state that a piece of the tokens before a cut leaves, from zero. For cuts 1 to programs - 1."""
    TILES: tl.constexpr = (E + BLOCK_E - 1) // BLOCK_E
    program = tl.program_id(0)
    tile = program % TILES
    piece = program // TILES % PIECES
    cut = program // (TILES * PIECES) + 1
    row = tl.load(cuts_ptr + cut * 4)
    position = tl.load(cuts_ptr + cut * 4 + 1)
    warm_up = tl.load(cuts_ptr + cut * 4 + (3 if BACKWARDS else 2))
    if warm_up < 0:
        head, _, batch, start, length = locate_row(row, num_sequences, num_tokens, cu_seqlens_ptr, PACKED)
        begin, end = locate_reach(cuts_ptr, cut, position, row, length, BACKWARDS)
        each = tl.cdiv(tl.cdiv(end - begin, BLOCK_T), PIECES) * BLOCK_T
        begin = tl.minimum(begin + piece * each, end)
        end = tl.minimum(begin + each, end)
        first = start + (length - 1 - begin if BACKWARDS else begin)
        direction: tl.constexpr = -UNIT if BACKWARDS else UNIT
        d = tl.arange(0, BLOCK_D)
        e = tile * BLOCK_E + tl.arange(0, BLOCK_E)
        state = accumulate_state(
            tl.zeros([BLOCK_D, BLOCK_E], dtype=tl.float32),
            k_ptr + (batch * k_stride_b + head * k_stride_h + first * k_stride_t) * UNIT,
            k_stride_t * direction,
            v_ptr + (batch * v_stride_b + head * v_stride_h + first * v_stride_t) * UNIT,
            v_stride_t * direction,
            d,
            e,
            tl.load(slopes_ptr + head),
            end - begin,
            D,
            E,
            BLOCK_T,
            BACKWARDS,
            PRECISION,
        )
        states = states_ptr + (cut.to(tl.int64) * PIECES + piece) * (D * E)
        store_state(states, state, tile, 1, D, E, BLOCK_D, BLOCK_E, False)


@triton.jit(do_not_specialize=["num_sequences", "num_tokens", "num_heads", "num_programs", "has_initial"])
def carry_states_kernel(
    own_ptr,  # [programs + 1, PIECES, D, E] fp32
    carried_ptr,  # [programs + 1, D, E] fp32
    initial_ptr,  # [N, H, D, E] fp32
    slopes_ptr,  # [H] fp32
    cuts_ptr,  # [programs + 1, 4] int32
    cu_seqlens_ptr,  # [N + 1] int64 where PACKED
    num_sequences: tl.int32,
    num_tokens: tl.int32,
    num_heads: tl.int32,
    num_programs: tl.int32,
    has_initial: tl.int32,
    initial_factor,
    STATE_SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_T: tl.constexpr,
    MAX_CUTS: tl.constexpr,
    PIECES: tl.constexpr,
    BACKWARDS: tl.constexpr,
    PACKED: tl.constexpr,
):
    """carry <- lambda^(tokens of a piece) carry + own, along a row's cuts; its first cut does them all."""
    TILES: tl.constexpr = (STATE_SIZE + BLOCK - 1) // BLOCK
    tile = tl.program_id(0) % TILES
    cut = tl.program_id(0) // TILES + 1
    row = tl.load(cuts_ptr + cut * 4)
    column: tl.constexpr = 3 if BACKWARDS else 2
    towards: tl.constexpr = -1 if BACKWARDS else 1
    before = cuts_ptr + (cut - towards) * 4
    leads = (tl.load(before) != row) | (tl.load(before + column) >= 0)
    if leads & (tl.load(cuts_ptr + cut * 4 + column) < 0):
        head, sequence, _, _, length = locate_row(row, num_sequences, num_tokens, cu_seqlens_ptr, PACKED)
        slope = tl.load(slopes_ptr + head)
        offsets = tile * BLOCK + tl.arange(0, BLOCK)
        mask = offsets < STATE_SIZE
        initial = initial_ptr + (sequence.to(tl.int64) * num_heads + head) * STATE_SIZE + offsets
        carry = (
            tl.load(initial, mask=offsets < STATE_SIZE * has_initial, other=0.0) * initial_factor
        )  # 0 or 1
        others = tl.arange(0, MAX_CUTS)
        inner = (others > 0) & (others < num_programs)
        same = tl.load(cuts_ptr + others * 4, mask=inner, other=-1) == row
        chain = tl.sum(
            (same & (tl.load(cuts_ptr + others * 4 + column, mask=inner, other=0) < 0)).to(tl.int32)
        )
        for _ in range(0, chain):
            position = tl.load(cuts_ptr + cut * 4 + 1)
            begin, end = locate_reach(cuts_ptr, cut, position, row, length, BACKWARDS)
            each = tl.cdiv(tl.cdiv(end - begin, BLOCK_T), PIECES) * BLOCK_T
            own = own_ptr + cut.to(tl.int64) * PIECES * STATE_SIZE + offsets
            for piece in range(0, PIECES):
                tokens = tl.minimum(tl.maximum(end - begin - piece * each, 0), each)
                carry = carry * tl.exp(-slope * tokens.to(tl.float32))
                carry += tl.load(own + piece * STATE_SIZE, mask=mask, other=0.0)
            tl.store(carried_ptr + cut.to(tl.int64) * STATE_SIZE + offsets, carry, mask=mask)
            cut += towards
