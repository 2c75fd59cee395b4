"""Gated linear attention in plain torch: the chunked form of arXiv 2312.06635, without its sub-blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 64
SEGMENT_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 28}
"""Elements of a tensor worked on at once: temporaries stay in a CPU's cache, or well within a GPU."""


def chunked(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    """o [B, T, H, E] from scaled q, k and log gates g [B, T, H, D], v [B, T, H, E].

    Gates and state are fp32, products in the dtype of q. The gates of half a block must sum to more than -10
    (fp16 holds e^10 times a key).
    """
    import torch

    state = torch.zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[-1], dtype=torch.float32, device=q.device)
    return carried(q, k, v, g, state)[0]


def carried(q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """As `chunked`, from a state [B, H, D, E] on: o and the state after the last token."""
    import torch

    batch, _, heads, dim = q.shape
    per_token = batch * heads * max(dim, v.shape[-1])
    segment = max(SEGMENT_ELEMENTS[q.device.type] // per_token // BLOCK, 1) * BLOCK
    outputs = []
    parts = [x.split(segment, 1) for x in (q, k, v, g)]
    for q_part, k_part, v_part, g_part in zip(*parts, strict=True):
        o, state = _segment(q_part, k_part, v_part, g_part, state)
        outputs.append(o)
    return torch.cat(outputs, 1), state


def _segment(q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    import torch
    from torch.nn import functional

    length, dtype = q.shape[1], q.dtype
    block = min(BLOCK, length)
    # [B, T, H, D] -> [B, H, N, block, D]
    q, k, v, g = (
        functional.pad(x, (0, 0, 0, 0, 0, -length % block)).unflatten(1, (-1, block)).permute(0, 3, 1, 2, 4)
        for x in (q, k, v, g)
    )
    summed = g.float().cumsum(3)
    total = summed[..., -1:, :]  # [B, H, N, 1, D]
    centre = total / 2
    scores = (q * (summed - centre).exp()).to(dtype) @ (k * (centre - summed).exp()).to(dtype).mT
    intra = scores.tril() @ v
    added = (k * (total - summed).exp()).to(dtype).mT @ v  # [B, H, N, D, E]
    starts = []
    for block_added, kept in zip(added.unbind(2), total.exp().mT.unbind(2), strict=True):
        starts.append(state.to(dtype))
        state = kept * state + block_added
    o = intra + (q * summed.exp()).to(dtype) @ torch.stack(starts, 2)
    return o.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :length], state


def _step(q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    added = k[:, 0, :, :, None].float() * v[:, 0, :, None, :].float()
    state = g[:, 0].float().exp().unsqueeze(-1) * state + added
    o = (q[:, 0, :, None, :].float() * q.shape[-1] ** -0.5) @ state
    return o.transpose(1, 2).to(v.dtype), state


def _build(case: Case, constants: Mapping[str, Tensor]) -> Forward:
    if case.pass_name == "decode":
        return _step
    if case.pass_name == "prefill":
        return lambda q, k, v, g, state: carried(q * case.head_dim**-0.5, k, v, g, state)
    return lambda q, k, v, g: chunked(q * case.head_dim**-0.5, k, v, g)


BACKEND = Backend(
    mechanism="gla",
    title="GLA, eager torch",
    marker="s",
    build=_build,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        dtypes=("bf16", "fp16", "fp32"),
        devices=("cuda", "cpu"),
        carries=True,
    ),
)
