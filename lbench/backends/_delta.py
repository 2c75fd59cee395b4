"""The delta rule in plain torch: the chunked form of arXiv 2406.06484 and 2412.06464, and a decoding step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Forward
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 64
SEGMENT_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 28}
"""Elements of a tensor worked on at once: temporaries stay in a CPU's cache, or well within a GPU."""


def chunked(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None = None) -> Tensor:
    """o [B, T, H, E] from scaled q, k [B, T, H, D], v [B, T, H, E], beta and log gates g [B, T, H].

    Within a block, values lose what the state answers for their keys: u = T (beta v) - T (beta k) S, with
    T = (1 + tril(beta k k^T))^-1 for all blocks at once. T, gates and state are fp32, products in q's dtype.
    """
    import torch

    state = torch.zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[-1], dtype=torch.float32, device=q.device)
    return carried(q, k, v, beta, state, g)[0]


def carried(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor, g: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """As `chunked`, from a state [B, H, D, E] on: o and the state after the last token."""
    import torch

    batch, _, heads, dim = q.shape
    per_token = batch * heads * max(dim, v.shape[-1])
    segment = max(SEGMENT_ELEMENTS[q.device.type] // per_token // BLOCK, 1) * BLOCK
    g = torch.zeros_like(beta, dtype=torch.float32) if g is None else g
    outputs = []
    parts = [x.split(segment, 1) for x in (q, k, v, beta, g)]
    for q_part, k_part, v_part, beta_part, g_part in zip(*parts, strict=True):
        o, state = _segment(q_part, k_part, v_part, beta_part, g_part, state)
        outputs.append(o)
    return torch.cat(outputs, 1), state


def step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor, g: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One token of scaled q: o [B, 1, H, E] and the new state [B, H, D, E], computed in fp32."""
    if g is not None:
        state = g[:, 0, :, None, None].exp() * state
    k_row = k.float().transpose(1, 2)  # [B, H, 1, D]
    missing = v.float().transpose(1, 2) - k_row @ state
    state = state + k_row.mT @ (beta.float().transpose(1, 2).unsqueeze(-1) * missing)
    o = q.float().transpose(1, 2) @ state
    return o.transpose(1, 2).to(v.dtype), state


def build(case: Case, _: Mapping[str, Tensor]) -> Forward:
    """The function of a case; tensors come by name, `g` where the mechanism has it."""
    scale = case.head_dim**-0.5
    if case.pass_name == "decode":
        return lambda q, **others: step(q.float() * scale, **others)
    if case.pass_name == "prefill":
        return lambda q, **others: carried(q * scale, **others)
    return lambda q, **others: chunked(q * scale, **others)


def _segment(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    import torch

    length, dtype = q.shape[1], q.dtype
    block = min(BLOCK, length)
    q, k, v, beta, g = (_in_blocks(x, block) for x in (q, k, v, beta.unsqueeze(-1), g.unsqueeze(-1)))
    summed = g.float().cumsum(3)  # [B, H, N, block, 1]
    total = summed[..., -1:, :]
    decay = (summed - summed.mT).tril().exp().tril()
    wide = k.float()
    lower = (beta * (wide @ wide.mT) * decay).tril(-1)
    one = torch.eye(block, dtype=torch.float32, device=q.device).expand_as(lower)
    inverse = torch.linalg.solve_triangular(lower + one, one, upper=False, unitriangular=True).to(dtype)
    w = inverse @ (k * beta * summed.exp()).to(dtype)
    u = inverse @ (v * beta)
    to_end = (k * (total - summed).exp()).to(dtype)
    starts, added = [], []
    for index, kept in enumerate(total.exp().unbind(2)):
        start = state.to(dtype)
        value = u[:, :, index] - w[:, :, index] @ start
        starts.append(start)
        added.append(value)
        state = kept * state + to_end[:, :, index].mT @ value
    scores = ((q @ k.mT) * decay).to(dtype)
    o = scores @ torch.stack(added, 2) + (q * summed.exp()).to(dtype) @ torch.stack(starts, 2)
    return o.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :length], state


def _in_blocks(x: Tensor, block: int) -> Tensor:
    """[B, T, H, X] -> [B, H, N, block, X], filled up with zeros."""
    from torch.nn import functional

    padded = functional.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % block))
    return padded.unflatten(1, (-1, block)).permute(0, 3, 1, 2, 4)
