"""What the kernels share: where a program works, and the products of one block (legend in walk.py)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def locate_row(row, num_sequences, num_tokens, cu_seqlens_ptr, PACKED: tl.constexpr):
    """Head, sequence, first token and length of a row; packed bounds are kept inside [0, num_tokens]."""
    head = row // num_sequences
    sequence = row - head * num_sequences
    if PACKED:
        start = tl.minimum(tl.maximum(tl.load(cu_seqlens_ptr + sequence), 0), num_tokens)
        stop = tl.minimum(tl.maximum(tl.load(cu_seqlens_ptr + sequence + 1), start), num_tokens)
        length = (stop - start).to(tl.int32)
        batch = tl.zeros((), dtype=tl.int64)
    else:
        start = tl.zeros((), dtype=tl.int64)
        length = num_tokens.to(tl.int32)
        batch = sequence.to(tl.int64)
    return head, sequence, batch, start, length


@triton.jit
def load_rows(base, rows, step, columns, n, WIDTH: tl.constexpr):
    """The first n of the tokens `rows` of a tensor [T, WIDTH]; zero behind them and past the width."""
    mask = (rows < n)[:, None] & (columns < WIDTH)[None, :]
    return tl.load(base + rows[:, None] * step + columns[None, :], mask=mask, other=0.0)


@triton.jit
def point_state(
    base, tile, D: tl.constexpr, E: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    TRANSPOSED: tl.constexpr,
):  # fmt: skip
    """Pointers and mask [BLOCK_D, BLOCK_E] of a tile of a state, which lies as [E, D] where TRANSPOSED."""
    d = tl.arange(0, BLOCK_D)
    e = tile * BLOCK_E + tl.arange(0, BLOCK_E)
    pointers = base + (d[:, None] + e[None, :] * D if TRANSPOSED else d[:, None] * E + e[None, :])
    return pointers, (d < D)[:, None] & (e < E)[None, :]


@triton.jit
def load_state(
    base, tile, D: tl.constexpr, E: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    TRANSPOSED: tl.constexpr,
):  # fmt: skip
    """A tile of a state. No masks where none are needed: they would stay in registers all along the walk."""
    pointers, mask = point_state(base, tile, D, E, BLOCK_D, BLOCK_E, TRANSPOSED)
    if D % BLOCK_D == 0 and E % BLOCK_E == 0:
        state = tl.load(pointers)
    else:
        state = tl.load(pointers, mask=mask, other=0.0)
    return state


@triton.jit
def store_state(
    base, state, tile, present, D: tl.constexpr, E: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr, TRANSPOSED: tl.constexpr,
):  # fmt: skip
    """Write a tile of a state if `present`, 0 or 1, says so."""
    pointers, mask = point_state(base, tile, D, E, BLOCK_D, BLOCK_E, TRANSPOSED)
    wanted = tl.zeros([BLOCK_D, BLOCK_E], dtype=tl.int32) < present
    if D % BLOCK_D == 0 and E % BLOCK_E == 0:
        tl.store(pointers, state, mask=wanted)
    else:
        tl.store(pointers, state, mask=mask & wanted)


@triton.jit
def dot_state(q, state, PRECISION: tl.constexpr):
    """q @ state in fp32, state rounded to q's dtype; in fp16 divided by its largest entry to fit."""
    if q.dtype == tl.float16:
        largest = tl.maximum(tl.max(tl.max(tl.abs(state), axis=1), axis=0), 1e-30)
        product = tl.dot(q, (state / largest).to(tl.float16)) * largest
    else:
        product = tl.dot(q, state.to(q.dtype), input_precision=PRECISION)
    return product


@triton.jit
def dot_values(scores, v, o, PRECISION: tl.constexpr):
    """o + scores @ v in fp32, scores rounded to v's dtype; in fp16 each row divided by its largest entry."""
    if v.dtype == tl.float16:
        largest = tl.maximum(tl.max(tl.abs(scores), axis=1), 1e-30)[:, None]
        o += tl.dot((scores / largest).to(tl.float16), v) * largest
    else:
        o = tl.dot(scores.to(v.dtype), v, o, input_precision=PRECISION)
    return o


@triton.jit
def decay_state(state, x):
    """exp(-x) state for x >= 0, right also near x = 0, where thousands of blocks multiply a rounding to 1."""
    y = tl.minimum(x, 0.25)
    tail = 1.0 - y * (1.0 / 5.0) * (1.0 - y * (1.0 / 6.0) * (1.0 - y * (1.0 / 7.0)))
    loss = -y * (1.0 - y * (1.0 / 2.0) * (1.0 - y * (1.0 / 3.0) * (1.0 - y * (1.0 / 4.0) * tail)))
    slow = x < 0.25  # exp(-x) is 1 + loss there, itself elsewhere
    return state * tl.where(slow, 1.0, tl.exp(-x)) + state * tl.where(slow, loss, 0.0)


@triton.jit
def update_state(state, k, v, slope, rows, n, BACKWARDS: tl.constexpr, PRECISION: tl.constexpr):
    """lambda^n state + k^T (lambda^n Lambda^-1 v), over the n tokens of the block that exist."""
    # In fp16 lambda of a steep head times v would be below its range: the state takes that power afterwards.
    late: tl.constexpr = 1 if BACKWARDS and v.dtype == tl.float16 else 0
    age = tl.maximum(n - 1 - rows, 0) + (1 if BACKWARDS else 0) - late
    weights = tl.exp(-slope * age.to(tl.float32))  # rows past n are zero in k and v
    weighted = (v.to(tl.float32) * weights[:, None]).to(v.dtype)  # [T, E]
    state = decay_state(state, slope * (n - late).to(tl.float32))
    state = tl.dot(tl.trans(k), weighted, state, input_precision=PRECISION)
    return decay_state(state, slope) if late else state


@triton.jit
def accumulate_state(
    state,
    k_base,
    k_step,
    v_base,
    v_step,
    d,
    e,
    slope,
    num_tokens,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BACKWARDS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The state after `num_tokens` more positions; bases point at the first, steps lead to the next."""
    rows = tl.arange(0, BLOCK_T)
    for block in range(0, tl.cdiv(num_tokens, BLOCK_T)):
        n = tl.minimum(num_tokens - block * BLOCK_T, BLOCK_T)
        k = load_rows(k_base, rows, k_step, d, n, D)  # [T, D]
        v = load_rows(v_base, rows, v_step, e, n, E)  # [T, E]
        state = update_state(state, k, v, slope, rows, n, BACKWARDS, PRECISION)
        k_base += BLOCK_T * k_step
        v_base += BLOCK_T * v_step
    return state
