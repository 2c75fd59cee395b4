"""Lightning attention: a linear recurrence with one fixed decay a head (arXiv 2401.04658)."""

from __future__ import annotations

from lbench.mechanisms.fixed_decay import fixed_decay

DEEP_LAYERS = 24
"""`deep` is the last of this many layers."""
STEEP = 8.0
"""`steep` multiplies the ALiBi slopes by this."""


def slopes_of(decay: str, heads: int) -> list[float]:
    """Slopes of the heads, >= 0: ALiBi's, the last layer's of a deep model, eight times ALiBi's, or zero."""
    if decay == "zero":
        return [0.0] * heads
    layer = DEEP_LAYERS - 1
    factor = {"alibi": 1.0, "deep": 1 - layer / (DEEP_LAYERS - 1) + 1e-5, "steep": STEEP}[decay]
    return [slope * factor for slope in alibi_slopes(heads)]


def alibi_slopes(heads: int) -> list[float]:
    """2^(-8(i+1)/H); if H is no power of two, the slopes of the power below, then every other of the next."""
    power = 1 << (heads.bit_length() - 1)
    whole = [2.0 ** (-8 * (head + 1) / power) for head in range(power)]
    between = [2.0 ** (-8 * (head + 1) / (2 * power)) for head in range(0, 2 * power, 2)]
    return whole + between[: heads - power]


MECHANISM = fixed_decay(
    title="Lightning attention",
    formula="S_t = exp(-slope_h) S_{t-1} + k_t v_t^T, o_t = q_t S_t; scale 1, no normaliser, causal",
    slopes=lambda case: slopes_of(case.decay, case.heads),
)
