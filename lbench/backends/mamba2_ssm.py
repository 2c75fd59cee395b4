"""Mamba-2's state-space dual by its authors: `mamba_chunk_scan_combined` of `mamba_ssm`, in Triton."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

CHUNK_SIZE = 256
"""Tokens of a chunk: the default of mamba_ssm's own layer."""


def build(_: Case, __: Mapping[str, Tensor]) -> Forward:
    """`mamba_chunk_scan_combined(x, dt, A, B, C, 256)` with one group of B and C."""
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    def forward(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        return mamba_chunk_scan_combined(x, dt, A, B.unsqueeze(2), C.unsqueeze(2), CHUNK_SIZE)

    return forward


# elements: offsets of its Triton kernels are 32-bit products.
BACKEND = Backend(
    mechanism="mamba2",
    title="mamba_ssm SSD",
    marker="^",
    build=build,
    limits=Limits(
        dtypes=("bf16", "fp16", "fp32"), head_dim=(16, 256), elements=2**31 - 1, capability=((8, 0), (99, 9))
    ),
    packages=("mamba_ssm", "einops", "triton"),
    kernels={"fwd": ("^_chunk_scan_fwd_kernel",), "bwd": ("^_chunk_scan_chunk_state_bwd_dx_kernel",)},
)
