"""Gated DeltaNet by flash-linear-attention, token by token: `fused_recurrent_gated_delta_rule`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends import _fla
from lbench.backends.spec import Backend, Forward
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def build(case: Case, _: Mapping[str, Tensor]) -> Forward:
    """`fused_recurrent_gated_delta_rule(q, k, v, g=g, beta=beta)`, with states for a decoding step."""
    fused_recurrent_gated_delta_rule = _fla.load("gated_delta_rule.fused_recurrent_gated_delta_rule")

    def forward(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> Tensor:
        return fused_recurrent_gated_delta_rule(q, k, v, g=g, beta=beta)[0]

    def step(
        q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        return fused_recurrent_gated_delta_rule(
            q, k, v, g=g, beta=beta, initial_state=state, output_final_state=True
        )

    return step if case.pass_name == "decode" else forward


BACKEND = Backend(
    mechanism="gated_deltanet",
    title="fla fused_recurrent_gated_delta_rule",
    marker="D",
    build=build,
    limits=dataclasses.replace(_fla.RECURRENT_LIMITS, passes=("fwd", "decode")),  # fla has no backward of it
    packages=("fla", "einops", "triton"),
    switches=_fla.SWITCHES,
    kernels={
        "fwd": ("^fused_recurrent.*fwd_kernel",),
        "decode": ("^fused_recurrent.*fwd_kernel",),
    },
)
