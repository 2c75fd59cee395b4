"""How the tokens of all heads are shared out among programs: equal work each, decided on the device.

The work is a line: rows one after another, a row being one sequence of one head (row = head * N + sequence).
It is cut into as many shares as programs run at once, so that no program waits for another whatever batch,
heads and length are. A cut inside a row costs its program a warm-up: the state there is made again from the
tokens before it (after it, walking backwards), as far back as decay lets them count. Rows of slow decay are
dearer for it, so the cuts lie closer there. Where even that window is longer than a share, the state is
carried from cut to cut by a pass of its own (states.py).

Which tokens count depends on slopes, which live on the device; so the cuts are made there, by a kernel of one
block, and kept for as long as the same slopes come again.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Iterator

import torch
import triton
import triton.language as tl

from .checks import least_slope
from .facts import facts_of
from .variants import current_stream

GRAIN = tl.constexpr(64)  # cuts lie at multiples of this in their sequence
LEAST_SHARE = 128  # tokens of one head a program should have at the least
# Tokens of warm-up that are sooner walked than states are carried: farther than ALiBi's slowest head, 2^-8,
# reaches back in 16 bit.
LEAST_LIMIT = 5376
FULL = 0.9  # of a card: whole rows are shared out, without a cut, where they fill so much of it
# A token of warm-up reads two tensors where a token of a walk moves four, and costs more than half as much:
# a program that waits for memory waits nearly as long for a block of two tensors as for one of four (LOG.md).
WARM_UP_COST = 0.6
# So much of a share's work counts as warm-up at the most: where windows are as long as a share, the first
# shares of a row have less of it than the others.
MOST_WARM_UP = 0.8
# How far back tokens count: exp(-REACH) is what the first token left out weighs. One 10,000 times as large as
# the others is then worth 1e-3, 1e-4 and 3e-8 of the output, half of half a last place at the most.
REACH = {torch.bfloat16: 16.2, torch.float16: 18.3, torch.float32: 26.6}

MOST_KEPT = 64  # shapes for one tensor of slopes
SHARES = "shares"  # a fact about slopes: {key: Shares}
_keeping: contextvars.ContextVar[bool] = contextvars.ContextVar("keeping", default=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shares:
    """Program p walks from cut p to cut p + 1."""

    cuts: torch.Tensor  # [programs + 1, 4] int32: row, position, tokens of warm-up before it, after it
    num_programs: int
    carries: bool  # whether some warm-up may be -1: its state is carried, see states.py; else none is


@triton.jit(
    do_not_specialize=["num_sequences", "num_tokens", "num_heads", "num_programs", "rows_each", "limit"]
)
def cut_kernel(
    slopes_ptr,  # [H] fp32
    cu_seqlens_ptr,  # [N + 1] int64 where PACKED
    cuts_ptr,  # [programs + 1, 4] int32
    num_sequences: tl.int32,
    num_tokens: tl.int32,  # of a sequence, or of all where PACKED
    num_heads: tl.int32,
    num_programs: tl.int32,
    rows_each: tl.int32,  # rows a program where no row is cut, else 0
    limit: tl.int32,  # longest warm-up, tokens: a multiple of GRAIN, or all
    reach,
    PACKED: tl.constexpr,
    COST: tl.constexpr,
    MOST: tl.constexpr,
    BLOCK_CUTS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """Write BLOCK_CUTS cuts. All in integers, so that every reader finds shares that meet."""
    cut = tl.program_id(0) * BLOCK_CUTS + tl.arange(0, BLOCK_CUTS)
    head = tl.arange(0, BLOCK_HEADS)
    slope = tl.load(slopes_ptr + head, mask=head < num_heads, other=1.0)
    window = tl.minimum(reach / tl.maximum(slope, 1e-30), 1e9).to(tl.int32)
    window = tl.cdiv(window + 1, GRAIN) * GRAIN  # [H]
    line = num_tokens.to(tl.int64) * (1 if PACKED else num_sequences)  # tokens a head
    share = tl.maximum(line * num_heads // num_programs, 1)
    warm_up = tl.minimum(window, tl.minimum(limit, num_tokens)).to(tl.float32)
    # A share of `even` tokens' worth of work in a head whose warm-up costs w holds even - w of its tokens.
    # The weights that follow decide how much `even` is.
    share = share.to(tl.float32)
    even = share
    for _ in range(0, 8):
        dearer = 1.0 / (1.0 - tl.minimum(COST * warm_up / even, MOST))  # [H]
        even = share * tl.sum(tl.where(head < num_heads, dearer, 0.0), axis=0) / num_heads
    weight = (1024.0 / (1.0 - tl.minimum(COST * warm_up / even, MOST))).to(tl.int64)  # of a token, [H]
    weight = tl.where(head < num_heads, weight, 0)
    above = tl.cumsum(weight, axis=0) * line
    place = cut.to(tl.int64) * (tl.sum(weight, axis=0) * line) // num_programs  # [cuts]
    passed = (above[None, :] <= place[:, None]) & (head < num_heads)[None, :]  # [cuts, H]
    at = tl.sum(passed.to(tl.int32), axis=1)
    here = head[None, :] == at[:, None]
    begun = tl.sum(tl.where(passed, weight[None, :], 0), axis=1) * line
    token = (place - begun) // tl.maximum(tl.sum(tl.where(here, weight[None, :], 0), axis=1), 1)
    reached = tl.sum(tl.where(here, window[None, :], 0), axis=1)
    if PACKED:
        low = tl.zeros_like(token)
        high = tl.zeros_like(token) + num_sequences
        for _ in range(0, 32):  # documents that end at or before the token
            middle = (low + high) // 2
            end = tl.load(cu_seqlens_ptr + tl.minimum(middle + 1, num_sequences))
            searching = low < high
            low = tl.where(searching & (end <= token), middle + 1, low)
            high = tl.where(searching & (end > token), middle, high)
        sequence = tl.minimum(low, num_sequences - 1)
        start = tl.minimum(tl.maximum(tl.load(cu_seqlens_ptr + sequence), 0), num_tokens)
        stop = tl.minimum(tl.maximum(tl.load(cu_seqlens_ptr + sequence + 1), start), num_tokens)
        length = stop - start
        position = tl.minimum(tl.maximum(token - start, 0), length)
    else:
        sequence = token // num_tokens
        position = token - sequence * num_tokens
        length = tl.zeros_like(token) + num_tokens
    row = at.to(tl.int64) * num_sequences + sequence
    position = position // GRAIN * GRAIN
    if rows_each > 0:
        row = cut.to(tl.int64) * rows_each
        position = tl.zeros_like(position)
    ended = cut >= num_programs
    row = tl.where(
        ended, num_heads * num_sequences, tl.where(cut == 0, 0, row)
    )  # empty documents lie before 0
    position = tl.where(ended | (cut == 0), 0, position)
    carried = tl.minimum(reached, length) > limit
    before = tl.where(carried, -1, tl.minimum(reached, position))
    after = tl.where(carried, -1, tl.minimum(reached, length - position))
    whole = position == 0
    exists = cut <= num_programs
    tl.store(cuts_ptr + cut * 4 + 0, row.to(tl.int32), mask=exists)
    tl.store(cuts_ptr + cut * 4 + 1, position.to(tl.int32), mask=exists)
    tl.store(cuts_ptr + cut * 4 + 2, tl.where(whole, 0, before).to(tl.int32), mask=exists)
    tl.store(cuts_ptr + cut * 4 + 3, tl.where(whole, 0, after).to(tl.int32), mask=exists)


def share_out(
    slopes: torch.Tensor,
    cu_seqlens: torch.Tensor | None,
    num_sequences: int,
    num_tokens: int,
    slots: int,
    dtype: torch.dtype,
) -> Shares:
    """Shares for `slots` programs that run at once.

    `num_tokens` is the length of a sequence, or of all documents where `cu_seqlens` [N + 1] int64 is given.
    """
    # A CUDA graph may be replayed when what was kept is gone, and with slopes that have changed.
    capturing = slopes.is_cuda and torch.cuda.is_current_stream_capturing()
    least = None if capturing else least_slope(slopes)
    given = (slopes, cu_seqlens, num_sequences, num_tokens, slots, dtype)
    if capturing or cu_seqlens is not None or slopes.is_inference() or not _keeping.get():
        return _cut(*given, least)
    key, known = (*given[2:], current_stream(slopes)), facts_of(slopes).setdefault(SHARES, {})
    if key not in known:
        if len(known) >= MOST_KEPT:
            known.clear()
        known[key] = _cut(*given, least)
    return known[key]


@contextlib.contextmanager
def nothing_kept() -> Iterator[None]:
    """Within it calls use no shares that others kept, and keep none.

    For torch.compile, which may run a call where all memory is a CUDA graph's: none may be held from one call
    to the next, and none from outside may be read, which could be gone when the graph is replayed.
    """
    token = _keeping.set(False)
    try:
        yield
    finally:
        _keeping.reset(token)


def _cut(
    slopes: torch.Tensor,
    cu_seqlens: torch.Tensor | None,
    num_sequences: int,
    num_tokens: int,
    slots: int,
    dtype: torch.dtype,
    least: float | None,
) -> Shares:
    packed, heads = cu_seqlens is not None, slopes.shape[0]
    line = heads * num_tokens * (1 if packed else num_sequences)
    num_programs, rows_each = choose_programs(heads * num_sequences, line, slots, packed=packed)
    limit = max(LEAST_LIMIT, line // num_programs // int(GRAIN) * int(GRAIN))
    # Never False where the kernel, which divides in fp32, finds a longer window.
    far = num_tokens > limit and (least is None or least * limit <= REACH[dtype] * 1.001)
    carries = far and rows_each == 0 and num_programs > 1
    if not carries:  # nor is a state read that nothing carries, should slopes have changed unseen since
        limit = num_tokens
    cuts = torch.empty(num_programs + 1, 4, dtype=torch.int32, device=slopes.device)
    block = 16
    cut_kernel[(-(-(num_programs + 1) // block),)](
        *(slopes, slopes if cu_seqlens is None else cu_seqlens, cuts, num_sequences, num_tokens, heads),
        *(num_programs, rows_each, limit, REACH[dtype]),
        PACKED=packed,
        COST=WARM_UP_COST,
        MOST=MOST_WARM_UP,
        BLOCK_CUTS=block,
        BLOCK_HEADS=triton.next_power_of_2(heads),
    )
    return Shares(cuts=cuts, num_programs=num_programs, carries=carries)


def choose_programs(num_rows: int, line: int, slots: int, *, packed: bool = False) -> tuple[int, int]:
    """Programs, and rows each where rows stay whole (else 0), for a line of so many tokens."""
    rounds = math.ceil(num_rows / slots)
    full_enough = num_rows >= FULL * rounds * slots or line <= LEAST_SHARE * num_rows
    if full_enough and not packed:
        return math.ceil(num_rows / rounds), rounds
    return max(1, min(slots, line // LEAST_SHARE)), 0
