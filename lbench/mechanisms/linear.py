"""Linear attention without decay and without normaliser: lightning attention with slopes of zero."""

from __future__ import annotations

from lbench.mechanisms.fixed_decay import fixed_decay

MECHANISM = fixed_decay(
    title="Linear attention",
    formula="S_t = S_{t-1} + k_t v_t^T, o_t = q_t S_t; scale 1, no decay, no normaliser, causal",
)
