"""flash-linear-attention, with the switches that choose kernels behind a caller's back pinned."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from typing import Any

from lbench.backends.spec import Limits, Unsupported

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

DELTA_KERNELS = {
    "fwd": ("^chunk_gated_delta_rule_fwd_kernel_h", "^chunk_fwd_kernel_o"),
    "bwd": ("^chunk_gated_delta_rule_bwd_kernel_dhu", "^chunk_bwd_kernel_dqkwg"),
}
"""GPU kernels of fla's delta rule, with a gate and without."""
DELTA_LIMITS = Limits(dtypes=("bf16", "fp16"), head_dim=(16, 256), capability=((8, 0), (99, 9)))
"""Without a gate fla refuses fp32, with one it is untested there; key dims beyond 256 are refused by both."""

RECURRENT_LIMITS = Limits(
    passes=("fwd", "bwd", "fwdbwd", "decode"),
    dtypes=("bf16", "fp16", "fp32"),
    head_dim=(16, 512),
    capability=((8, 0), (99, 9)),
)
"""Of fla's kernels that go token by token."""


def load(path: str) -> Callable[..., Any]:
    """The function at `module.function` of `fla.ops`, imported under `SWITCHES`."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    module, _, function = path.rpartition(".")
    return getattr(importlib.import_module(f"fla.ops.{module}"), function)


def refuse_wrong_gradients() -> None:
    """Unsupported where fla refuses to compute the gradients of its gated delta rule (fla issue 640).

    Triton 3.4 to 3.7.0 compiles their kernel wrongly for Hopper; fla says so only after minutes of tuning.
    """
    import torch
    import triton

    version = tuple(int(part) for part in re.findall(r"\d+", triton.__version__)[:3])
    hopper = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)
    if hopper and (3, 4) <= version < (3, 7, 1):
        raise Unsupported(
            f"gradients with Triton {triton.__version__} on Hopper (compiled wrongly; has 3.7.1 and newer)"
        )
