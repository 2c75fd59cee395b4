"""Calls the tests share, and what goes with them."""

from __future__ import annotations

import torch
from lightning_attention import lightning_attention

NAMES = ("q", "k", "v", "initial_state")


def call(x, *, state=True, cu_seqlens=None, final=True, scale=0.6):
    return lightning_attention(
        *x.sequence,
        scale=scale,
        initial_state=x.initial_state if state else None,
        output_final_state=final,
        cu_seqlens=cu_seqlens,
    )


def draw(tensors, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(t.shape, generator=generator).to(t.device, t.dtype) for t in tensors]


def detached(x, *, grad=False):
    for name in NAMES:
        setattr(x, name, getattr(x, name).detach().requires_grad_(grad))
    return x
