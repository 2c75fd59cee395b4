"""A copy of the backend `lightning_triton` as a user's function, which can be made slower by extra bytes.

`planted.json` beside it says how many bytes a call copies more, by `BATCHxLENGTH` and pass; without the file
it is the backend as it is. On a CPU the recurrence is walked chunk by chunk in torch.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch

CHUNK = 64


def attention(q: Any, k: Any, v: Any, slopes: Any) -> Any:
    """Lightning attention, and the extra bytes."""
    batch, length = q.shape[:2]
    name = f"{batch}x{length},{'fwdbwd' if q.requires_grad else 'fwd'}"
    if extra := _planted().get(name):
        source, target = _buffers(extra, str(q.device))
        target.copy_(source)
    if q.is_cuda:
        from lightning_attention import lightning_attention

        return lightning_attention(q, k, v, slopes)
    return _walk(q, k, v, slopes)


@functools.cache
def _planted() -> dict[str, int]:
    path = Path(__file__).with_name("planted.json")
    return json.loads(path.read_text()) if path.is_file() else {}


@functools.cache
def _buffers(size_bytes: int, device: str) -> tuple[Any, Any]:
    """A copy of so many bytes reads and writes each once."""
    made = (torch.zeros(size_bytes // 2, dtype=torch.uint8, device=device) for _ in range(2))
    return tuple(made)  # type: ignore[return-value]


def _walk(q: Any, k: Any, v: Any, slopes: Any) -> Any:
    batch, length, heads, dim = q.shape
    state = q.new_zeros(batch, heads, dim, v.shape[-1])
    slopes = slopes.to(q.dtype)
    outputs = []
    for first in range(0, length, CHUNK):
        q_c, k_c, v_c = (tensor[:, first : first + CHUNK].transpose(1, 2) for tensor in (q, k, v))
        steps = torch.arange(q_c.shape[2], dtype=q.dtype)
        gaps = (steps[:, None] - steps[None, :]).clamp(min=0)
        decay = torch.exp(-slopes[:, None, None] * gaps).tril()
        carried = torch.exp(-slopes[:, None] * (steps + 1))[None, :, :, None]
        left = torch.exp(-slopes[:, None] * (len(steps) - 1 - steps))[None, :, :, None]
        outputs.append(((q_c @ k_c.transpose(2, 3)) * decay) @ v_c + (q_c * carried) @ state)
        state = torch.exp(-slopes * len(steps))[None, :, None, None] * state
        state = state + (k_c * left).transpose(2, 3) @ v_c
    return torch.cat(outputs, dim=2).transpose(1, 2)
