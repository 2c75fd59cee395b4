"""Mamba's selective scan (arXiv 2312.00752) without skip, gate and bias.

d_inner is heads x head_dim_v, d_state is 16; dt is in the dtype of x, as the CUDA scan takes it; A is fp32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbench.case import Case
from lbench.mechanisms import costs
from lbench.mechanisms.segments import Recurrence
from lbench.mechanisms.spec import MAMBA1_STATE, Inputs, Mechanism

if TYPE_CHECKING:
    from torch import Tensor


def _make_inputs(case: Case, device: str) -> Inputs:
    from lbench.mechanisms import draws

    return Inputs(draws.scan_tensors(case, device, MECHANISM), {})


BLOCK = 32
"""Tokens whose decays are taken from one start: exact while their dt A sum to more than -700."""


def _segment(
    case: Case, tensors: dict[str, Tensor], constants: dict[str, Tensor], state: Tensor
) -> tuple[Tensor, Tensor]:
    import torch
    from torch.nn import functional

    length = tensors["x"].shape[1]
    block = min(BLOCK, length)
    x, dt, B, C = (
        # [B, T, ...] -> [B, N, block, channels or state numbers], filled up with zeros, which change no state
        functional.pad(tensors[name].flatten(2), (0, 0, 0, -length % block)).unflatten(1, (-1, block))
        for name in ("x", "dt", "B", "C")
    )
    decay = (dt.cumsum(2).unsqueeze(-1) * tensors["A"].flatten(0, 1)).exp()  # since the block's start
    added = (dt * x).unsqueeze(-1) * B.unsqueeze(3)
    # What reaches the start of the block's clock: the sum is decayed to each token at once.
    inside = (added / decay).cumsum(2)
    starts = []
    for whole, last in zip(decay[:, :, -1].unbind(1), inside[:, :, -1].unbind(1), strict=True):
        starts.append(state)
        state = whole * (state + last)
    h = decay * (inside + torch.stack(starts, 1).unsqueeze(2))
    y = (h @ C.unsqueeze(-1)).squeeze(-1).flatten(1, 2)[:, :length]
    return y.unflatten(2, (case.heads, case.head_dim_v)), state


RECURRENCE = Recurrence(
    segment=_segment,
    state_shape=lambda case: (case.heads * case.head_dim_v, MAMBA1_STATE),
    block=BLOCK,
    numbers=lambda case: case.heads * case.head_dim_v * MAMBA1_STATE,
)

MECHANISM: Mechanism = Mechanism(
    title="Mamba",
    formula="h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t, y_t = C_t h_t a channel; dt after softplus",
    tensors={"x": "bthe", "dt": "bthe", "A": "hen", "B": "btn", "C": "btn"},
    gradients=("x", "dt", "A", "B", "C"),
    decode_tensors={"x": "bthe", "dt": "bthe", "A": "hen", "B": "btn", "C": "btn", "state": "bhen"},
    make_inputs=_make_inputs,
    reference=lambda case, inputs, gradient: RECURRENCE.reference(case, inputs, gradient, MECHANISM),
    floor_bytes=lambda case: costs.floor_bytes(case, MECHANISM, fp32=("A",)),
    useful_flops=costs.selective_scan_flops,
)
