"""Retention (arXiv 2307.08621) as fla's `chunk_retention` computes it: fixed decay a head, scaled queries."""

from __future__ import annotations

import math

from lbench.case import Case
from lbench.mechanisms import costs
from lbench.mechanisms.lightning import recurrence
from lbench.mechanisms.spec import Inputs, Mechanism


def slopes_of(heads: int) -> list[float]:
    """-log(gamma_h) with gamma_h = 1 - 2^(-5-h)."""
    return [-math.log1p(-(2.0 ** (-5 - head))) for head in range(heads)]


def scale_of(case: Case) -> float:
    """head_dim^-0.5."""
    return case.head_dim**-0.5


def _make_inputs(case: Case, device: str) -> Inputs:
    import torch

    from lbench.mechanisms import draws

    slopes = torch.tensor(slopes_of(case.heads), dtype=torch.float32, device=device)
    return Inputs(draws.linear_tensors(case, device, MECHANISM), {"slopes": slopes})


RECURRENCE = recurrence(scale=scale_of)

MECHANISM: Mechanism = Mechanism(
    title="Retention",
    formula="S_t = gamma_h S_{t-1} + k_t v_t^T, o_t = d^-1/2 q_t S_t; gamma_h = 1 - 2^(-5-h) = exp(-slope_h)",
    tensors={"q": "bthd", "k": "bthd", "v": "bthe"},
    constants={"slopes": "h"},
    gradients=("q", "k", "v"),
    decode_tensors={"q": "bthd", "k": "bthd", "v": "bthe", "state": "bhde"},
    make_inputs=_make_inputs,
    reference=lambda case, inputs, gradient: RECURRENCE.reference(case, inputs, gradient, MECHANISM),
    floor_bytes=lambda case: costs.floor_bytes(case, MECHANISM),
    useful_flops=costs.linear_flops,
)
