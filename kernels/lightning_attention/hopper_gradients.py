"""The walk backwards for Hopper in Gluon (legend in walk.py, blocks in hopper_blocks.py).

dk and dv come out of one pass over q, k, v and do. One warp fetches; one warpgroup keeps the state [D, E] and
hands a bf16 copy on through shared memory, two slots deep; the second makes dv from it, the third dk:

    dv = scale * ([(k q^T) * M^T] do + Lambda k state)      state = lambda^n state + (lambda^i q_i)^T do
    dk = scale * ([(v do^T) * M^T] q + Lambda v state^T)    Lambda = diag(lambda^(n-1) .. lambda^0)
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
def top_block(begin, end):
    """First token of the block a row's share is entered at, walking backwards, and how many blocks follow."""
    blocks = gl.cdiv(end - begin, BLOCK_T)
    return begin + (blocks - 1) * BLOCK_T, blocks


@gluon.jit
def fetch_gradients(
    descriptors, strides, tiles, full, empty, share, sizes, cu_seqlens_ptr,
    D: gl.constexpr, E: gl.constexpr, STAGES: gl.constexpr, PACKED: gl.constexpr,
):  # fmt: skip
    """Fetch q and do of the warm-up, then q, k, v and do one block at a time, the last blocks first."""
    q_desc, k_desc, v_desc, do_desc = descriptors
    q_tiles, k_tiles, v_tiles, do_tiles = tiles
    step = 0
    for row in range(share[0], share[2] + (share[3] > 0).to(gl.int32)):
        head, _sequence, batch, start, _length, begin, end = locate_row(
            row, share, sizes[0], sizes[1], cu_seqlens_ptr, PACKED
        )
        q_row, q_column = place(strides[0], batch, head)
        k_row, k_column = place(strides[1], batch, head)
        v_row, v_column = place(strides[2], batch, head)
        do_row, do_column = place(strides[3], batch, head)
        last = end + gl.where(row == share[2], gl.maximum(share[5], 0), 0)
        token, blocks = top_block(begin, last)
        for _ in range(blocks):
            if (step > 0) & (token < end):
                wait_for(full, step - 1, STAGES, 0)
            slot = wait_for(empty, step, STAGES, 1)
            bar = full.index(slot)
            at = start + token
            if token < end:
                mbarrier.expect(bar, 2 * BLOCK_T * (2 * D + 2 * E))
                fetch(k_desc, [k_row + at, k_column], bar, k_tiles.index(slot))
                fetch(v_desc, [v_row + at, v_column], bar, v_tiles.index(slot))
            else:
                mbarrier.expect(bar, 2 * BLOCK_T * (D + E))
            fetch(q_desc, [q_row + at, q_column], bar, q_tiles.index(slot))
            fetch(do_desc, [do_row + at, do_column], bar, do_tiles.index(slot))
            step += 1
            token -= BLOCK_T


@gluon.jit
def compute_state(
    tiles, state_tiles, full, empty, state_full, state_empty, share, program, sizes, cu_seqlens_ptr,
    slopes_ptr, states, factors, D: gl.constexpr, E: gl.constexpr, STAGES: gl.constexpr, PACKED: gl.constexpr,
):  # fmt: skip
    """Keep the state, hand a copy on before each block, and write the last one of a row."""
    q_tiles, _k_tiles, _v_tiles, do_tiles = tiles
    initial_ptr, carried_ptr, final_ptr, has_initial, has_final = states
    _scale, initial_factor, final_factor = factors
    num_sequences, num_tokens, num_heads = sizes
    dtype: gl.constexpr = q_tiles.dtype
    acc: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, E, 16])
    operand: gl.constexpr = gl.DotOperandLayout(0, acc, 2)
    i = gl.arange(0, BLOCK_T, layout=gl.SliceLayout(0, operand))
    step = 0
    handed = 0
    for row in range(share[0], share[2] + (share[3] > 0).to(gl.int32)):
        head, sequence, _batch, _start, length, begin, end = locate_row(
            row, share, num_sequences, num_tokens, cu_seqlens_ptr, PACKED
        )
        inside = row == share[2]
        last = end + gl.where(inside, gl.maximum(share[5], 0), 0)
        state_row = sequence.to(gl.int64) * num_heads + head
        source, present, factor = initial_ptr + state_row * (D * E), has_initial, initial_factor
        if inside & (share[5] < 0):
            source, present, factor = carried_ptr + (program + 1).to(gl.int64) * (D * E), 1, 1.0
        state = gl.zeros([D, E], gl.float32, acc)
        if (present != 0) & ((last == length) | (inside & (share[5] < 0))):
            state = gl.load(source + state_offsets(0, E, D, E, False, acc)) * factor
        token, blocks = top_block(begin, last)
        for _ in range(blocks):
            n = gl.minimum(last - token, BLOCK_T)
            if token < end:
                hand = wait_for(state_empty, handed, 2, 1)
                state_tiles.index(hand).store(state.to(dtype))
                fence_async_shared()
                barrier()
                mbarrier.arrive(state_full.index(hand), count=1)
                handed += 1
            slot = wait_for(full, step, STAGES, 0)
            do = do_tiles.index(slot)  # [T, E]
            if n < BLOCK_T:
                mask_tokens(do, n, BLOCK_T, E)
            q = q_tiles.index(slot).permute((1, 0)).load(operand)  # [D, T]
            rate = load_rate(slopes_ptr, head)
            q = weigh(q, n, i + 1, rate, i)
            state = warpgroup_mma(q, do, state * gl.exp2(rate * n.to(gl.float32)))
            mbarrier.arrive(empty.index(slot), count=1)
            step += 1
            token -= BLOCK_T
        if (has_final != 0) & (begin == 0):
            final = final_ptr + state_row * (D * E) + state_offsets(0, E, D, E, False, acc)
            gl.store(final, state * final_factor)


