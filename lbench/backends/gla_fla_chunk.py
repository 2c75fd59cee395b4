"""Gated linear attention by flash-linear-attention: `chunk_gla`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends import _fla
from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def build(case: Case, __: Mapping[str, Tensor]) -> Forward:
    """`chunk_gla(q, k, v, g)` with its default scale, head_dim^-0.5."""
    chunk_gla = _fla.load("gla.chunk_gla")

    def forward(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
        return chunk_gla(q, k, v, g)[0]

    def carried(q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        o, new_state = chunk_gla(q, k, v, g, initial_state=state, output_final_state=True)
        return o, new_state

    return carried if case.pass_name == "prefill" else forward


BACKEND = Backend(
    mechanism="gla",
    title="fla chunk_gla",
    marker="^",
    build=build,
    limits=Limits(
        dtypes=("bf16", "fp16", "fp32"), head_dim=(16, 512), carries=True, capability=((8, 0), (99, 9))
    ),
    packages=("fla", "einops", "triton"),
    switches=_fla.SWITCHES,
    kernels={"fwd": ("^chunk_gla_fwd_kernel_o",), "bwd": ("^chunk_gla_bwd_kernel_inter",)},
)
