"""What the kernels share: where a program works, and the products of one block (legend in walk.py)."""

from __future__ import annotations

import triton
import triton.language as tl

SEGMENT_MULTIPLE = tl.constexpr(
    64
)  # segments begin at multiples of this, so only the last block of all is ragged


@triton.jit
def index_program(num_tiles, num_heads, num_segments):
    """Tile, head, segment and batch of this program; tiles of a head, then its neighbours, side by side."""
    program = tl.program_id(0)
    tile = program % num_tiles
    program = program // num_tiles
    head = program % num_heads
    program = program // num_heads
    return tile, head, program % num_segments, program // num_segments


@triton.jit
def locate_sequence(cu_seqlens_ptr, batch, num_tokens, PACKED: tl.constexpr):
    """First token, length and batch index of a sequence; packed bounds are kept inside [0, num_tokens]."""
    if PACKED:
        start = tl.minimum(tl.maximum(tl.load(cu_seqlens_ptr + batch), 0), num_tokens)
        stop = tl.minimum(tl.maximum(tl.load(cu_seqlens_ptr + batch + 1), start), num_tokens)
        length = (stop - start).to(tl.int32)
        batch_row = tl.zeros((), dtype=tl.int64)
    else:
        start = tl.zeros((), dtype=tl.int64)
        length = num_tokens.to(tl.int32)
        batch_row = batch.to(tl.int64)
    return start, length, batch_row


@triton.jit
def locate_segment(length, segment, num_segments):
    """First and past-the-end position of a segment; the last ones may be empty."""
    per_segment = tl.cdiv(tl.cdiv(length, SEGMENT_MULTIPLE), num_segments)
    begin = tl.minimum(segment.to(tl.int64) * per_segment * SEGMENT_MULTIPLE, length).to(tl.int32)
    end = tl.minimum(begin.to(tl.int64) + per_segment * SEGMENT_MULTIPLE, length).to(tl.int32)
    return begin, end


@triton.jit
def offset_state(d, e, D: tl.constexpr, E: tl.constexpr, TRANSPOSED: tl.constexpr):
    """Offsets [D, E] of a state in memory; TRANSPOSED where memory holds [E, D]."""
    return d[:, None] + e[None, :] * D if TRANSPOSED else d[:, None] * E + e[None, :]


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
    age = tl.maximum(n - 1 - rows, 0) + (1 if BACKWARDS else 0)
    weights = tl.exp(-slope * age.to(tl.float32))  # rows past n are zero in k and v
    weighted = (v.to(tl.float32) * weights[:, None]).to(v.dtype)  # [T, E]
    state = decay_state(state, slope * n.to(tl.float32))
    return tl.dot(tl.trans(k), weighted, state, input_precision=PRECISION)
