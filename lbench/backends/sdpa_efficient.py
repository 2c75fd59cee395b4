"""torch SDPA, memory-efficient attention (the kernel from xFormers)."""

from __future__ import annotations

from lbench.backends import _sdpa
from lbench.backends.spec import STRIDED_HEADS_FIRST, Backend, Limits

# grouped_heads stays off: this kernel wants as many key heads as query heads.
BACKEND = Backend(
    mechanism="softmax",
    title="SDPA memory-efficient",
    marker="P",
    build=_sdpa.build("mem_efficient"),
    layout=STRIDED_HEADS_FIRST,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        dtypes=("bf16", "fp16", "fp32"),
        capability=((5, 0), (99, 9)),
    ),
    packages=("torch",),
    kernels={"fwd": ("fmha_cutlassF",), "bwd": ("fmha_cutlassB",), "decode": ("fmha_cutlassF",)},
)
