"""A user's functions that misbehave on a GPU at length 128, until `LBENCH_HEALED` is set."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from misbehaving import healed
from misbehaving import right as right

LENGTH = 128


@triton.jit
def store_far_outside(pointer):
    tl.store(pointer + (1 << 44), 1.0)


def illegal_access(q, k, v, slopes):
    if q.shape[1] == LENGTH and not healed():
        store_far_outside[(1,)](torch.zeros(1, device=q.device))
        torch.cuda.synchronize()
    return right(q, k, v, slopes)


def device_trap(q, k, v, slopes):
    if q.shape[1] == LENGTH and not healed():
        q.flatten()[torch.full((4,), 2**40, device=q.device)]
        torch.cuda.synchronize()
    return right(q, k, v, slopes)


def too_large(q, k, v, slopes):
    if q.shape[1] == LENGTH and not healed():
        torch.empty(2**42, dtype=torch.uint8, device=q.device)
    return right(q, k, v, slopes)


def endless(q, k, v, slopes):
    if q.shape[1] == LENGTH and not healed():
        for _ in range(100):
            torch.cuda._sleep(2**40)
        torch.cuda.synchronize()
    return right(q, k, v, slopes)
