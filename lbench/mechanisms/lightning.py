"""Lightning attention: a linear recurrence with one fixed decay a head (arXiv 2401.04658)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lbench.case import Case
from lbench.mechanisms import costs
from lbench.mechanisms.segments import Recurrence, linear_recurrence
from lbench.mechanisms.spec import Inputs, Mechanism

if TYPE_CHECKING:
    from torch import Tensor

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


def _make_inputs(case: Case, device: str) -> Inputs:
    import torch

    from lbench.mechanisms import draws

    slopes = torch.tensor(slopes_of(case.decay, case.heads), dtype=torch.float32, device=device)
    return Inputs(draws.linear_tensors(case, device, MECHANISM), {"slopes": slopes})


def recurrence(scale: Callable[[Case], float]) -> Recurrence:
    """The recurrence of queries times `scale` with the constants' slopes as decay (none: no decay)."""

    def segment(
        case: Case, tensors: dict[str, Tensor], constants: dict[str, Tensor], state: Tensor
    ) -> tuple[Tensor, Tensor]:
        q = tensors["q"]
        slopes = constants.get("slopes", q.new_zeros(case.heads))
        log_decay = -slopes.unsqueeze(-1).expand(*q.shape[:3], 1)
        return linear_recurrence(q * scale(case), tensors["k"], tensors["v"], log_decay, state)

    return Recurrence(segment=segment)


RECURRENCE = recurrence(scale=lambda case: 1.0)

MECHANISM: Mechanism = Mechanism(
    title="Lightning attention",
    formula="S_t = exp(-slope_h) S_{t-1} + k_t v_t^T, o_t = q_t S_t; scale 1, no normaliser, causal",
    tensors={"q": "bthd", "k": "bthd", "v": "bthe"},
    constants={"slopes": "h"},
    gradients=("q", "k", "v"),
    decode_tensors={"q": "bthd", "k": "bthd", "v": "bthe", "state": "bhde"},
    make_inputs=_make_inputs,
    reference=lambda case, inputs, gradient: RECURRENCE.reference(case, inputs, gradient, MECHANISM),
    floor_bytes=lambda case: costs.floor_bytes(case, MECHANISM),
    useful_flops=costs.linear_flops,
)
