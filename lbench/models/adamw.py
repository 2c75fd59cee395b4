"""AdamW with fp32 moments for weights of any dtype, a tensor at a time, its work in one kernel on a GPU.

Half-precision weights are rounded stochastically: a small update then moves them on average by just what it
says, without a copy of the weights in fp32. So a parameter costs 12 bytes: weight 2, gradient 2, moments 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What AdamW is told."""

    learning: float = 3e-4
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    decay: float = 0.1


class AdamW:
    """Moments of some parameters, and the step."""

    def __init__(self, parameters: Sequence[Tensor], rates: Rates | None = None) -> None:
        self.rates = rates or Rates()
        self.parameters = list(parameters)
        self.moments = [
            (torch.zeros_like(p, dtype=torch.float32), torch.zeros_like(p, dtype=torch.float32))
            for p in self.parameters
        ]
        self._steps = 0

    @property
    def bytes(self) -> int:
        """What the moments take."""
        return sum(2 * m.numel() * m.element_size() for m, _ in self.moments)

    def forget(self) -> None:
        """As before the first step; the parameters stay as they are."""
        self._steps = 0
        for pair in self.moments:
            for moment in pair:
                moment.zero_()

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Moves every parameter by its gradient."""
        self._steps += 1
        for number, (parameter, gradient, moments) in enumerate(
            zip(self.parameters, gradients, self.moments, strict=True)
        ):
            if parameter.is_cuda:
                from lbench.models.adamw_kernel import launch

                launch(parameter, gradient, moments, self.rates, self._steps, number)
            else:
                self._plain(parameter, gradient.float(), *moments)

    def _plain(self, parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor) -> None:
        rates = self.rates
        first.lerp_(gradient, 1 - rates.beta1)
        second.mul_(rates.beta2).addcmul_(gradient, gradient, value=1 - rates.beta2)
        scale = (second / (1 - rates.beta2**self._steps)).sqrt_().add_(rates.epsilon)
        moved = parameter.float().mul_(1 - rates.learning * rates.decay)
        moved.addcdiv_(first, scale, value=-rates.learning / (1 - rates.beta1**self._steps))
        if parameter.dtype == torch.bfloat16:
            bits = moved.view(torch.int32)
            bits += torch.randint_like(bits, 1 << 16)
            bits &= -(1 << 16)
        parameter.copy_(moved)
