"""What the kernels for Hopper share, in Gluon: where a program works, barriers, decay (legend in walk.py).

In them one warp fetches blocks by TMA and warpgroups compute. The fetching warp runs one block ahead, and
asks for a block when the one before it has come: more in flight does not raise the bandwidth, but lengthens
queues in which some multiprocessors wait longer than others (the last program ended 11 % after the first).

Blocks lie at multiples of BLOCK_T in their sequence, whichever way it is walked. A block at the end of a
sequence may hold fewer tokens: what lies behind them (the next document, or zeros past the tensor) is masked.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma

BLOCK_T = gl.constexpr(64)
LOG2_E = gl.constexpr(1.4426950408889634)
# exp(-128) is 0 in fp32. Steeper slopes would only spoil a token's own weight of 1, in which rate * i has to
# cancel: it is right to 4e-4 here.
STEEPEST = gl.constexpr(128.0)
# Renamed after Triton 3.6.
barrier = gl.thread_barrier if hasattr(gl, "thread_barrier") else gl.barrier
fetch = tma.async_load if hasattr(tma, "async_load") else tma.async_copy_global_to_shared
put = tma.async_store if hasattr(tma, "async_store") else tma.async_copy_shared_to_global


@gluon.jit
def locate_share(cuts_ptr, program):
    """First row and position, last row and position, warm-up at the first cut and at the last."""
    cut = cuts_ptr + program * 4
    return (
        gl.load(cut),
        gl.load(cut + 1),
        gl.load(cut + 4),
        gl.load(cut + 5),
        gl.load(cut + 2),
        gl.load(cut + 7),
    )


@gluon.jit
def locate_row(row, share, num_sequences, num_tokens, cu_seqlens_ptr, PACKED: gl.constexpr):
    """Head, sequence, batch, first token and length of a row, and where a share begins and ends in it."""
    head = row // num_sequences
    sequence = row - head * num_sequences
    if PACKED:
        start = gl.minimum(gl.maximum(gl.load(cu_seqlens_ptr + sequence), 0), num_tokens).to(gl.int32)
        stop = gl.minimum(gl.load(cu_seqlens_ptr + sequence + 1), num_tokens).to(gl.int32)
        length = gl.maximum(stop - start, 0)
        batch = sequence * 0
    else:
        start = sequence * 0
        length = num_tokens
        batch = sequence
    begin = gl.where(row == share[0], share[1], 0)
    end = gl.where(row == share[2], share[3], length)
    return head, sequence, batch, start, length, begin, end


@gluon.jit
def place(strides, batch, head):
    """Row and column of a descriptor at which a sequence of one head begins: batch, head and column steps."""
    return batch * strides[0] + head * strides[1], head * strides[2]


@gluon.jit
def wait_for(barriers, step, STAGES: gl.constexpr, parity: gl.constexpr):
    """Wait until the slot of `step` is filled (parity 0) or free again (parity 1); returns the slot."""
    slot = step % STAGES
    mbarrier.wait(barriers.index(slot), ((step // STAGES) & 1) ^ parity)
    return slot


@gluon.jit
def mask_tokens(tile, n, ROWS: gl.constexpr, COLUMNS: gl.constexpr):
    """Set the tokens from n on to zero in shared memory; warpgroups that do so side by side agree."""
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
    token = gl.arange(0, ROWS, layout=gl.SliceLayout(1, layout))
    x = tile.load(layout)
    tile.store(gl.where((token < n)[:, None], x, gl.zeros([ROWS, COLUMNS], x.dtype, layout)))
    fence_async_shared()
    barrier()


@gluon.jit
def state_offsets(
    FIRST: gl.constexpr, COLUMNS: gl.constexpr, D: gl.constexpr, E: gl.constexpr,
    TRANSPOSED: gl.constexpr, acc: gl.constexpr,
):  # fmt: skip
    """Offsets [D, COLUMNS] of some columns of a state in memory, which holds [E, D] where TRANSPOSED."""
    d = gl.arange(0, D, layout=gl.SliceLayout(1, acc))[:, None]
    e = FIRST + gl.arange(0, COLUMNS, layout=gl.SliceLayout(0, acc))[None, :]
    return d + e * D if TRANSPOSED else d * E + e


@gluon.jit
def weigh(x, n, age, rate, column):
    """Tokens (columns of an operand in registers) weighed by lambda^age; zero from token n on."""
    weights = gl.exp2(rate * gl.maximum(age, 0).to(gl.float32))
    weighed = (x.to(gl.float32) * weights[None, :]).to(x.dtype)
    if n < BLOCK_T:
        weighed = gl.where((column < n)[None, :], weighed, gl.zeros_like(weighed))
    return weighed


@gluon.jit
def load_rate(slopes_ptr, head):
    """log2(lambda) of a head, <= 0. Volatile: what follows from it shall not be kept for the next block."""
    slope = gl.load(slopes_ptr + head, volatile=True)
    return gl.minimum(gl.maximum(slope, 0.0), STEEPEST) * -LOG2_E


@gluon.jit
def decay_scores(rate, queries, keys):
    """lambda^(i - j), a product of two powers' exponents; only to be used where the query sees the key."""
    return gl.exp2(rate * queries.to(gl.float32) - rate * keys.to(gl.float32))
