"""Retention by flash-linear-attention: `chunk_retention`, whose decay and scale are its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends import _fla
from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def build(case: Case, __: Mapping[str, Tensor]) -> Forward:
    """`chunk_retention(q, k, v)`: decay 1 - 2^(-5-h) for head h, scale head_dim^-0.5."""
    chunk_retention = _fla.load("retention.chunk_retention")

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return chunk_retention(q, k, v)[0]

    def carried(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        o, new_state = chunk_retention(q, k, v, initial_state=state, output_final_state=True)
        return o, new_state

    return carried if case.pass_name == "prefill" else forward


BACKEND = Backend(
    mechanism="retention",
    title="fla chunk_retention",
    marker="^",
    build=build,
    limits=Limits(
        dtypes=("bf16", "fp16", "fp32"), head_dim=(16, 512), carries=True, capability=((8, 0), (99, 9))
    ),
    packages=("fla", "einops", "triton"),
    switches=_fla.SWITCHES,
    kernels=_fla.CHUNK_KERNELS,
)
