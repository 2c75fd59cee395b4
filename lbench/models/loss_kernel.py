"""Cross-entropy of logits as one Triton kernel, which leaves their gradient in their place."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 8192
NUM_WARPS = 32
"""Few programs at once: the logits of all that run then stay in the L2 between the two walks."""
LOWEST = -1e30
"""Below any logit."""


@triton.jit
def cross_entropy_kernel(
    logits, targets, losses, vocab, scale, GRADIENT: tl.constexpr, LOWEST: tl.constexpr, BLOCK: tl.constexpr
):
    """logits [N, vocab] dense, targets [N], losses [N] fp32; a program a token.

    Two walks over a token's logits: their largest and their sum, then the gradient. The second finds them in
    the L2. GRADIENT: logits become (softmax - one at the target) x scale.
    """
    row = tl.program_id(0).to(tl.int64)
    logits += row * vocab
    target = tl.load(targets + row)
    # Every column of a block has its own largest and sum, joined once at the end: -inf would give NaN.
    most = tl.full([BLOCK], LOWEST, tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocab, BLOCK):
        at = start + tl.arange(0, BLOCK)
        x = tl.load(logits + at, mask=at < vocab, other=-float("inf")).to(tl.float32)
        higher = tl.maximum(most, x)
        total = total * tl.exp(most - higher) + tl.exp(x - higher)
        most = higher
    highest = tl.max(most, 0)
    log_sum = highest + tl.log(tl.sum(total * tl.exp(most - highest), 0))
    tl.store(losses + row, log_sum - tl.load(logits + target).to(tl.float32))
    if GRADIENT:
        # The target's logit must have been read by every thread before one overwrites it.
        tl.debug_barrier()
        for start in range(0, vocab, BLOCK):
            at = start + tl.arange(0, BLOCK)
            x = tl.load(logits + at, mask=at < vocab, other=-float("inf")).to(tl.float32)
            given = (tl.exp(x - log_sum) - tl.where(at == target, 1.0, 0.0)) * scale
            tl.store(logits + at, given.to(logits.dtype.element_ty), mask=at < vocab)


def launch(logits: Tensor, targets: Tensor, losses: Tensor, scale: float, gradient: bool) -> None:
    """Fills `losses`; with `gradient` the logits [N, vocab] become their own gradient, times `scale`."""
    assert logits.is_contiguous()
    count, vocab = logits.shape
    cross_entropy_kernel[(count,)](
        logits,
        targets,
        losses,
        vocab,
        scale,
        GRADIENT=gradient,
        LOWEST=LOWEST,
        BLOCK=BLOCK,
        num_warps=NUM_WARPS,
    )
