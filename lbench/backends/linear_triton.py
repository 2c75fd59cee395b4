"""Linear attention without decay: this project's lightning kernels with slopes of zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def build(case: Case, _: Mapping[str, Tensor]) -> Forward:
    """`lightning_attention` with slopes 0, or its step with a new state for a decoding step."""
    import torch
    from lightning_attention import lightning_attention, lightning_attention_step

    slopes = torch.zeros(case.heads, dtype=torch.float32, device=case.device)

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return lightning_attention(q, k, v, slopes)[0]

    def step(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        o, new_state = lightning_attention_step(q.squeeze(1), k.squeeze(1), v.squeeze(1), slopes, state)
        return o.unsqueeze(1), new_state

    return step if case.pass_name == "decode" else forward


BACKEND = Backend(
    mechanism="linear",
    title="Linear (ours, Triton)",
    build=build,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"), dtypes=("bf16", "fp16", "fp32"), head_dim=(16, 256)
    ),
    packages=("triton", "lightning_attention"),
)
