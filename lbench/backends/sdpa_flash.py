"""torch SDPA, FlashAttention: FlashAttention-2 on a GPU, torch's own blockwise kernel on a CPU."""

from __future__ import annotations

from lbench.backends import _sdpa
from lbench.backends.spec import STRIDED_HEADS_FIRST, Backend, Limits

# fp32 is served on the CPU only, so it is left to the probe in `build`.
BACKEND = Backend(
    mechanism="softmax",
    title="SDPA flash",
    marker="X",
    build=_sdpa.build("flash"),
    layout=STRIDED_HEADS_FIRST,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        dtypes=("bf16", "fp16", "fp32"),
        devices=("cuda", "cpu"),
        head_dim=(1, 256),
        equal_head_dims=True,
        grouped_heads=True,
        capability=((8, 0), (99, 9)),
    ),
    packages=("torch",),
    kernels={
        "fwd": ("pytorch_flash::flash_fwd_",),
        "bwd": ("pytorch_flash::flash_bwd_",),
        "decode": ("pytorch_flash::flash_fwd_",),
    },
)
