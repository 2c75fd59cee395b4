"""DeltaNet (arXiv 2406.06484): linear attention whose state is corrected, not only added to."""

from __future__ import annotations

from lbench.case import Case
from lbench.mechanisms import costs
from lbench.mechanisms.delta_rule import RECURRENCE
from lbench.mechanisms.spec import Inputs, Mechanism


def _make_inputs(case: Case, device: str) -> Inputs:
    from lbench.mechanisms import draws

    return Inputs(draws.delta_tensors(case, device, MECHANISM), {})


MECHANISM: Mechanism = Mechanism(
    title="DeltaNet",
    formula=(
        "S_t = (1 - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T, o_t = d^-1/2 q_t S_t; q and k of length 1, "
        "beta after sigmoid, no normaliser"
    ),
    tensors={"q": "bthd", "k": "bthd", "v": "bthe", "beta": "bth"},
    gradients=("q", "k", "v", "beta"),
    decode_tensors={"q": "bthd", "k": "bthd", "v": "bthe", "beta": "bth", "state": "bhde"},
    make_inputs=_make_inputs,
    reference=lambda case, inputs, gradient: RECURRENCE.reference(case, inputs, gradient, MECHANISM),
    floor_bytes=lambda case: costs.floor_bytes(case, MECHANISM),
    useful_flops=costs.delta_flops,
)
