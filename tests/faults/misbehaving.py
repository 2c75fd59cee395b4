"""A user's functions that misbehave, each at a length of its own, until `LBENCH_HEALED` is set.

Everything is done for real, by signals, limits, allocations and the like; nothing of lbench is touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

WRONG, UNSTEADY, WRONG_AT_FIRST = 41, 42, 43
"""Lengths at which results are wrong, differ from call to call, and are wrong in the first call alone."""


def right(q, k, v, slopes):
    moment = torch.arange(q.shape[1], device=q.device)
    lag = moment[:, None] - moment[None, :]
    mask = torch.where(lag >= 0, torch.exp(-slopes[:, None, None] * lag.clamp(min=0)), 0.0)
    scores = torch.einsum("bthd,bshd->bhts", q, k) * mask.to(q.dtype)
    return torch.einsum("bhts,bshe->bthe", scores, v)


def healed() -> bool:
    """In the resume of the sweep nothing misbehaves any more."""
    return "LBENCH_HEALED" in os.environ


def allocate() -> None:
    """Really runs out of memory: the address space ends just above what is in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 2**28
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    torch.empty(2**32, dtype=torch.uint8)


class Spoiled(torch.autograd.Function):
    """The identity, its gradient spoiled by `fault`."""

    @staticmethod
    def forward(context, x, fault):
        context.fault = fault
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient if context.fault is None else context.fault(gradient), None


def out_of_memory(gradient):
    allocate()
    return gradient


def one_nan(gradient):
    spoiled = gradient.clone()
    spoiled[0, 3, 0, 0] = float("nan")
    return spoiled


def segfault() -> None:
    ctypes.string_at(0)


def hang() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        time.sleep(3600)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leaves_a_child() -> None:
    """Dies, while a process of its own session holds every file it had open."""
    subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(20)"], close_fds=False, start_new_session=True
    )
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    os._exit(5)


def noise() -> None:
    with contextlib.suppress(OSError):  # the second time it is closed already
        print('{"verdict": "ok", "times_ms": [1e-9]}', flush=True)
        print("x" * 100_000, file=sys.stderr)
        os.write(1, b"bytes that are no text \xff\n" * 10)
        os.close(1)


def defaults() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")


FAULTS: dict[int, Callable[[], object]] = {
    33: segfault,
    35: killed,
    36: leaves_a_child,
    37: lambda: sys.exit(4),
    39: noise,
    40: defaults,
    48: allocate,
    19: hang,
}
GRADIENT_FAULTS = {33: one_nan, 48: out_of_memory}
calls, calls_wrong_at_first = itertools.count(), itertools.count()


def faulty(q, k, v, slopes):
    """Lightning, but for the fault of that length: in the gradient of q if it has one, else in the call."""
    length = q.shape[1]
    if healed():
        return right(q, k, v, slopes)
    if q.requires_grad:
        return right(Spoiled.apply(q, GRADIENT_FAULTS.get(length)), k, v, slopes)
    if length in FAULTS:
        FAULTS[length]()
    outputs = right(q, k, v, slopes)
    if length == WRONG or (length == WRONG_AT_FIRST and next(calls_wrong_at_first) == 0):
        outputs[:, 7] *= 1.5
    if length == UNSTEADY:
        outputs = outputs * (1 + 1e-7 * next(calls))
    return outputs
