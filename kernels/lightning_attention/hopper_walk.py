"""The walk forwards for Hopper in Gluon: o and dq (legend in walk.py, blocks in hopper_blocks.py).

One warp fetches, and two warpgroups own half of E each, with its state in registers; they never meet.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from .hopper_blocks import (
    BLOCK_T,
    barrier,
    decay_scores,
    fetch,
    load_rate,
    locate_row,
    locate_share,
    mask_tokens,
    place,
    put,
    state_offsets,
    wait_for,
    weigh,
)


@gluon.jit
def fetch_walk(
    descriptors, strides, tiles, full, empty, share, sizes, cu_seqlens_ptr,
    D: gl.constexpr, E: gl.constexpr, STAGES: gl.constexpr, PACKED: gl.constexpr,
):  # fmt: skip
    """Fetch k and v of the warm-up, then q, k and v: these one block at a time, see hopper_blocks.py."""
    q_desc, k_desc, v_desc = descriptors
    q_tiles, k_tiles, v_tiles = tiles
    HALF: gl.constexpr = E // 2
    step = 0
    for row in range(share[0], share[2] + (share[3] > 0).to(gl.int32)):
        head, _sequence, batch, start, _length, begin, end = locate_row(
            row, share, sizes[0], sizes[1], cu_seqlens_ptr, PACKED
        )
        q_row, q_column = place(strides[0], batch, head)
        k_row, k_column = place(strides[1], batch, head)
        v_row, v_column = place(strides[2], batch, head)
        first = begin - gl.where((row == share[0]) & (begin > 0), gl.maximum(share[4], 0), 0)
        for token in range(first, end, BLOCK_T):
            if (step > 0) & (token >= begin):
                wait_for(full, step - 1, STAGES, 0)
            slot = wait_for(empty, step, STAGES, 1)
            bar = full.index(slot)
            at = start + token
            if token >= begin:
                mbarrier.expect(bar, 2 * BLOCK_T * (2 * D + E))
                fetch(q_desc, [q_row + at, q_column], bar, q_tiles.index(slot))
            else:
                mbarrier.expect(bar, 2 * BLOCK_T * (D + E))
            fetch(k_desc, [k_row + at, k_column], bar, k_tiles.index(slot))
            v_0, v_1 = v_tiles.index(2 * slot), v_tiles.index(2 * slot + 1)
            fetch(v_desc, [v_row + at, v_column], bar, v_0)
            fetch(v_desc, [v_row + at, v_column + HALF], bar, v_1)
            step += 1


@gluon.jit
def compute_walk(
    o_desc, o_ptr, tiles, state_tiles, o_tiles, full, empty, share, program, sizes, cu_seqlens_ptr,
    slopes_ptr, states, factors, PART: gl.constexpr, D: gl.constexpr, E: gl.constexpr, STAGES: gl.constexpr,
    PACKED: gl.constexpr, TRANSPOSED: gl.constexpr,
):  # fmt: skip
    """Write half of the columns of o."""
    q_tiles, k_tiles, v_tiles = tiles
    initial_ptr, carried_ptr, final_ptr, has_initial, has_final = states
    scale, initial_factor, final_factor = factors
    num_sequences, num_tokens, num_heads = sizes
    HALF: gl.constexpr = E // 2
    dtype: gl.constexpr = q_tiles.dtype
    acc: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, HALF, 16])
    acc_scores: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_T, 16])
    operand: gl.constexpr = gl.DotOperandLayout(0, acc, 2)
    i = gl.arange(0, BLOCK_T, layout=gl.SliceLayout(1, acc_scores))
    j = gl.arange(0, BLOCK_T, layout=gl.SliceLayout(0, acc_scores))
    i_out = gl.arange(0, BLOCK_T, layout=gl.SliceLayout(1, acc))
    j_operand = gl.arange(0, BLOCK_T, layout=gl.SliceLayout(0, operand))
    no_scores = gl.zeros([BLOCK_T, BLOCK_T], gl.float32, acc_scores)
    no_output = gl.zeros([BLOCK_T, HALF], gl.float32, acc)
    state_tile = state_tiles.index(PART)  # [D, HALF]
    o_tile = o_tiles.index(PART)  # [T, HALF]
    step = 0
    head_before = -1
    intra = no_scores
    inter = gl.zeros([BLOCK_T], gl.float32, gl.SliceLayout(1, acc))
    for row in range(share[0], share[2] + (share[3] > 0).to(gl.int32)):
        head, sequence, batch, start, _length, begin, end = locate_row(
            row, share, num_sequences, num_tokens, cu_seqlens_ptr, PACKED
        )
        if head != head_before:  # rows of one head follow each other
            head_before = head
            rate = load_rate(slopes_ptr, head)
            decay = decay_scores(rate, i[:, None], j[None, :])
            intra = gl.where(i[:, None] >= j[None, :], decay, no_scores) * scale  # scale * M
            inter = gl.exp2(rate * (i_out + 1).to(gl.float32)) * scale  # scale * Lambda
        inside = (row == share[0]) & (begin > 0)
        first = begin - gl.where(inside, gl.maximum(share[4], 0), 0)
        state_row = sequence.to(gl.int64) * num_heads + head
        source, present, factor = initial_ptr + state_row * (D * E), has_initial, initial_factor
        if inside & (share[4] < 0):
            source, present, factor = carried_ptr + program.to(gl.int64) * (D * E), 1, 1.0
        state = gl.zeros([D, HALF], gl.float32, acc)
        if (present != 0) & ((first == 0) | (inside & (share[4] < 0))):
            state = gl.load(source + state_offsets(PART * HALF, HALF, D, E, TRANSPOSED, acc)) * factor
        # Blocks of a warm-up are whole, so that all are weighed alike: by weights that stay in registers.
        rate = load_rate(slopes_ptr, head)
        weights = gl.exp2(rate * (BLOCK_T - 1 - j_operand).to(gl.float32))
        decay = gl.exp2(rate * BLOCK_T)
        for _ in range(first, begin, BLOCK_T):
            slot = wait_for(full, step, STAGES, 0)
            k = k_tiles.index(slot).permute((1, 0)).load(operand)  # [D, T]
            k = (k.to(gl.float32) * weights[None, :]).to(dtype)
            state = warpgroup_mma(k, v_tiles.index(2 * slot + PART), state * decay)
            mbarrier.arrive(empty.index(slot), count=1)
            step += 1
        state_tile.store(state.to(dtype))
        fence_async_shared()
        barrier()
        for token in range(begin, end, BLOCK_T):
            n = gl.minimum(end - token, BLOCK_T)
            rate = load_rate(slopes_ptr, head)
            slot = wait_for(full, step, STAGES, 0)
            q = q_tiles.index(slot)  # [T, D]
            k = k_tiles.index(slot)  # [T, D]
            v = v_tiles.index(2 * slot + PART)  # [T, HALF]
            if n < BLOCK_T:
                mask_tokens(v, n, BLOCK_T, HALF)
            scores = warpgroup_mma(q, k.permute((1, 0)), no_scores, use_acc=False, is_async=True)
            o = warpgroup_mma(q, state_tile, no_output, use_acc=False, is_async=True)
            scores = warpgroup_mma_wait(1, deps=[scores])
            if n < BLOCK_T:
                scores = gl.where((j < n)[None, :], scores, no_scores)
            scores = gl.convert_layout((scores * intra).to(dtype), operand)
            o = warpgroup_mma_wait(0, deps=[o])
            o = warpgroup_mma(scores, v, o * inter[:, None], is_async=True)
            k_weighed = k.permute((1, 0)).load(operand)  # [D, T]
            k_weighed = weigh(k_weighed, n, n - 1 - j_operand, rate, j_operand)
            decay = gl.exp2(rate * n.to(gl.float32))
            state = warpgroup_mma(k_weighed, v, state * decay, is_async=True)
            o = warpgroup_mma_wait(1, deps=[o])
            at = batch * num_tokens + start + token
            if n < BLOCK_T:
                out = (at.to(gl.int64) * num_heads + head) * E + PART * HALF
                columns = gl.arange(0, HALF, layout=gl.SliceLayout(0, acc))
                pointers = o_ptr + out + (i_out * num_heads * E)[:, None] + columns[None, :]
                gl.store(pointers, o.to(dtype), mask=(i_out < n)[:, None] & (columns < HALF)[None, :])
            else:
                tma.store_wait(0)
                barrier()
                o_tile.store(o.to(dtype))
            state = warpgroup_mma_wait(0, deps=[state])
            state_tile.store(state.to(dtype))
            fence_async_shared()
            barrier()
            mbarrier.arrive(empty.index(slot), count=1)
            if n == BLOCK_T:
                put(o_desc, [at, head * E + PART * HALF], o_tile)
            step += 1
        if (has_final != 0) & (row < share[2]):
            final = final_ptr + state_row * (D * E) + state_offsets(PART * HALF, HALF, D, E, TRANSPOSED, acc)
            gl.store(final, state * final_factor)
    tma.store_wait(0)


@gluon.jit(
    do_not_specialize=[
        *("q_step_b", "q_step_h", "q_column", "k_step_b", "k_step_h", "k_column"),
        *("v_step_b", "v_step_h", "v_column", "num_sequences", "num_tokens", "num_heads"),
        *("has_initial", "has_final"),
    ]
)
def hopper_walk_kernel(
    q_desc,  # rows of D, one a token: [rows, columns], see place
    k_desc,
    v_desc,  # rows of E, fetched by halves
    o_desc,
    o_ptr,  # [B, T, H, E]
    slopes_ptr,  # [H] fp32
    cuts_ptr,  # [programs + 1, 4] int32
    cu_seqlens_ptr,  # [N + 1] int64 where PACKED
    carried_ptr,  # [programs + 1, D, E] fp32: the state at a cut whose warm-up is -1
    initial_ptr,  # [N, H, D, E] fp32
    final_ptr,  # [N, H, D, E] fp32
    q_step_b: gl.int32,
    q_step_h: gl.int32,
    q_column: gl.int32,
    k_step_b: gl.int32,
    k_step_h: gl.int32,
    k_column: gl.int32,
    v_step_b: gl.int32,
    v_step_h: gl.int32,
    v_column: gl.int32,
    num_sequences: gl.int32,
    num_tokens: gl.int32,
    num_heads: gl.int32,
    has_initial: gl.int32,
    has_final: gl.int32,
    scale,
    initial_factor,
    final_factor,
    D: gl.constexpr,
    E: gl.constexpr,
    STAGES: gl.constexpr,
    PACKED: gl.constexpr,
    TRANSPOSED: gl.constexpr,
):
    """Write o for one share and, where a row ends in it, the final state. Forwards only."""
    dtype: gl.constexpr = q_desc.dtype
    HALF: gl.constexpr = E // 2
    key: gl.constexpr = q_desc.layout
    value: gl.constexpr = v_desc.layout
    q_tiles = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_T, D], key)
    k_tiles = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_T, D], key)
    v_tiles = gl.allocate_shared_memory(dtype, [STAGES * 2, BLOCK_T, HALF], value)
    state_tiles = gl.allocate_shared_memory(dtype, [2, D, HALF], value)
    o_tiles = gl.allocate_shared_memory(dtype, [2, BLOCK_T, HALF], value)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(STAGES):
        mbarrier.init(full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=2)
    fence_async_shared()
    barrier()
    program = gl.program_id(0)
    share = locate_share(cuts_ptr, program)
    sizes = (num_sequences, num_tokens, num_heads)
    tiles = (q_tiles, k_tiles, v_tiles)
    strides = ((q_step_b, q_step_h, q_column), (k_step_b, k_step_h, k_column), (v_step_b, v_step_h, v_column))
    states = (initial_ptr, carried_ptr, final_ptr, has_initial, has_final)
    factors = (scale, initial_factor, final_factor)
    gl.warp_specialize(
        [
            (
                compute_walk,
                (
                    o_desc, o_ptr, tiles, state_tiles, o_tiles, full, empty, share, program, sizes,
                    cu_seqlens_ptr, slopes_ptr, states, factors, 0, D, E, STAGES, PACKED, TRANSPOSED,
                ),
            ),
            (
                compute_walk,
                (
                    o_desc, o_ptr, tiles, state_tiles, o_tiles, full, empty, share, program, sizes,
                    cu_seqlens_ptr, slopes_ptr, states, factors, 1, D, E, STAGES, PACKED, TRANSPOSED,
                ),
            ),
            (
                fetch_walk,
                (
                    (q_desc, k_desc, v_desc), strides, tiles, full, empty, share, sizes, cu_seqlens_ptr,
                    D, E, STAGES, PACKED,
                ),
            ),
        ],
        [4, 1],
        [232, 40],
    )  # fmt: skip