@gluon.jit
def compute_gradient(
    out_desc, out_ptr, a_tiles, b_tiles, c_tiles, state_tiles, out_tile, full, empty, state_full, state_empty,
    share, sizes, cu_seqlens_ptr, slopes_ptr, scale, WIDTH: gl.constexpr, STATE_TRANSPOSED: gl.constexpr,
    STAGES: gl.constexpr, PACKED: gl.constexpr,
):  # fmt: skip
    """Write dv (a, b, c = k, q, do) or dk (v, do, q): scale * ([(a b^T) * M^T] c + Lambda a state)."""
    num_sequences, num_tokens, num_heads = sizes
    dtype: gl.constexpr = a_tiles.dtype
    acc: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, WIDTH, 16])
    acc_scores: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_T, 16])
    operand: gl.constexpr = gl.DotOperandLayout(0, acc, 2)
    j = gl.arange(0, BLOCK_T, layout=gl.SliceLayout(1, acc_scores))
    i = gl.arange(0, BLOCK_T, layout=gl.SliceLayout(0, acc_scores))
    j_out = gl.arange(0, BLOCK_T, layout=gl.SliceLayout(1, acc))
    no_scores = gl.zeros([BLOCK_T, BLOCK_T], gl.float32, acc_scores)
    no_output = gl.zeros([BLOCK_T, WIDTH], gl.float32, acc)
    step = 0
    handed = 0
    for row in range(share[0], share[2] + (share[3] > 0).to(gl.int32)):
        head, _sequence, batch, start, _length, begin, end = locate_row(
            row, share, num_sequences, num_tokens, cu_seqlens_ptr, PACKED
        )
        warm_up = gl.where(row == share[2], gl.maximum(share[5], 0), 0)
        for _ in range(gl.cdiv(warm_up, BLOCK_T)):  # every fill must be seen: a barrier counts to two only
            slot = wait_for(full, step, STAGES, 0)
            mbarrier.arrive(empty.index(slot), count=1)
            step += 1
        token, blocks = top_block(begin, end)
        for _ in range(blocks):
            n = gl.minimum(end - token, BLOCK_T)
            rate = load_rate(slopes_ptr, head)
            slot = wait_for(full, step, STAGES, 0)
            a = a_tiles.index(slot)
            c = c_tiles.index(slot)
            if n < BLOCK_T:
                mask_tokens(c, n, BLOCK_T, WIDTH)
            scores = warpgroup_mma(
                a, b_tiles.index(slot).permute((1, 0)), no_scores, use_acc=False, is_async=True
            )
            hand = wait_for(state_full, handed, 2, 0)
            state = state_tiles.index(hand)
            if STATE_TRANSPOSED:
                state = state.permute((1, 0))
            o = warpgroup_mma(a, state, no_output, use_acc=False, is_async=True)
            inter = gl.exp2(rate * gl.maximum(n - 1 - j_out, 0).to(gl.float32)) * scale
            scores = warpgroup_mma_wait(1, deps=[scores])
            seen = (i[None, :] >= (j + (n <= 0).to(gl.int32))[:, None]) & (i < n)[None, :]
            decay = decay_scores(rate, i[None, :], j[:, None])
            scores = gl.where(seen, scores * decay * scale, no_scores)
            scores = gl.convert_layout(scores.to(dtype), operand)
            o = warpgroup_mma_wait(0, deps=[o])
            mbarrier.arrive(state_empty.index(hand), count=1)
            o = warpgroup_mma(scores, c, o * inter[:, None], is_async=True)
            at = batch * num_tokens + start + token
            o = warpgroup_mma_wait(0, deps=[o])
            mbarrier.arrive(empty.index(slot), count=1)
            if n < BLOCK_T:
                out = (at.to(gl.int64) * num_heads + head) * WIDTH
                columns = gl.arange(0, WIDTH, layout=gl.SliceLayout(0, acc))
                pointers = out_ptr + out + (j_out * num_heads * WIDTH)[:, None] + columns[None, :]
                gl.store(pointers, o.to(dtype), mask=(j_out < n)[:, None] & (columns < WIDTH)[None, :])
            else:
                tma.store_wait(0)
                barrier()
                out_tile.store(o.to(dtype))
                fence_async_shared()
                barrier()
                put(out_desc, [at, head * WIDTH], out_tile)
            step += 1
            handed += 1
            token -= BLOCK_T
    tma.store_wait(0)


