"""Mamba-2's state-space dual in plain torch: masked products in blocks, a loop for the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = {"cpu": 64, "cuda": 128}
"""Tokens of a block; larger on a GPU, where each turn of the loop over states is a launch."""
SEGMENT_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 28}
"""Elements of a tensor worked on at once: temporaries stay in a CPU's cache, or well within a GPU."""


def chunked(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y [B, T, H, P] from x [B, T, H, P], dt [B, T, H] fp32, A [H] fp32, B and C [B, T, N]."""
    import torch

    state = torch.zeros(x.shape[0], x.shape[2], B.shape[-1], x.shape[3], dtype=torch.float32, device=x.device)
    return carried(x, dt, A, B, C, state)[0]


def carried(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """As `chunked`, from a state [B, H, N, P] on: y and the state after the last token."""
    import torch

    batch, length, heads, dim_v = x.shape
    block = min(BLOCK[x.device.type], length)
    per_token = batch * heads * max(dim_v, B.shape[-1])
    segment = max(SEGMENT_ELEMENTS[x.device.type] // per_token // block, 1) * block
    outputs = []
    parts = [tensor.split(segment, 1) for tensor in (x, dt, B, C)]
    for x_part, dt_part, B_part, C_part in zip(*parts, strict=True):
        y, state = _segment(x_part, dt_part, B_part, C_part, A, state, block)
        outputs.append(y)
    return torch.cat(outputs, 1), state


def _segment(
    x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor, state: Tensor, block: int
) -> tuple[Tensor, Tensor]:
    import torch
    from torch.nn import functional

    length, dtype = x.shape[1], x.dtype
    padding = -length % block
    # [B, T, H, P] -> [B, N, H, block, P] and [B, T, H] -> [B, N, H, block]
    x = functional.pad(x, (0, 0, 0, 0, 0, padding)).unflatten(1, (-1, block)).transpose(2, 3)
    dt = functional.pad(dt.float(), (0, 0, 0, padding)).unflatten(1, (-1, block)).transpose(2, 3)
    # B and C are shared by all heads: [B, N, 1, block, D]
    B, C = (functional.pad(y, (0, 0, 0, padding)).unflatten(1, (-1, block)).unsqueeze(2) for y in (B, C))
    summed = (dt * A[:, None]).cumsum(-1)
    future = torch.ones(block, block, dtype=torch.bool, device=x.device).triu(1)
    decay = (summed.unsqueeze(-1) - summed.unsqueeze(-2)).masked_fill(future, float("-inf")).exp()
    scores = ((C @ B.mT) * decay * dt.unsqueeze(-2)).to(dtype)
    intra = scores @ x
    to_end = ((summed[..., -1:] - summed).exp() * dt).unsqueeze(-1)  # [B, N, H, block, 1]
    added = B.mT @ (x * to_end).to(dtype)  # [B, N, H, D, P]
    starts = []
    for block_added, kept in zip(added.unbind(1), summed[..., -1].exp().unbind(1), strict=True):
        starts.append(state.to(dtype))
        state = kept[..., None, None] * state + block_added
    inter = (C @ torch.stack(starts, 1)) * summed.exp().unsqueeze(-1)
    return (intra + inter).to(dtype).transpose(2, 3).flatten(1, 2)[:, :length], state


def _step(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    dt = dt[:, 0, :, None, None]
    added = dt * B[:, 0, None, :, None].float() * x[:, 0, :, None, :].float()
    state = (dt * A[:, None, None]).exp() * state + added
    y = C[:, 0, None, None, :].float() @ state
    return y.transpose(1, 2).to(x.dtype), state


def _build(case: Case, constants: Mapping[str, Tensor]) -> Forward:
    if case.pass_name == "decode":
        return _step
    if case.pass_name == "prefill":
        return carried
    return lambda x, dt, A, B, C: chunked(x, dt, A, B, C)


BACKEND = Backend(
    mechanism="mamba2",
    title="Mamba-2, eager torch",
    marker="s",
    build=_build,
    limits=Limits(
        passes=("fwd", "bwd", "fwdbwd", "decode"),
        dtypes=("bf16", "fp16", "fp32"),
        devices=("cuda", "cpu"),
        carries=True,
    ),
)
