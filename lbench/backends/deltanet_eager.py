"""DeltaNet in plain torch: its chunked form (arXiv 2406.06484)."""

from __future__ import annotations

from lbench.backends import _delta
from lbench.backends.spec import Backend, Limits

BACKEND = Backend(
    mechanism="deltanet",
    title="DeltaNet, eager torch",
    marker="s",
    build=_delta.build,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        dtypes=("bf16", "fp16", "fp32"),
        devices=("cuda", "cpu"),
        carries=True,
    ),
)