@gluon.jit(
    do_not_specialize=[
        *("q_step_b", "q_step_h", "q_column", "k_step_b", "k_step_h", "k_column"),
        *("v_step_b", "v_step_h", "v_column", "do_step_b", "do_step_h", "do_column"),
        *("num_sequences", "num_tokens", "num_heads", "has_initial", "has_final"),
    ]
)
def hopper_gradients_kernel(
    q_desc,  # rows of D, one a token: [rows, columns], see place
    k_desc,
    v_desc,  # rows of E
    do_desc,
    dk_desc,
    dv_desc,
    dk_ptr,  # [B, T, H, D]
    dv_ptr,  # [B, T, H, E]
    slopes_ptr,  # [H] fp32
    cuts_ptr,  # [programs + 1, 4] int32
    cu_seqlens_ptr,  # [N + 1] int64 where PACKED
    carried_ptr,  # [programs + 1, D, E] fp32: the state at a cut whose warm-up is -1
    initial_ptr,  # [N, H, D, E] fp32: gradient of the final state
    final_ptr,  # [N, H, D, E] fp32: gradient of the initial state
    q_step_b: gl.int32,
    q_step_h: gl.int32,
    q_column: gl.int32,
    k_step_b: gl.int32,
    k_step_h: gl.int32,
    k_column: gl.int32,
    v_step_b: gl.int32,
    v_step_h: gl.int32,
    v_column: gl.int32,
    do_step_b: gl.int32,
    do_step_h: gl.int32,
    do_column: gl.int32,
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
):
    """Write dk, dv for one share and, where a row begins in it, its initial state's gradient. Backwards."""
    dtype: gl.constexpr = q_desc.dtype
    key: gl.constexpr = q_desc.layout
    value: gl.constexpr = v_desc.layout
    q_tiles = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_T, D], key)
    k_tiles = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_T, D], key)
    v_tiles = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_T, E], value)
    do_tiles = gl.allocate_shared_memory(dtype, [STAGES, BLOCK_T, E], value)
    state_tiles = gl.allocate_shared_memory(dtype, [2, D, E], value)
    dk_tile = gl.allocate_shared_memory(dtype, [BLOCK_T, D], key)
    dv_tile = gl.allocate_shared_memory(dtype, [BLOCK_T, E], value)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    state_full = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    state_empty = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(STAGES):
        mbarrier.init(full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=3)
    for slot in gl.static_range(2):
        mbarrier.init(state_full.index(slot), count=1)
        mbarrier.init(state_empty.index(slot), count=2)
    fence_async_shared()
    barrier()
    program = gl.program_id(0)
    share = locate_share(cuts_ptr, program)
    sizes = (num_sequences, num_tokens, num_heads)
    tiles = (q_tiles, k_tiles, v_tiles, do_tiles)
    strides = (
        (q_step_b, q_step_h, q_column),
        (k_step_b, k_step_h, k_column),
        (v_step_b, v_step_h, v_column),
        (do_step_b, do_step_h, do_column),
    )
    states = (initial_ptr, carried_ptr, final_ptr, has_initial, has_final)
    factors = (scale, initial_factor, final_factor)
    gl.warp_specialize(
        [
            (
                compute_state,
                (
                    tiles, state_tiles, full, empty, state_full, state_empty, share, program, sizes,
                    cu_seqlens_ptr, slopes_ptr, states, factors, D, E, STAGES, PACKED,
                ),
            ),
            (
                compute_gradient,
                (
                    dv_desc, dv_ptr, k_tiles, q_tiles, do_tiles, state_tiles, dv_tile, full, empty,
                    state_full, state_empty, share, sizes, cu_seqlens_ptr, slopes_ptr, scale,
                    E, False, STAGES, PACKED,
                ),
            ),
            (
                compute_gradient,
                (
                    dk_desc, dk_ptr, v_tiles, do_tiles, q_tiles, state_tiles, dk_tile, full, empty,
                    state_full, state_empty, share, sizes, cu_seqlens_ptr, slopes_ptr, scale,
                    D, True, STAGES, PACKED,
                ),
            ),
            (
                fetch_gradients,
                (
                    (q_desc, k_desc, v_desc, do_desc), strides, tiles, full, empty, share, sizes,
                    cu_seqlens_ptr, D, E, STAGES, PACKED,
                ),
            ),
        ],
        [4, 4, 1],
        [144, 144, 24],
    )  # fmt: skip
