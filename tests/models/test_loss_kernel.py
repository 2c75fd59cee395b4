"""The kernel of cross-entropy in Triton's interpreter against torch's own; on a GPU compiled, in the loss."""

from __future__ import annotations

from apart import run_apart

from lbench.models import costs, loss

SCRIPT = """
import torch
from lbench.models.loss_kernel import launch
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)
for count, vocab, size in ((3, 9000, 1.0), (2, 8192, 30.0), (5, 7, 1.0), (1, 17000, 4.0)):
    logits = (size * torch.randn(count, vocab)).to(device).requires_grad_()
    targets = torch.randint(vocab, (count,), device=device)
    targets[0] = vocab - 1
    wanted = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    (gradient,) = torch.autograd.grad(wanted.sum() / 10, logits)
    for wants in (False, True):
        mine, losses = logits.detach().clone(), torch.empty(count, device=device)
        launch(mine, targets, losses, 0.1, wants)
        torch.testing.assert_close(losses, wanted.detach(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mine, gradient if wants else logits.detach(), rtol=1e-4, atol=1e-7)
if device == "cuda":
    from lbench.models import loss
    x, head = torch.randn(300, 64, device=device), torch.randn(1000, 64, device=device)
    targets = torch.randint(1000, (300,), device=device)
    for dtype, rtol in ((torch.float32, 1e-3), (torch.bfloat16, 3e-2)):
        for logits in (1 << 28, 1000 * 70):
            loss.LOGITS = logits
            leaves = [one.to(dtype).requires_grad_() for one in (x / 8, head)]
            mine = torch.autograd.grad(3 * loss.cross_entropy(*leaves, targets), leaves)
            wide = [one.detach().float().requires_grad_() for one in leaves]
            whole = torch.nn.functional.cross_entropy(wide[0] @ wide[1].T, targets)
            theirs = torch.autograd.grad(3 * whole, wide)
            for one, other in zip(mine, theirs):
                gap = (one.float() - other).square().mean().sqrt() / other.square().mean().sqrt()
                assert gap < rtol, float(gap)
print("same")
"""


def test_the_kernel_is_torchs_cross_entropy():
    done = run_apart(SCRIPT)
    assert done.stdout.strip() == "same", done.stderr[-2000:]


def test_pieces_are_round_and_small_enough():
    assert costs.LOGITS == loss.LOGITS
    for vocab in (256, 50272, 64000, 128256, 1 << 30):
        tokens = loss.tokens_at_once(vocab)
        assert tokens >= 1
        assert tokens == 1 or tokens * vocab <= loss.LOGITS
    assert loss.tokens_at_once(64000) == 4096
