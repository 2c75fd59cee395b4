"""Cross-entropy of a language model's head without its logits: some tokens at a time, gradients at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LOGITS = 1 << 28
"""Logits that exist at once."""


def cross_entropy(x: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Mean over tokens of -log softmax(x head^T)[target], fp32; x [N, D], head [V, D], targets [N].

    The gradients of x and head are made with the loss, piece by piece, so no logits are kept for the backward
    and none are made again. The head's is summed in fp32.
    """
    loss: Tensor = _CrossEntropy.apply(x, head, targets)
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        wants_gradients = any(ctx.needs_input_grad[:2])
        count, vocab = x.shape[0], head.shape[0]
        step = max(LOGITS // vocab, 1)
        loss = x.new_zeros((), dtype=torch.float32)
        dx = torch.empty_like(x) if wants_gradients else None
        # A single piece needs no sum.
        dhead = torch.zeros_like(head, dtype=torch.float32) if wants_gradients and step < count else None
        of_piece = None
        for at in range(0, count, step):
            piece, aims = x[at : at + step], targets[at : at + step, None]
            logits = (piece @ head.T).float()
            total = logits.logsumexp(-1, keepdim=True)
            loss += (total - logits.gather(1, aims)).sum()
            if dx is None:
                continue
            p = logits.sub_(total).exp_()
            p.scatter_add_(1, aims, torch.full_like(total, -1.0))
            given = (p / count).to(x.dtype)
            dx[at : at + step] = given @ head
            of_piece = given.T @ piece
            if dhead is not None:
                dhead += of_piece
        if dx is not None:
            ctx.save_for_backward(dx, of_piece if dhead is None else dhead.to(head.dtype))
        return loss / count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        dx, dhead = ctx.saved_tensors
        (scale,) = gradients
        return dx.mul_(scale), dhead.mul_(scale), None
