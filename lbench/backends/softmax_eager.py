"""Causal softmax attention in plain torch: the whole T x T matrix of scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q [B, T, H, D], k [B, S, G, D], v [B, S, G, E] -> o [B, T, H, E]; the last query sees every key."""
    import torch

    queries, keys = q.shape[1], k.shape[1]
    # The query heads of one kv head become an axis, so that k and v are not copied: [B, G, H/G, T, D].
    q = q.unflatten(2, (k.shape[2], -1)).permute(0, 2, 3, 1, 4)
    k, v = (x.transpose(1, 2).unsqueeze(2) for x in (k, v))
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    future = torch.ones(queries, keys, dtype=torch.bool, device=q.device).triu(1 + keys - queries)
    p = torch.softmax(scores.masked_fill(future, float("-inf")), -1, dtype=torch.float32).to(v.dtype)
    return (p @ v).permute(0, 3, 1, 2, 4).flatten(2, 3)


def _decode(q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tensor:
    k_cache[:, -1:] = k
    v_cache[:, -1:] = v
    return attention(q, k_cache, v_cache)


def _build(case: Case, constants: Mapping[str, Tensor]) -> Forward:
    return _decode if case.pass_name == "decode" else attention


BACKEND = Backend(
    mechanism="softmax",
    title="Softmax, eager torch",
    marker=">",
    build=_build,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        dtypes=("bf16", "fp16", "fp32"),
        devices=("cuda", "cpu"),
        grouped_heads=True,
        carries=True,
    ),
)
