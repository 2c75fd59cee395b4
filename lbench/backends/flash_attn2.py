"""FlashAttention-2 (arXiv 2307.08691), the package `flash_attn`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lbench.backends.spec import Backend, Forward, Limits, Unsupported
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

KERNEL_HEAD_DIMS = (32, 64, 96, 128, 160, 192, 224, 256)
"""Head dims that releases have compiled kernels for; the next larger one serves those between."""


def build(case: Case, _: Mapping[str, Tensor]) -> Forward:
    """`flash_attn_func` with causal=True; `flash_attn_with_kvcache` for a decoding step."""
    import flash_attn_2_cuda
    import torch
    from flash_attn import flash_attn_func, flash_attn_with_kvcache

    _check_compiled(Path(flash_attn_2_cuda.__file__), case.head_dim)

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return flash_attn_func(q, k, v, causal=True)

    held = torch.full((case.batch,), case.seq_len, dtype=torch.int32, device=case.device)

    def step(q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tensor:
        return flash_attn_with_kvcache(q, k_cache, v_cache, k, v, cache_seqlens=held, causal=True)

    return step if case.pass_name == "decode" else forward


def _check_compiled(library: Path, head_dim: int) -> None:
    # A build without large head dims picks a smaller kernel in silence, so the kernels' names are looked up.
    if head_dim <= 128:
        return
    import mmap

    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        compiled = [dim for dim in KERNEL_HEAD_DIMS if content.find(b"kernel_traitsILi%dE" % dim) >= 0]
    if compiled and max(compiled) < head_dim:
        raise Unsupported(f"head_dim {head_dim} (this build of flash_attn has kernels up to {max(compiled)})")


BACKEND = Backend(
    mechanism="softmax",
    title="FlashAttention-2",
    marker="s",
    build=build,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        head_dim=(1, 256),
        equal_head_dims=True,
        grouped_heads=True,
        carries=True,
        capability=((8, 0), (99, 9)),
    ),
    packages=("flash_attn", "flash_attn_2_cuda"),
    kernels={
        "fwd": (r"^void flash::flash_fwd_",),
        "bwd": (r"^void flash::flash_bwd_dq_dk_dv",),
        "decode": (r"^void flash::flash_fwd_",),
    },
)
