"""What recurrences with one fixed decay a head share: all but their slopes, their scale and their words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lbench.case import Case
from lbench.mechanisms import costs
from lbench.mechanisms.segments import Recurrence, linear_recurrence
from lbench.mechanisms.spec import Inputs, Mechanism

if TYPE_CHECKING:
    from torch import Tensor


def fixed_decay(
    *,
    title: str,
    formula: str,
    slopes: Callable[[Case], list[float]] | None = None,
    scale: Callable[[Case], float] = lambda case: 1.0,
) -> Mechanism:
    """S_t = exp(-slope_h) S_{t-1} + k_t v_t^T, o_t = scale q_t S_t; no decay where there are no slopes."""

    def make_inputs(case: Case, device: str) -> Inputs:
        import torch

        from lbench.mechanisms import draws

        tensors = draws.linear_tensors(case, device, mechanism)
        if slopes is None:
            return Inputs(tensors, {})
        return Inputs(tensors, {"slopes": torch.tensor(slopes(case), dtype=torch.float32, device=device)})

    def segment(
        case: Case, tensors: dict[str, Tensor], constants: dict[str, Tensor], state: Tensor
    ) -> tuple[Tensor, Tensor]:
        q = tensors["q"]
        decay = constants.get("slopes", q.new_zeros(case.heads))
        log_decay = -decay.unsqueeze(-1).expand(*q.shape[:3], 1)
        return linear_recurrence(q * scale(case), tensors["k"], tensors["v"], log_decay, state)

    recurrence = Recurrence(segment=segment)
    mechanism: Mechanism = Mechanism(
        title=title,
        formula=formula,
        tensors={"q": "bthd", "k": "bthd", "v": "bthe"},
        constants={} if slopes is None else {"slopes": "h"},
        gradients=("q", "k", "v"),
        decode_tensors={"q": "bthd", "k": "bthd", "v": "bthe", "state": "bhde"},
        make_inputs=make_inputs,
        reference=lambda case, inputs, gradient: recurrence.reference(case, inputs, gradient, mechanism),
        floor_bytes=lambda case: costs.floor_bytes(case, mechanism),
        useful_flops=costs.linear_flops,
    )
    return mechanism
