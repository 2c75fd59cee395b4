"""What blocks are made of beside matrices: activations, norms, positions, the short convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lbench.mechanisms.gla import GATE_NORMALIZER

EPSILON = 1e-6
LRPE_TOKENS = 8192
"""Tokens whose angles exist at once: all of a long sequence's in fp32 would be its largest tensors."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "linear": lambda x: x,
    "silu": functional.silu,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "softplus": functional.softplus,
    "log_gate": lambda x: functional.logsigmoid(x) / GATE_NORMALIZER,
    "log_sigmoid": functional.logsigmoid,
    "l2": lambda x: functional.normalize(x, dim=-1),
    "negative_exp": lambda x: -x.float().exp(),
}


def norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """x over its root mean square along the last axis, times `weight` where there is one."""
    return functional.rms_norm(x, (x.shape[-1],), weight, EPSILON)


def rope_table(dim: int, base: float, first: int, count: int, device: Any) -> tuple[Tensor, Tensor]:
    """Cosines and sines [count, 1, dim / 2] of positions from `first` on, fp32."""
    rate = base ** (-torch.arange(0, dim, 2, device=device, dtype=torch.float64) / dim)
    angle = torch.arange(first, first + count, device=device, dtype=torch.float64)[:, None, None] * rate
    return angle.cos().float(), angle.sin().float()


def rope(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """x [B, T, H, D] with its two halves turned by the angles of the table."""
    cos, sin = (part.to(x.dtype) for part in table)
    left, right = x.chunk(2, -1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), -1)


def lrpe(x: Tensor, theta: Tensor, first: int) -> Tensor:
    """x [B, T, H, D] -> [x cos(theta pos), x sin(theta pos)] [B, T, H, 2 D], theta [H, D] learned."""
    return _Lrpe.apply(x, theta, first)


class _Lrpe(torch.autograd.Function):
    """Keeps x alone: angles are made again for the backward, some tokens at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, theta: Tensor, first: int) -> Tensor:
        ctx.save_for_backward(x, theta)
        ctx.first = first
        out = x.new_empty(*x.shape[:-1], 2 * x.shape[-1])
        for times in _pieces(x.shape[1]):
            cos, sin, _ = _angles(theta, first, times, x)
            out[:, times, :, : x.shape[-1]] = x[:, times] * cos
            out[:, times, :, x.shape[-1] :] = x[:, times] * sin
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,) = gradients
        x, theta = ctx.saved_tensors
        dx, dtheta = torch.empty_like(x), torch.zeros_like(theta, dtype=torch.float32)
        for times in _pieces(x.shape[1]):
            cos, sin, position = _angles(theta, ctx.first, times, x)
            of_cos, of_sin = gradient[:, times].chunk(2, -1)
            dx[:, times] = of_cos * cos + of_sin * sin
            turned = (x[:, times] * (of_sin * cos - of_cos * sin)).float()
            dtheta += (turned * position).sum((0, 1))
        return dx, dtheta.to(theta.dtype), None


def _pieces(length: int) -> list[slice]:
    return [slice(at, min(at + LRPE_TOKENS, length)) for at in range(0, length, LRPE_TOKENS)]


def _angles(theta: Tensor, first: int, times: slice, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    position = torch.arange(first + times.start, first + times.stop, device=x.device)[:, None, None].float()
    angle = position * theta.float()
    return angle.cos().to(x.dtype), angle.sin().to(x.dtype), position


def short_conv(x: Tensor, weight: Tensor, bias: Tensor, tail: Tensor | None) -> Tensor:
    """Causal convolution of each channel of x [B, T, C]; `tail` [B, 3, C] are the tokens before it.

    A sum of shifted products: torch's grouped convolution would want the channels before the time.
    """
    seen = weight.shape[-1]
    before = x.new_zeros(x.shape[0], seen - 1, x.shape[2]) if tail is None else tail
    padded = torch.cat((before, x), 1)
    out = bias + padded[:, : x.shape[1]] * weight[:, 0, 0]
    for lag in range(1, seen):
        out = out + padded[:, lag : lag + x.shape[1]] * weight[:, 0, lag]
    return out


def new_tail(x: Tensor, tail: Tensor | None, seen: int) -> Tensor:
    """The last tokens of x [B, T, C], and of `tail` where x is shorter, for the next piece."""
    before = x.new_zeros(x.shape[0], seen - 1, x.shape[2]) if tail is None else tail
    return torch.cat((before, x), 1)[:, -(seen - 1) :].contiguous()
