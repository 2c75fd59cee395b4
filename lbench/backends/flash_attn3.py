"""FlashAttention-3 (arXiv 2407.08608): `flash_attn_interface`, or the forward-only `fa3_fwd_interface`.

Which of the two is installed decides the limits, so it is looked up here, without importing it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

FULL, FORWARD_ONLY = "flash_attn_interface", "fa3_fwd_interface"
PACKAGE = FULL if importlib.util.find_spec(FULL) else FORWARD_ONLY


def build(case: Case, _: Mapping[str, Tensor]) -> Forward:
    """`flash_attn_func` with causal=True; `flash_attn_with_kvcache` for a decoding step."""
    import torch

    interface = importlib.import_module(PACKAGE)
    held = torch.full((case.batch,), case.seq_len, dtype=torch.int32, device=case.device)

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _output(interface.flash_attn_func(q, k, v, causal=True))

    def step(q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tensor:
        return _output(
            interface.flash_attn_with_kvcache(q, k_cache, v_cache, k, v, cache_seqlens=held, causal=True)
        )

    return step if case.pass_name == "decode" else forward


def _output(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    # Older builds return (output, log-sum-exp).
    return result[0] if isinstance(result, tuple) else result


# fa3-fwd is built without backward and without fp16 kernels.
BACKEND = Backend(
    mechanism="softmax",
    title="FlashAttention-3",
    marker="^",
    build=build,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode") if PACKAGE == FULL else ("fwd", "decode"),
        dtypes=("bf16", "fp16") if PACKAGE == FULL else ("bf16",),
        head_dim=(8, 256),
        equal_head_dims=True,
        grouped_heads=True,
        carries=True,
        capability=((9, 0), (9, 9)),
    ),
    packages=(PACKAGE,),
    kernels={"fwd": ("FlashAttnFwd",), "bwd": ("FlashAttnBwd",), "decode": ("FlashAttnFwd",)},
)
