"""DeltaNet by flash-linear-attention, token by token: `fused_recurrent_delta_rule`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends import _fla
from lbench.backends.spec import Backend, Forward
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def build(case: Case, _: Mapping[str, Tensor]) -> Forward:
    """`fused_recurrent_delta_rule(q, k, v, beta)`, with states for a decoding step."""
    fused_recurrent_delta_rule = _fla.load("delta_rule.fused_recurrent_delta_rule")

    def forward(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
        return fused_recurrent_delta_rule(q, k, v, beta)[0]

    def step(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return fused_recurrent_delta_rule(q, k, v, beta, initial_state=state, output_final_state=True)

    return step if case.pass_name == "decode" else forward


BACKEND = Backend(
    mechanism="deltanet",
    title="fla fused_recurrent_delta_rule",
    marker="D",
    build=build,
    limits=_fla.RECURRENT_LIMITS,
    packages=("fla", "einops", "triton"),
    switches=_fla.SWITCHES,
    kernels={
        "fwd": ("^fused_recurrent.*fwd_kernel",),
        "bwd": ("^fused_recurrent.*bwd_kernel",),
        "decode": ("^fused_recurrent.*fwd_kernel",),
    },
)
