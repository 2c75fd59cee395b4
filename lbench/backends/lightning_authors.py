"""Lightning Attention-2 by its authors: the package `lightning-attn` 0.0.5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import HEADS_FIRST, Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def build(_: Case, constants: Mapping[str, Tensor]) -> Forward:
    """`lightning_attn_func(q, k, v, slopes)` on `[B, H, T, D]`, slopes `[H, 1, 1]` fp32.

    It is compiled anew for each length, batch and number of heads, all of which are constants of its kernels.
    """
    from lightning_attn.ops import lightning_attn_func

    slopes = constants["slopes"].reshape(-1, 1, 1)

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return lightning_attn_func(q, k, v, slopes)

    return forward


# head_dims: its kernels index q and k by a power of two (32, 64 or 128; its own check turns 16 away), wider
# ones are cut into slices of 64 with a rest of 16 or 32. Products are of fp32 operands, TF32 by default.
BACKEND = Backend(
    mechanism="lightning",
    title="lightning-attn (authors)",
    marker="s",
    build=build,
    layout=HEADS_FIRST,
    limits=Limits(
        dtypes=("bf16", "fp16", "fp32"),
        head_dims=(32, 64, 128, 144, 160, 192, 208, 224, 256),
        elements=2**31,  # the offset of the last head is 32-bit: 2^31 elements are the most that fit
        capability=((8, 0), (99, 9)),
    ),
    packages=("lightning_attn", "einops", "triton"),
    kernels={"fwd": ("^_fwd_kernel",), "bwd": ("^_bwd_intra_kernel", "^_bwd_inter_kernel")},
)
