"""Ways to call the lightning kernels, each with the same result, so that a mutant's fault can show in it.

All take `attend`, which is `lightning_attention`, then q and k [B, T, H, D], v [B, T, H, E], slopes [H] and a
scale, and return o [B, T, H, E].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Attend = Callable[..., tuple[Tensor, Tensor | None]]

BESIDE = 320
"""Tokens put before and behind each sequence by `apart`: more than any warm-up of its profiles."""


def whole(attend: Attend, q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, scale: float) -> Tensor:
    """One plain call."""
    return attend(q, k, v, slopes, scale=scale)[0]


def apart(attend: Attend, q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, scale: float) -> Tensor:
    """Between NaN, so that a read of what lies before or behind a sequence shows."""
    nan = float("nan")
    o = whole(attend, _between(q, nan), _between(k, nan), _between(v, nan), slopes, scale)
    return _between(o, 0.0)


def documents(attend: Attend, q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, scale: float) -> Tensor:
    """Sequences as documents packed in one, empty ones among them, between NaN."""
    import torch

    batch, length = q.shape[:2]
    ends = [0, 0, *(length * (document + 1) for document in range(batch)), batch * length]
    ends.insert(3, length)
    cu_seqlens = torch.tensor(ends, dtype=torch.int64, device=q.device)
    nan = float("nan")
    packed = (_between(x.flatten(0, 1)[None], nan) for x in (q, k, v))
    o = attend(*packed, slopes, scale=scale, cu_seqlens=cu_seqlens)[0]
    return _between(o, 0.0).unflatten(1, (batch, length)).flatten(0, 1)


def halves(attend: Attend, q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, scale: float) -> Tensor:
    """Two calls for two ragged parts of the sequences, the state handed from one to the other."""
    import torch

    cut = q.shape[1] // 2 + 19
    parts = [[x[:, :cut] for x in (q, k, v)], [x[:, cut:] for x in (q, k, v)]]
    first, state = attend(*parts[0], slopes, scale=scale, output_final_state=True)
    second, _ = attend(*parts[1], slopes, scale=scale, initial_state=state)
    return torch.cat([first, second], 1)


def _between(x: Tensor, number: float) -> Tensor:
    """x as a view between tokens that hold a number (zero in its gradient)."""
    import torch

    beside = torch.full_like(x[:, :1], number).expand(-1, BESIDE, -1, -1)
    return torch.cat([beside, x, beside], 1)[:, BESIDE:-BESIDE]
