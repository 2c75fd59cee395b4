"""The exact answer of causal softmax attention: all of it where that is cheap, else blocks of some heads.

A sampled block of queries needs one row of scores a token; a sampled block of keys needs the log-sum-exp of
every later query, and its output times its output gradient, so these two numbers a token are swept first.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lbench.case import Case
from lbench.mechanisms.spec import Inputs, Part

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 64
SAMPLED_BLOCKS = 6
SAMPLED_HEADS = 4
SAMPLED_ROWS = 2
FULL_SCORES = {"cuda": 1 << 31, "cpu": 1 << 24}
"""Most scores (batch x heads x T^2) that are all computed."""
FULL_HEADS = 512
"""Most batch x heads that are all computed; they are walked one by one."""
SWEPT_SCORES = {"cuda": 1 << 38, "cpu": 1 << 29}
"""Scores that a sweep may compute; longer sequences are swept in fewer heads."""
HELD_SCORES = {"cuda": 1 << 27, "cpu": 1 << 21}
"""Scores held at once."""

_kept: dict[tuple[object, ...], list[Part]] = {}


@dataclass(frozen=True)
class _Sample:
    """What is covered: batch elements, kv heads with the query heads that read them, blocks of tokens."""

    rows: list[int]
    kv_heads: list[int]
    blocks: list[slice]
    full: bool


def coverage(case: Case) -> str:
    """What `reference` covers, in words."""
    sample = _sample(case)
    if case.pass_name == "decode" or sample.full:
        return "all"
    heads = len(sample.kv_heads) * (case.heads // case.kv_heads)
    words = f"{len(sample.blocks)} blocks of {BLOCK} tokens in {heads} of {case.heads} heads"
    return words if case.batch == 1 else f"{words}, {len(sample.rows)} of {case.batch} batch elements"


def reference(case: Case, inputs: Inputs, output_gradient: Tensor | None) -> Iterator[Part]:
    """Parts of o, then of dq, dk and dv, in float64 (from a sweep in float32 where samples are enough)."""
    inputs = Inputs({name: tensor.detach() for name, tensor in inputs.tensors.items()}, inputs.constants)
    if case.pass_name == "decode":
        yield from _decode(case, inputs)
        return
    key = _fingerprint(case, inputs, output_gradient)
    if key in _kept:
        yield from _kept[key]
        return
    sample = _sample(case)
    parts = []
    for row in sample.rows:
        for kv_head in sample.kv_heads:
            parts += _parts(case, inputs, output_gradient, row, kv_head, sample)
    parts.sort(key=lambda part: part.name != "o")
    if not sample.full:
        _kept.clear()
        _kept[key] = [Part(part.name, part.index, part.values.cpu()) for part in parts]
    yield from parts


def _sample(case: Case) -> _Sample:
    scores = case.batch * case.heads * case.seq_len**2
    if scores <= FULL_SCORES[case.device] and case.batch * case.heads <= FULL_HEADS:
        step = max(HELD_SCORES[case.device] // case.seq_len // BLOCK, 1) * BLOCK
        blocks = [slice(start, min(start + step, case.seq_len)) for start in range(0, case.seq_len, step)]
        return _Sample(list(range(case.batch)), list(range(case.kv_heads)), blocks, True)
    draw = random.Random(case.seed)
    most = max(SWEPT_SCORES[case.device] // case.seq_len**2, 1)
    heads = max(min(most, SAMPLED_HEADS) // (case.heads // case.kv_heads), 1)
    rows = 1 if most < 2 * SAMPLED_HEADS else SAMPLED_ROWS
    # The last block takes the tokens behind the last multiple of 64.
    starts = _spread(draw, max(case.seq_len // BLOCK, 1), SAMPLED_BLOCKS)
    ends = [start + 1 for start in starts[:-1]]
    blocks = [slice(BLOCK * start, BLOCK * end) for start, end in zip(starts[:-1], ends, strict=True)]
    blocks.append(slice(BLOCK * starts[-1], case.seq_len))
    return _Sample(_spread(draw, case.batch, rows), _spread(draw, case.kv_heads, heads), blocks, False)


def _spread(draw: random.Random, count: int, most: int) -> list[int]:
    """Up to `most` of range(count): the last, the first, and a few drawn between; all where they fit."""
    if count <= most:
        return list(range(count))
    inner = draw.sample(range(1, count - 1), most - 2) if most > 2 else []
    return sorted({*([0] if most > 1 else []), *inner, count - 1})


def _parts(
    case: Case, inputs: Inputs, output_gradient: Tensor | None, row: int, kv_head: int, sample: _Sample
) -> list[Part]:
    """Truth of one batch element and the query heads that share one kv head."""
    import torch

    group = case.heads // case.kv_heads
    k, v = (inputs.tensors[name][row, :, kv_head].double() for name in ("k", "v"))
    rows = slice(row, row + 1)
    parts, gradients = [], [torch.zeros_like(k), torch.zeros_like(v)]
    for head in range(kv_head * group, (kv_head + 1) * group):
        q = inputs.tensors["q"][row, :, head].double() * case.head_dim**-0.5
        do = None if output_gradient is None else output_gradient[row, :, head].double()
        swept = None if do is None else _sweep(case, q, k, v, do)
        for block in sample.blocks:
            index = (rows, block, slice(head, head + 1))
            o, dq = _query_block(q, k, v, do, swept, block)
            parts.append(Part("o", index, o[None, :, None]))
            if do is not None and swept is not None:
                parts.append(Part("dq", index, (dq * case.head_dim**-0.5)[None, :, None]))
                for total, part in zip(gradients, _key_block(q, k, v, do, swept, block), strict=True):
                    total[block] += part
    if output_gradient is not None:
        for name, total in zip(("dk", "dv"), gradients, strict=True):
            for block in sample.blocks:
                index = (rows, block, slice(kv_head, kv_head + 1))
                parts.append(Part(name, index, total[block][None, :, None]))
    return parts


def _sweep(case: Case, q: Tensor, k: Tensor, v: Tensor, do: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum-exp of the scores and output . output gradient of every query, [T] each."""
    import torch

    # float32 sums are far below the error of the half types, and below the smallest limit of fp32.
    narrow = not _sample(case).full and (case.dtype != "fp32" or case.device == "cpu")
    q, k, v, do = (tensor.float() if narrow else tensor for tensor in (q, k, v, do))
    lse, delta = [], []
    step = max(HELD_SCORES[case.device] // case.seq_len, 16)
    with _exact_float32():
        for start in range(0, case.seq_len, step):
            stop = min(start + step, case.seq_len)
            scores = q[start:stop] @ k[:stop].mT
            _mask(scores[:, start:], 0)
            largest = scores.amax(-1, keepdim=True)
            total = scores.sub_(largest).exp_().sum(-1, keepdim=True, dtype=torch.float64)
            lse.append((largest + total.log()).squeeze(-1))
            delta.append(
                (scores @ v[:stop] * do[start:stop]).sum(-1, dtype=torch.float64) / total.squeeze(-1)
            )
    return torch.cat(lse), torch.cat(delta)


def _query_block(
    q: Tensor, k: Tensor, v: Tensor, do: Tensor | None, swept: tuple[Tensor, Tensor] | None, block: slice
) -> tuple[Tensor, Tensor]:
    """o and the gradient of the scaled q of a block of queries; zeros where there is no output gradient."""
    scores = q[block] @ k[: block.stop].mT
    _mask(scores[:, block.start :], 0)
    p = scores.softmax(-1)
    o = p @ v[: block.stop]
    if do is None or swept is None:
        return o, o.new_zeros(q[block].shape)
    dp = do[block] @ v[: block.stop].mT
    delta = (do[block] * o).sum(-1, keepdim=True)
    return o, (p * (dp - delta)) @ k[: block.stop]


def _key_block(
    q: Tensor, k: Tensor, v: Tensor, do: Tensor, swept: tuple[Tensor, Tensor], block: slice
) -> tuple[Tensor, Tensor]:
    """dk and dv of a block of keys, which all later queries reach; queries are walked in bounded pieces."""
    import torch

    lse, delta = swept
    dk, dv = torch.zeros_like(k[block]), torch.zeros_like(v[block])
    step = max((1 << 24) // (block.stop - block.start), 64)
    for start in range(block.start, q.shape[0], step):
        times = slice(start, start + step)
        scores = q[times] @ k[block].mT
        _mask(scores, start - block.start)
        p = scores.sub_(lse[times, None]).exp_()
        dv += p.mT @ do[times]
        dk += (p * (do[times] @ v[block].mT - delta[times, None])).mT @ q[times]
    return dk, dv


def _mask(scores: Tensor, ahead: int) -> None:
    """Keys after their query to -inf, in place; the first query stands `ahead` tokens after the first key."""
    import torch

    future = torch.ones_like(scores, dtype=torch.bool).triu_(1 + ahead)
    scores.masked_fill_(future, float("-inf"))


def _decode(case: Case, inputs: Inputs) -> Iterator[Part]:
    """o of one new token after the seq_len tokens of the cache, one kv head at a time."""
    import torch

    tensors, group = inputs.tensors, case.heads // case.kv_heads
    for row in range(case.batch):
        for kv_head in range(case.kv_heads):
            heads = slice(kv_head * group, (kv_head + 1) * group)
            k, v = (
                torch.cat(
                    [tensors[f"{name}_cache"][row, :-1, kv_head], tensors[name][row, :, kv_head]]
                ).double()
                for name in ("k", "v")
            )
            scores = (tensors["q"][row, 0, heads].double() * case.head_dim**-0.5) @ k.mT
            yield Part("o", (slice(row, row + 1), slice(0, 1), heads), (scores.softmax(-1) @ v)[None, None])


def _fingerprint(case: Case, inputs: Inputs, output_gradient: Tensor | None) -> tuple[object, ...]:
    """What tells one truth from another: the case without its backend, and sums over its tensors."""
    import torch

    tensors = [*inputs.tensors.values(), *([] if output_gradient is None else [output_gradient])]
    sums = [part.sum(dtype=torch.float64).item() for tensor in tensors for part in (tensor, tensor[:, ::7])]
    return (replace(case, backend="", pass_name="fwd"), output_gradient is not None, *sums)


@contextlib.contextmanager
def _exact_float32() -> Iterator[None]:
    """float32 products without TF32."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
