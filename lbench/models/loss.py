"""Cross-entropy of a language model's head without its logits: some tokens at a time, gradients at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LOGITS = 1 << 28
"""Logits that exist at once."""
ROUND = 1024


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
        count, step = x.shape[0], tokens_at_once(head.shape[0])
        loss = x.new_zeros((), dtype=torch.float32)
        dx = torch.empty_like(x) if wants_gradients else None
        # A single piece needs no sum.
        dhead = torch.zeros_like(head, dtype=torch.float32) if wants_gradients and step < count else None
        of_piece = None
        for at in range(0, count, step):
            piece = x[at : at + step]
            part, given = _of_logits(piece @ head.T, targets[at : at + step], count, wants_gradients)
            loss += part
            if dx is None:
                continue
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


def tokens_at_once(vocab: int) -> int:
    """Tokens whose logits exist at once; a round number, which matrix products like."""
    count = max(LOGITS // vocab, 1)
    return count - count % ROUND if count > ROUND else count


def _of_logits(logits: Tensor, targets: Tensor, count: int, wants_gradients: bool) -> tuple[Tensor, Tensor]:
    """The sum of the losses of some tokens, and the gradient of all `count` tokens' mean in their logits."""
    if logits.is_cuda:
        from lbench.models.loss_kernel import launch

        losses = torch.empty(logits.shape[0], dtype=torch.float32, device=logits.device)
        launch(logits, targets, losses, 1 / count, wants_gradients)
        return losses.sum(), logits
    aims, wide = targets[:, None], logits.float()
    total = wide.logsumexp(-1, keepdim=True)
    loss = (total - wide.gather(1, aims)).sum()
    p = wide.sub_(total).exp_()
    p.scatter_add_(1, aims, torch.full_like(total, -1.0))
    return loss, (p / count).to(logits.dtype)
