"""Which kernels run: chosen here, by hardware, versions and tensors, and nowhere else.

`plain` is Triton as it runs on every card and, for tests, in the interpreter. `hopper` (hopper_walk.py,
hopper_gradients.py) is written in Gluon for compute capability 9.0; it takes bf16 with D and E of 64 or 128,
the shapes of published models.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Iterator

import torch
import triton

PATHS = ("plain", "hopper")
HOPPER_DIMS = (64, 128)
# Tokens times heads: below, launching takes as long as the work, and `plain` launches faster.
HOPPER_LEAST = 2**13
# Gluon is young and changes with Triton's minor versions: these are the ones its kernels were run with.
HOPPER_TRITON = ((3, 6), (3, 9))

_forced: contextvars.ContextVar[str | None] = contextvars.ContextVar("forced", default=None)


@contextlib.contextmanager
def force_path(path: str) -> Iterator[None]:
    """Within it calls take this path; those it cannot serve raise ValueError. For tests and benchmarks."""
    if path not in PATHS:
        raise ValueError(f"path is {path!r}; allowed is one of {', '.join(PATHS)}")
    token = _forced.set(path)
    try:
        yield
    finally:
        _forced.reset(token)


def forced_path() -> str | None:
    """The path of `force_path`, or None."""
    return _forced.get()


def choose_path(q: torch.Tensor, v: torch.Tensor) -> str:
    """The path for q `[B, T, H, D]` and v `[B, T, H, E]`: `hopper` where it can, else `plain`."""
    forced = _forced.get()
    if forced == "plain":
        return "plain"
    if forced is None and q.shape[0] * q.shape[1] * q.shape[2] < HOPPER_LEAST:
        return "plain"
    reason = _why_not_hopper(q, v)
    if forced == "hopper" and reason:
        raise ValueError(f"path 'hopper' was asked for, but {reason}")
    return "plain" if reason else "hopper"


def _why_not_hopper(q: torch.Tensor, v: torch.Tensor) -> str:
    """Empty where the path `hopper` serves these tensors."""
    if reason := _why_no_hopper_here(q.device):
        return reason
    if q.dtype is not torch.bfloat16:
        return f"q is {q.dtype}; it takes torch.bfloat16"
    if q.shape[-1] not in HOPPER_DIMS or v.shape[-1] not in HOPPER_DIMS:
        return f"D = {q.shape[-1]}, E = {v.shape[-1]}; it takes {' and '.join(map(str, HOPPER_DIMS))}"
    return ""


@functools.cache
def _why_no_hopper_here(device: torch.device) -> str:
    if device.type != "cuda":
        return f"the tensors are on {device}"
    capability = torch.cuda.get_device_capability(device)
    if capability != (9, 0):
        return f"{device} has compute capability {capability[0]}.{capability[1]}; it takes 9.0"
    version = tuple(int(part) for part in triton.__version__.split(".")[:2])
    if version not in HOPPER_TRITON:
        versions = ", ".join(f"{major}.{minor}" for major, minor in HOPPER_TRITON)
        return f"Triton is {triton.__version__}; it takes {versions}"
    return ""
