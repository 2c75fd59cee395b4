"""Retention (arXiv 2307.08621) as fla's `chunk_retention` computes it: fixed decay a head, scaled queries."""

from __future__ import annotations

import math

from lbench.case import Case
from lbench.mechanisms.fixed_decay import fixed_decay


def slopes_of(heads: int) -> list[float]:
    """-log(gamma_h) with gamma_h = 1 - 2^(-5-h)."""
    return [-math.log1p(-(2.0 ** (-5 - head))) for head in range(heads)]


def scale_of(case: Case) -> float:
    """head_dim^-0.5."""
    return case.head_dim**-0.5


MECHANISM = fixed_decay(
    title="Retention",
    formula="S_t = gamma_h S_{t-1} + k_t v_t^T, o_t = d^-1/2 q_t S_t; gamma_h = 1 - 2^(-5-h) = exp(-slope_h)",
    slopes=lambda case: slopes_of(case.heads),
    scale=scale_of,
)
