"""Lightning attention by flash-linear-attention: `chunk_simple_gla` with a fixed decay a head and scale 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends import _fla
from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def build(case: Case, constants: Mapping[str, Tensor]) -> Forward:
    """`chunk_simple_gla(q, k, v, g_gamma=-slopes, scale=1.0)`."""
    chunk_simple_gla = _fla.load("simple_gla.chunk_simple_gla")
    log_decay = -constants["slopes"]

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return chunk_simple_gla(q, k, v, g_gamma=log_decay, scale=1.0)[0]

    def carried(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        o, new_state = chunk_simple_gla(
            q, k, v, g_gamma=log_decay, scale=1.0, initial_state=state, output_final_state=True
        )
        return o, new_state

    return carried if case.pass_name == "prefill" else forward


BACKEND = Backend(
    mechanism="lightning",
    title="fla chunk_simple_gla",
    marker="D",
    build=build,
    limits=Limits(
        dtypes=("bf16", "fp16", "fp32"), head_dim=(16, 512), carries=True, capability=((8, 0), (99, 9))
    ),
    packages=("fla", "einops", "triton"),
    switches=_fla.SWITCHES,
    kernels=_fla.CHUNK_KERNELS,
)
