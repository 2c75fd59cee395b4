"""Mamba-2's state-space dual (arXiv 2405.21060): one decay a head and token, B and C shared by all heads.

head_dim is d_state, head_dim_v the head dimension of x; dt and A are fp32 for every dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbench.case import Case
from lbench.mechanisms import costs
from lbench.mechanisms.segments import Recurrence, linear_recurrence
from lbench.mechanisms.spec import Inputs, Mechanism

if TYPE_CHECKING:
    from torch import Tensor


def _make_inputs(case: Case, device: str) -> Inputs:
    from lbench.mechanisms import draws

    return Inputs(draws.scan_tensors(case, device, MECHANISM), {})


def _segment(
    case: Case, tensors: dict[str, Tensor], constants: dict[str, Tensor], state: Tensor
) -> tuple[Tensor, Tensor]:
    dt = tensors["dt"].unsqueeze(-1)
    B, C = (tensors[name].unsqueeze(2).expand(-1, -1, case.heads, -1) for name in ("B", "C"))
    return linear_recurrence(C, B, dt * tensors["x"], dt * tensors["A"].unsqueeze(-1), state)


RECURRENCE = Recurrence(segment=_segment)

MECHANISM: Mechanism = Mechanism(
    title="Mamba-2",
    formula="S_t = exp(dt_t A_h) S_{t-1} + dt_t B_t x_t^T, y_t = C_t S_t; dt after softplus, one group",
    tensors={"x": "bthe", "dt": "bth", "A": "h", "B": "btd", "C": "btd"},
    gradients=("x", "dt", "A", "B", "C"),
    decode_tensors={"x": "bthe", "dt": "bth", "A": "h", "B": "btd", "C": "btd", "state": "bhde"},
    make_inputs=_make_inputs,
    reference=lambda case, inputs, gradient: RECURRENCE.reference(case, inputs, gradient, MECHANISM),
    floor_bytes=lambda case: costs.floor_bytes(case, MECHANISM, fp32=("A", "dt")),
    useful_flops=costs.linear_flops,
)
