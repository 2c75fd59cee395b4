"""Linear attention by flash-linear-attention: `chunk_linear_attn` without normaliser and with scale 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends import _fla
from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def build(case: Case, __: Mapping[str, Tensor]) -> Forward:
    """`chunk_linear_attn(q, k, v, scale=1.0, normalize=False)`."""
    chunk_linear_attn = _fla.load("linear_attn.chunk_linear_attn")

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return chunk_linear_attn(q, k, v, scale=1.0, normalize=False)[0]

    def carried(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        o, new_state = chunk_linear_attn(
            q, k, v, scale=1.0, normalize=False, initial_state=state, output_final_state=True
        )
        return o, new_state

    return carried if case.pass_name == "prefill" else forward


BACKEND = Backend(
    mechanism="linear",
    title="fla chunk_linear_attn",
    marker="D",
    build=build,
    limits=Limits(
        dtypes=("bf16", "fp16", "fp32"), head_dim=(16, 512), carries=True, capability=((8, 0), (99, 9))
    ),
    packages=("fla", "einops", "triton"),
    switches=_fla.SWITCHES,
    kernels=_fla.CHUNK_KERNELS,
)
