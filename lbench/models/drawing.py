"""Weights at initialisation, drawn where they are to lie: a GPU takes milliseconds for billions."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from lbench.models.pieces import Weights
from lbench.models.spec import CONV_TOKENS, Model, Shapes


def draw(model: Model, seed: int, device: Any, dtype: torch.dtype) -> tuple[Weights, list[Weights]]:
    """Weights of a model at initialisation: outside the blocks, and block by block."""
    chance = torch.Generator(device).manual_seed(seed)
    # Rows of length 1 / root(width) keep logits near zero, a tied row's own too: the first loss is ln(vocab).
    stds = {"embed": 1 / model.width, "head": 1 / model.width}
    top = _drawn(model.weights, chance, device, dtype, stds)
    return top, [_drawn(layer.weights, chance, device, dtype, {}) for layer in model.blocks]


def _drawn(
    shapes: Shapes, chance: torch.Generator, device: Any, dtype: torch.dtype, stds: dict[str, float]
) -> Weights:
    made: Weights = {}
    for name, shape in shapes.items():
        tensor = torch.empty(shape, device=device, dtype=dtype)
        if name.endswith("norm") or name == "skip":
            tensor.fill_(1.0)
        elif name == "theta":
            rate = torch.arange(prod(shape), device=device, dtype=torch.float64).reshape(shape)
            tensor.copy_(10_000.0 ** (-2 * rate / prod(shape)))
        elif name == "A" or name.endswith("_rate"):
            steps = torch.arange(1, shape[-1] + 1, device=device, dtype=torch.float64).log()
            tensor.copy_(steps.clamp(max=2.8).expand(shape))
        elif name in ("dt_bias", "g_bias") and "g_up" not in shapes:
            # softplus of it lies around 0.001 to 0.1: Mamba's time steps, Gated DeltaNet's gates.
            tensor.uniform_(-6.9, -2.3, generator=chance)
        elif name.endswith("bias"):
            tensor.zero_()
        elif name == "conv":
            tensor.uniform_(-(CONV_TOKENS**-0.5), CONV_TOKENS**-0.5, generator=chance)
        else:
            # A projection keeps the size of what it projects, at any width.
            tensor.normal_(0.0, stds.get(name, shape[-1] ** -0.5), generator=chance)
        made[name] = tensor
    return made
