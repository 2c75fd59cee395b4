"""Linear attention without decay and without normaliser: lightning attention with slopes of zero."""

from __future__ import annotations

from lbench.case import Case
from lbench.mechanisms import costs
from lbench.mechanisms.lightning import recurrence
from lbench.mechanisms.spec import Inputs, Mechanism


def _make_inputs(case: Case, device: str) -> Inputs:
    from lbench.mechanisms import draws

    return Inputs(draws.linear_tensors(case, device, MECHANISM), {})


RECURRENCE = recurrence(scale=lambda case: 1.0)

MECHANISM: Mechanism = Mechanism(
    title="Linear attention",
    formula="S_t = S_{t-1} + k_t v_t^T, o_t = q_t S_t; scale 1, no decay, no normaliser, causal",
    tensors={"q": "bthd", "k": "bthd", "v": "bthe"},
    gradients=("q", "k", "v"),
    decode_tensors={"q": "bthd", "k": "bthd", "v": "bthe", "state": "bhde"},
    make_inputs=_make_inputs,
    reference=lambda case, inputs, gradient: RECURRENCE.reference(case, inputs, gradient, MECHANISM),
    floor_bytes=lambda case: costs.floor_bytes(case, MECHANISM),
    useful_flops=costs.linear_flops,
)
