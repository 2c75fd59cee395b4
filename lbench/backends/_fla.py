"""flash-linear-attention, with the switches that choose kernels behind a caller's back pinned."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

SWITCHES = {
    "FLA_DISABLE_BACKEND_DISPATCH": "1",
    "FLA_USE_FAST_OPS": "0",
    "FLA_USE_TMA": "0",
    "FLA_CACHE_MODE": "disabled",
}
"""Environment variables fla reads when it is imported: no other package's kernels instead of its own, exact
exponentials, plain loads, autotuning instead of stored configurations. A value set by the caller stands."""

CHUNK_KERNELS = {
    "fwd": ("^chunk_fwd_kernel_h", "^chunk_fwd_kernel_o"),
    "bwd": ("^chunk_bwd_kernel_dh", "^chunk_bwd_kernel_dqkwg", "^chunk_bwd_kernel_dv"),
}
"""GPU kernels of fla's simple_gla, which serves linear attention and retention too."""


def load(path: str) -> Callable[..., Any]:
    """The function at `module.function` of `fla.ops`, imported under `SWITCHES`."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    module, _, function = path.rpartition(".")
    return getattr(importlib.import_module(f"fla.ops.{module}"), function)
