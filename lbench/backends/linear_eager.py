"""Linear attention without decay in plain torch, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.lightning_eager import carried, chunked, step
from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def _build(case: Case, constants: Mapping[str, Tensor]) -> Forward:
    import torch

    slopes = torch.zeros(case.heads, device=case.device)
    if case.pass_name == "decode":
        return lambda q, k, v, state: step(q, k, v, slopes, state)
    if case.pass_name == "prefill":
        return lambda q, k, v, state: carried(q, k, v, slopes, state)
    return lambda q, k, v: chunked(q, k, v, slopes)


BACKEND = Backend(
    mechanism="linear",
    title="Linear attention, eager torch",
    marker="^",
    build=_build,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        dtypes=("bf16", "fp16", "fp32"),
        devices=("cuda", "cpu"),
        carries=True,
    ),
)
