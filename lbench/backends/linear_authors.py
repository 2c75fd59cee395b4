"""Linear attention by the authors of Lightning Attention-2: `lightning-attn` 0.0.5 without decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import HEADS_FIRST, Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def build(_: Case, __: Mapping[str, Tensor]) -> Forward:
    """`lightning_attn2_no_decay(q, k, v)` on `[B, H, T, D]`.

    `lightning_attn_func` without slopes, the documented way, raises a NameError up to head dim 128.
    """
    from lightning_attn.ops import lightning_attn2_no_decay

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return lightning_attn2_no_decay(q, k, v)

    return forward


# Its kernels index by powers of two; 256 would be four times the shared memory that 128 takes.
BACKEND = Backend(
    mechanism="linear",
    title="lightning-attn, no decay (authors)",
    marker="s",
    build=build,
    layout=HEADS_FIRST,
    limits=Limits(
        dtypes=("bf16", "fp16", "fp32"),
        head_dims=(16, 32, 64, 128),
        elements=2**31,  # the offset of the last head is 32-bit: 2^31 elements are the most that fit
        capability=((8, 0), (99, 9)),
    ),
    packages=("lightning_attn", "einops", "triton"),
    kernels={"fwd": ("^_fwd_kernel",), "bwd": ("^_bwd_intra_kernel", "^_bwd_inter_kernel")},
)
