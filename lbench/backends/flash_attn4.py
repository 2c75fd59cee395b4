"""FlashAttention-4 (arXiv 2603.05451): `flash_attn.cute`, which CuTe compiles at the first call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Backend, Forward, Limits, Unsupported
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

# FlashAttention-2 brings an early `flash_attn.cute` of its own, without gradients on Hopper.
PACKAGE = "flash_attn.cute.flash_bwd_sm90"


def build(case: Case, _: Mapping[str, Tensor]) -> Forward:
    """`flash_attn_func` with causal=True."""
    from flash_attn.cute import flash_attn_func

    _check_head_dims(case)

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        o, _log_sum_exp = flash_attn_func(q, k, v, causal=True)
        return o

    return forward


def _check_head_dims(case: Case) -> None:
    import torch

    widest = max(case.head_dim, case.head_dim_v)
    if case.head_dim % 8 or case.head_dim_v % 8:
        raise Unsupported(f"head dims {case.head_dim} and {case.head_dim_v} (has multiples of 8)")
    if widest > 128 and torch.cuda.is_available() and torch.cuda.get_device_capability()[0] != 9:
        raise Unsupported(f"head_dim {widest} (has more than 128 on Hopper only)")


BACKEND = Backend(
    mechanism="softmax",
    title="FlashAttention-4",
    marker="h",
    build=build,
    limits=Limits(
        head_dim=(8, 256),
        grouped_heads=True,
        carries=True,
        capability=((9, 0), (12, 9)),
    ),
    packages=(PACKAGE,),
    kernels={"fwd": ("FlashAttentionForwardSm",), "bwd": ("FlashAttentionBackwardSm",)},
)
