"""Lightning attention by flash-linear-attention, token by token: `fused_recurrent_simple_gla`, scale 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends import _fla
from lbench.backends.spec import Backend, Forward
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def build(case: Case, constants: Mapping[str, Tensor]) -> Forward:
    """`fused_recurrent_simple_gla(q, k, v, g_gamma=-slopes, scale=1.0)`, with states for a decoding step."""
    fused_recurrent_simple_gla = _fla.load("simple_gla.fused_recurrent_simple_gla")
    log_decay = -constants["slopes"]

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return fused_recurrent_simple_gla(q, k, v, g_gamma=log_decay, scale=1.0)[0]

    def step(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return fused_recurrent_simple_gla(
            q, k, v, g_gamma=log_decay, scale=1.0, initial_state=state, output_final_state=True
        )

    return step if case.pass_name == "decode" else forward


BACKEND = Backend(
    mechanism="lightning",
    title="fla fused_recurrent_simple_gla",
    marker="v",
    build=build,
    limits=_fla.RECURRENT_LIMITS,
    packages=("fla", "einops", "triton"),
    switches=_fla.SWITCHES,
    kernels={
        "fwd": ("^fused_recurrent_fwd_kernel",),
        "bwd": ("^fused_recurrent_bwd_kernel",),
        "decode": ("^fused_recurrent_fwd_kernel",),
    },
)
