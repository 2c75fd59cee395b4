"""Backends of a user that are right, but for one length at which each fails for real."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

import torch

LENGTH = int(os.environ.get("FAULTY_LENGTH", "16384"))


def crashes(q: Any, k: Any, v: Any, slopes: Any) -> Any:
    """A segmentation fault."""
    if q.shape[1] == LENGTH:
        ctypes.string_at(0)
    return _attend(q, k, v, slopes)


def hangs(q: Any, k: Any, v: Any, slopes: Any) -> Any:
    """A kernel that spins for hours; on a CPU a call that never returns."""
    if q.shape[1] == LENGTH and q.is_cuda:
        for _ in range(100):
            torch.cuda._sleep(2**40)
        torch.cuda.synchronize()
    while q.shape[1] == LENGTH:
        time.sleep(60)
    return _attend(q, k, v, slopes)


def takes_all_memory(q: Any, k: Any, v: Any, slopes: Any) -> Any:
    """Allocations until there is none to be had."""
    if q.shape[1] == LENGTH:
        blocks = [q.new_empty(2**44 if not q.is_cuda else 2**30)]
        while True:
            blocks.append(torch.empty_like(blocks[0]))
    return _attend(q, k, v, slopes)


def _attend(q: Any, k: Any, v: Any, slopes: Any) -> Any:
    if q.is_cuda:
        from lightning_attention import lightning_attention

        return lightning_attention(q, k, v, slopes)
    steps = torch.arange(q.shape[1])
    gaps = (steps[:, None] - steps[None, :]).clamp(min=0)
    decay = torch.exp(-slopes[:, None, None] * gaps).tril().to(q.dtype)
    return torch.einsum("bthd,bshd,hts,bshe->bthe", q, k, decay, v)
