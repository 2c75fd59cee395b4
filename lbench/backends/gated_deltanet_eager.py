"""Gated DeltaNet in plain torch: its chunked form (arXiv 2412.06464)."""

from __future__ import annotations

from lbench.backends import _delta
from lbench.backends.spec import Backend, Limits

BACKEND = Backend(
    mechanism="gated_deltanet",
    title="Gated DeltaNet, eager torch",
    marker="s",
    build=_delta.build,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        dtypes=("bf16", "fp16", "fp32"),
        devices=("cuda", "cpu"),
        carries=True,
    ),
)
