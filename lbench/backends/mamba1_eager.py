"""Mamba's selective scan in plain torch: blocks side by side, their steps in sequence.

A segment of the sequence is computed again for the backward, as its states would fill the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 16
"""Tokens of a block, walked one by one in all blocks at once."""
STATE_NUMBERS = {"cpu": 1 << 21, "cuda": 1 << 26}
"""fp32 state numbers of all tokens of a segment, which a segment holds several times."""


def scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, segment: int) -> Tensor:
    """y [B, T, H, E] from x, dt [B, T, H, E], A [H, E, N] fp32, B and C [B, T, N]; all work in fp32."""
    import torch

    state = torch.zeros(x.shape[0], *A.shape, device=x.device)
    return carried(x, dt, A, B, C, state, segment)[0]


def carried(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, segment: int
) -> tuple[Tensor, Tensor]:
    """As `scan`, from a state [B, H, E, N] on: y and the state after the last token."""
    import torch
    from torch.utils.checkpoint import checkpoint

    outputs = []
    for pieces in zip(*(tensor.split(segment, 1) for tensor in (x, dt, B, C)), strict=True):
        y, state = checkpoint(_segment, *pieces, A, state, use_reentrant=False)
        outputs.append(y)
    return torch.cat(outputs, 1), state


def _segment(x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    import torch
    from torch.nn import functional

    length, dtype = x.shape[1], x.dtype
    block = min(BLOCK, length)
    padding = -length % block
    # [B, T, H, E] -> [B, N, block, H, E]
    x, dt = (functional.pad(y, (0, 0, 0, 0, 0, padding)).unflatten(1, (-1, block)).float() for y in (x, dt))
    B, C = (functional.pad(y, (0, 0, 0, padding)).unflatten(1, (-1, block)).float() for y in (B, C))
    decay = (dt.unsqueeze(-1) * A).exp()  # [B, N, block, H, E, state]
    added = (dt * x).unsqueeze(-1) * B[:, :, :, None, None, :]
    # Within a block, from a state of zero; what the state before it leaves is added below.
    h = torch.zeros_like(added[:, :, 0])
    inside = []
    for step_decay, step_added in zip(decay.unbind(2), added.unbind(2), strict=True):
        h = step_decay * h + step_added
        inside.append(h)
    kept = (dt.cumsum(2).unsqueeze(-1) * A).exp()
    starts = []
    for block_kept, block_added in zip(kept[:, :, -1].unbind(1), inside[-1].unbind(1), strict=True):
        starts.append(state)
        state = block_kept * state + block_added
    whole = torch.stack(inside, 2) + kept * torch.stack(starts, 1).unsqueeze(2)
    y = (whole * C[:, :, :, None, None, :]).sum(-1)
    return y.flatten(1, 2)[:, :length].to(dtype), state


def _step(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    dt = dt[:, 0, :, :, None].float()
    added = dt * x[:, 0, :, :, None].float() * B[:, 0, None, None, :].float()
    state = (dt * A).exp() * state + added
    y = (state * C[:, 0, None, None, :].float()).sum(-1)
    return y.unsqueeze(1).to(x.dtype), state


def _build(case: Case, constants: Mapping[str, Tensor]) -> Forward:
    if case.pass_name == "decode":
        return _step
    token = case.batch * case.heads * case.head_dim_v * 16
    segment = max(STATE_NUMBERS[case.device] // token // BLOCK, 1) * BLOCK
    if case.pass_name == "prefill":
        return lambda x, dt, A, B, C, state: carried(x, dt, A, B, C, state, segment)
    return lambda x, dt, A, B, C: scan(x, dt, A, B, C, segment)


BACKEND = Backend(
    mechanism="mamba1",
    title="Mamba, eager torch",
    marker="s",
    build=_build,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        dtypes=("bf16", "fp16", "fp32"),
        devices=("cuda", "cpu"),
        carries=True,
    ),
)
