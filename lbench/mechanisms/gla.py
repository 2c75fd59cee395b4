"""Gated linear attention (arXiv 2312.06635): a gate for each key channel and token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbench.case import Case
from lbench.mechanisms import costs
from lbench.mechanisms.segments import Recurrence, linear_recurrence
from lbench.mechanisms.spec import Inputs, Mechanism

if TYPE_CHECKING:
    from torch import Tensor

GATE_NORMALIZER = 16.0
"""Gates are logsigmoid(x) / 16, as in the paper's models."""


def scale_of(case: Case) -> float:
    """head_dim^-0.5."""
    return case.head_dim**-0.5


def _make_inputs(case: Case, device: str) -> Inputs:
    from torch.nn import functional

    from lbench.mechanisms import draws

    tensors = draws.linear_tensors(case, device, MECHANISM, summed=False)
    gates = functional.logsigmoid(draws.normal(case, "g", MECHANISM, device)).div_(GATE_NORMALIZER)
    names = MECHANISM.decode_tensors if case.pass_name == "decode" else MECHANISM.tensors
    return Inputs({name: gates if name == "g" else tensors[name] for name in names}, {})


def _segment(
    case: Case, tensors: dict[str, Tensor], constants: dict[str, Tensor], state: Tensor
) -> tuple[Tensor, Tensor]:
    return linear_recurrence(tensors["q"] * scale_of(case), tensors["k"], tensors["v"], tensors["g"], state)


RECURRENCE = Recurrence(segment=_segment)

MECHANISM: Mechanism = Mechanism(
    title="Gated linear attention",
    formula="S_t = Diag(exp g_t) S_{t-1} + k_t v_t^T, o_t = d^-1/2 q_t S_t; g in q's dtype, no normaliser",
    tensors={"q": "bthd", "k": "bthd", "v": "bthe", "g": "bthd"},
    gradients=("q", "k", "v", "g"),
    decode_tensors={"q": "bthd", "k": "bthd", "v": "bthe", "g": "bthd", "state": "bhde"},
    make_inputs=_make_inputs,
    reference=lambda case, inputs, gradient: RECURRENCE.reference(case, inputs, gradient, MECHANISM),
    floor_bytes=lambda case: costs.floor_bytes(case, MECHANISM),
    useful_flops=costs.linear_flops,
)
