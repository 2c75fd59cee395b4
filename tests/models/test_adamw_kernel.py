"""AdamW's kernel in Triton's interpreter against torch's own optimizer; on a GPU compiled."""

from __future__ import annotations

import pytest
import torch
from apart import run_apart

SCRIPT = """
import torch
from lbench.models.adamw import Rates
from lbench.models.adamw_kernel import launch
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)
weights = torch.randn(3, 1000, device=device)
mine, theirs = weights.clone(), torch.nn.Parameter(weights.clone())
rates = Rates(learning=1e-2)
moments = torch.zeros_like(mine), torch.zeros_like(mine)
optimizer = torch.optim.AdamW(
    [theirs], lr=rates.learning, betas=(rates.beta1, rates.beta2), eps=rates.epsilon, weight_decay=rates.decay
)
for step in range(1, 5):
    gradient = torch.randn_like(mine)
    launch(mine, gradient, moments, rates, step, 0)
    theirs.grad = gradient
    optimizer.step()
torch.testing.assert_close(mine, theirs.data, rtol=1e-5, atol=1e-6)
if device == "cuda":
    halves = torch.ones(20_000, dtype=torch.bfloat16, device=device)
    moments = torch.zeros_like(halves, dtype=torch.float32), torch.zeros_like(halves, dtype=torch.float32)
    for step in range(1, 21):
        launch(halves, torch.ones_like(halves), moments, Rates(learning=1e-4, decay=0.0), step, 0)
    assert abs(float(halves.float().mean()) - (1 - 20e-4)) < 2e-4, float(halves.float().mean())
print("same")
"""


def test_the_kernel_is_torchs_adamw():
    done = run_apart(SCRIPT)
    assert done.stdout.strip() == "same", done.stderr[-2000:]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_plain_step_is_torchs_adamw(dtype):
    from lbench.models.adamw import AdamW, Rates

    torch.manual_seed(0)
    weights, rates = torch.randn(50, 60, dtype=torch.float32), Rates(learning=1e-2)
    mine, theirs = weights.to(dtype), torch.nn.Parameter(weights.clone())
    ours = AdamW([mine], rates)
    optimizer = torch.optim.AdamW(
        [theirs], lr=rates.learning, betas=(0.9, 0.95), eps=rates.epsilon, weight_decay=rates.decay
    )
    for _ in range(4):
        theirs.grad = torch.randn_like(weights)
        ours.step([theirs.grad.to(dtype)])
        optimizer.step()
    tolerance = 1e-6 if dtype == torch.float32 else 4e-2
    torch.testing.assert_close(mine.float(), theirs.data, rtol=tolerance, atol=tolerance)
