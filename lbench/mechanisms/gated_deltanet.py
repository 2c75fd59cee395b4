"""Gated DeltaNet (arXiv 2412.06464): the delta rule on a state that a gate a head and token decays."""

from __future__ import annotations

from lbench.case import Case
from lbench.mechanisms import costs
from lbench.mechanisms.delta_rule import RECURRENCE
from lbench.mechanisms.spec import Inputs, Mechanism


def _make_inputs(case: Case, device: str) -> Inputs:
    from lbench.mechanisms import draws

    return Inputs(draws.delta_tensors(case, device, MECHANISM), {})


MECHANISM: Mechanism = Mechanism(
    title="Gated DeltaNet",
    formula=(
        "S_t = exp(g_t) (1 - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T, o_t = d^-1/2 q_t S_t; q and k of "
        "length 1, beta after sigmoid, g in fp32, no normaliser"
    ),
    tensors={"q": "bthd", "k": "bthd", "v": "bthe", "g": "bth", "beta": "bth"},
    gradients=("q", "k", "v", "g", "beta"),
    decode_tensors={"q": "bthd", "k": "bthd", "v": "bthe", "g": "bth", "beta": "bth", "state": "bhde"},
    make_inputs=_make_inputs,
    reference=lambda case, inputs, gradient: RECURRENCE.reference(case, inputs, gradient, MECHANISM),
    floor_bytes=lambda case: costs.floor_bytes(case, MECHANISM, fp32=("g",)),
    useful_flops=costs.delta_flops,
)
