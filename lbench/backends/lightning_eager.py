"""Lightning attention in plain torch: the paper's Algorithm 1, all blocks at once, a loop for the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = {"cpu": 64, "cuda": 128}
"""Tokens of a block; larger on a GPU, where each turn of the loop over states is a launch."""
SEGMENT_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 28}
"""Elements of a tensor worked on at once: temporaries stay in a CPU's cache, or well within a GPU."""


def chunked(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor) -> Tensor:
    """o [B, T, H, E] from q, k [B, T, H, D], v [B, T, H, E], slopes [H]; state in fp32."""
    import torch

    state = torch.zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[-1], dtype=torch.float32, device=q.device)
    return _chunked(q, k, v, slopes, state)[0]


def carried(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """As `chunked`, from a state [B, H, D, E] on: o and the state after the last token."""
    import torch

    # Tokens behind the last whole block are their own block: filled up, it would decay the state further.
    whole = q.shape[1] // BLOCK[q.device.type] * BLOCK[q.device.type]
    outputs = []
    for times in (slice(0, whole), slice(whole, None)):
        if q[:, times].shape[1]:
            o, state = _chunked(q[:, times], k[:, times], v[:, times], slopes, state)
            outputs.append(o)
    return torch.cat(outputs, 1), state


def _chunked(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    batch, length, heads, dim = q.shape
    block = min(BLOCK[q.device.type], length)
    per_token = batch * heads * max(dim, v.shape[-1])
    segment = max(SEGMENT_ELEMENTS[q.device.type] // per_token // block, 1) * block
    step = torch.arange(block, device=q.device)
    slopes = slopes.float()[:, None, None, None]  # [H, 1, 1, 1]
    distance = step[:, None] - step[None, :]
    mask = torch.where(distance >= 0, torch.exp(-slopes * distance.clamp(min=0)), 0.0)
    from_start = torch.exp(-slopes * (step[:, None] + 1))  # [H, 1, block, 1]
    to_end = torch.exp(-slopes * (block - 1 - step[:, None]))
    decays = (mask.to(q.dtype), from_start.to(q.dtype), to_end.to(q.dtype))
    whole = torch.exp(-slopes[:, 0] * block)  # [H, 1, 1]
    outputs = []
    parts = [x.split(segment, 1) for x in (q, k, v)]
    for q_part, k_part, v_part in zip(*parts, strict=True):
        o, state = _segment(q_part, k_part, v_part, state, decays, whole)
        outputs.append(o)
    return torch.cat(outputs, 1), state


def _segment(
    q: Tensor, k: Tensor, v: Tensor, state: Tensor, decays: tuple[Tensor, Tensor, Tensor], whole: Tensor
) -> tuple[Tensor, Tensor]:
    import torch
    from torch.nn import functional

    mask, from_start, to_end = decays
    length, block = q.shape[1], mask.shape[-1]
    # [B, T, H, D] -> [B, H, N, block, D]
    q, k, v = (
        functional.pad(x, (0, 0, 0, 0, 0, -length % block)).unflatten(1, (-1, block)).permute(0, 3, 1, 2, 4)
        for x in (q, k, v)
    )
    intra = ((q @ k.mT) * mask) @ v
    added = (k * to_end).mT @ v
    starts = []
    for block_added in added.unbind(2):
        starts.append(state.to(q.dtype))
        state = whole * state + block_added
    o = intra + (q * from_start) @ torch.stack(starts, 2)
    return o.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :length], state


def step(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """One token [B, 1, H, D] and the fp32 state [B, H, D, E] -> o and the new state."""
    import torch

    added = k[:, 0, :, :, None].float() * v[:, 0, :, None, :].float()
    state = torch.exp(-slopes.float())[:, None, None] * state + added
    o = (q[:, 0, :, None, :].float() @ state).squeeze(2)
    return o.unsqueeze(1).to(q.dtype), state


def _build(case: Case, constants: Mapping[str, Tensor]) -> Forward:
    slopes = constants["slopes"]
    if case.pass_name == "decode":
        return lambda q, k, v, state: step(q, k, v, slopes, state)
    if case.pass_name == "prefill":
        return lambda q, k, v, state: carried(q, k, v, slopes, state)
    return lambda q, k, v: chunked(q, k, v, slopes)


BACKEND = Backend(
    mechanism="lightning",
    title="Lightning, eager torch",
    marker="^",
    build=_build,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        dtypes=("bf16", "fp16", "fp32"),
        devices=("cuda", "cpu"),
        carries=True,
    ),
)
