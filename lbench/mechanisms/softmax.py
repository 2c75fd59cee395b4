"""Causal softmax attention; fewer kv_heads than heads are shared by consecutive query heads."""

from __future__ import annotations

from lbench.case import Case
from lbench.mechanisms import costs, softmax_truth
from lbench.mechanisms.spec import Inputs, Mechanism


def _make_inputs(case: Case, device: str) -> Inputs:
    from lbench.mechanisms import draws

    return Inputs(draws.attention_tensors(case, device, MECHANISM), {})


MECHANISM: Mechanism = Mechanism(
    title="Softmax attention",
    formula="o_t = sum over s <= t of softmax(d^-1/2 q_t k_s) v_s; consecutive heads share a kv head",
    tensors={"q": "bthd", "k": "btgd", "v": "btge"},
    gradients=("q", "k", "v"),
    decode_tensors={"q": "bthd", "k": "btgd", "v": "btge", "k_cache": "bcgd", "v_cache": "bcge"},
    decode_outputs=("o",),
    make_inputs=_make_inputs,
    reference=softmax_truth.reference,
    coverage=softmax_truth.coverage,
    floor_bytes=lambda case: costs.floor_bytes(case, MECHANISM),
    useful_flops=costs.softmax_flops,
)
