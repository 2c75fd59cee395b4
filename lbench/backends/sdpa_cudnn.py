"""torch SDPA, cuDNN's fused attention."""

from __future__ import annotations

from lbench.backends import _sdpa
from lbench.backends.spec import STRIDED_HEADS_FIRST, Backend, Limits

# Head dims beyond 128 depend on cuDNN's version, the card and the pass: the probe in `build` asks.
BACKEND = Backend(
    mechanism="softmax",
    title="SDPA cuDNN",
    marker="v",
    build=_sdpa.build("cudnn"),
    layout=STRIDED_HEADS_FIRST,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        head_dim=(8, 256),
        grouped_heads=True,
        capability=((8, 0), (99, 9)),
    ),
    packages=("torch",),
    kernels={
        "fwd": (r"cudnn.*(fprop|fwd|sdpa|mha)",),
        "bwd": (r"cudnn.*(bprop|bwd|sdpa|mha)",),
        "decode": ("cudnn",),
    },
)
