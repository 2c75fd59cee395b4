"""torch SDPA, math: the scores of all pairs of tokens in memory."""

from __future__ import annotations

from lbench.backends import _sdpa
from lbench.backends.spec import STRIDED_HEADS_FIRST, Backend, Limits

BACKEND = Backend(
    mechanism="softmax",
    title="SDPA math",
    marker="<",
    build=_sdpa.build("math"),
    layout=STRIDED_HEADS_FIRST,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        dtypes=("bf16", "fp16", "fp32"),
        devices=("cuda", "cpu"),
        grouped_heads=True,
    ),
    packages=("torch",),
    kernels={"fwd": ("(?i)softmax",), "bwd": ("(?i)softmax",), "decode": ("(?i)softmax",)},
)
