"""Mamba's selective scan by its authors: the CUDA kernel of `mamba_ssm`, never the slow path in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Backend, Forward, Layout, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def build(case: Case, _: Mapping[str, Tensor]) -> Forward:
    """`selective_scan_fn(x, dt, A, B, C)` on `[B, channels, T]`, channels = heads x head_dim_v, A fp32.

    ImportError without the extension selective_scan_cuda, which mamba-ssm builds on request only.
    """
    import selective_scan_cuda  # noqa: F401
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    def forward(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        # heads and dims are neighbours in memory: every flatten here is a view
        y = selective_scan_fn(x.flatten(1, 2), dt.flatten(1, 2), A.flatten(0, 1), B, C)
        return y.unflatten(1, (case.heads, case.head_dim_v))

    return forward


def _arrange(name: str, tensor: Tensor) -> Tensor:
    if name == "A":
        return tensor
    return (tensor.transpose(1, 2) if name in "BC" else tensor.permute(0, 2, 3, 1)).contiguous()


def _restore(name: str, tensor: Tensor) -> Tensor:
    if name == "A":
        return tensor
    return tensor.transpose(1, 2) if name in "BC" else tensor.permute(0, 3, 1, 2)


# elements: its strides are unsigned 32-bit.
BACKEND = Backend(
    mechanism="mamba1",
    title="mamba_ssm selective_scan",
    marker="^",
    build=build,
    layout=Layout(title="B H D T", arrange=_arrange, restore=_restore),
    limits=Limits(dtypes=("bf16", "fp16", "fp32"), elements=2**32 - 1, capability=((7, 0), (99, 9))),
    packages=("mamba_ssm", "selective_scan_cuda", "einops"),
    kernels={"fwd": ("selective_scan_fwd_kernel",), "bwd": ("selective_scan_bwd_kernel",)},
)
