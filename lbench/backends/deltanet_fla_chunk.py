"""DeltaNet by flash-linear-attention: `chunk_delta_rule`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends import _fla
from lbench.backends.spec import Backend, Forward
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def build(case: Case, __: Mapping[str, Tensor]) -> Forward:
    """`chunk_delta_rule(q, k, v, beta)` with its default scale, head_dim^-0.5; k comes normalised."""
    chunk_delta_rule = _fla.load("delta_rule.chunk_delta_rule")

    def forward(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
        return chunk_delta_rule(q, k, v, beta)[0]

    def carried(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return chunk_delta_rule(q, k, v, beta, initial_state=state, output_final_state=True)

    return carried if case.pass_name == "prefill" else forward


BACKEND = Backend(
    mechanism="deltanet",
    title="fla chunk_delta_rule",
    marker="^",
    build=build,
    limits=dataclasses.replace(_fla.DELTA_LIMITS, carries=True),
    packages=("fla", "einops", "triton"),
    switches=_fla.SWITCHES,
    kernels=_fla.DELTA_KERNELS,
)
