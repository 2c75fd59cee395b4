"""torch's scaled_dot_product_attention, pinned to exactly one of its implementations."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Forward, Unsupported
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

IMPLEMENTATIONS = ("flash", "mem_efficient", "math", "cudnn")
"""As torch names its switches: torch.backends.cuda.enable_flash_sdp ... They hold for the CPU too."""


def build(implementation: str) -> Callable[[Case, Mapping[str, Tensor]], Forward]:
    """The `build` of a backend for one of `IMPLEMENTATIONS`.

    Its function takes and returns `[B, H, T, D]` (keys and values with kv_heads). A decoding step first
    writes the new token into the free slot of the cache; its one query then sees the whole cache, so no mask
    is needed.
    `build` raises `Unsupported` with torch's own reasons where this machine has no such kernel.
    """
    return lambda case, _: _build_pinned(implementation, case)


def _build_pinned(implementation: str, case: Case) -> Forward:
    from torch.nn.functional import scaled_dot_product_attention

    grouped = case.kv_heads != case.heads

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with _pin(implementation):
            return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)

    def step(q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tensor:
        k_cache[:, :, -1:] = k
        v_cache[:, :, -1:] = v
        with _pin(implementation):
            return scaled_dot_product_attention(q, k_cache, v_cache, enable_gqa=grouped)

    if case.pass_name == "decode":
        _probe(case, lambda q, k, v: step(q, k[:, :, -1:], v[:, :, -1:], k, v))
        return step
    _probe(case, forward)
    return forward


@contextlib.contextmanager
def _pin(implementation: str) -> Iterator[None]:
    # torch.nn.attention.sdpa_kernel does the same, but its 30 us a call are as long as a short forward.
    from torch.backends import cuda

    switches = [getattr(cuda, f"enable_{name}_sdp") for name in IMPLEMENTATIONS]
    try:
        for name, switch in zip(IMPLEMENTATIONS, switches, strict=True):
            switch(name == implementation)
        yield
    finally:
        for switch in switches:
            switch(True)


def _probe(case: Case, forward: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Calls the pinned implementation on 64 tokens; torch decides by dtype, head dims and grouping."""
    import torch

    from lbench.mechanisms.draws import dtype_of

    needs_grad = case.pass_name in ("bwd", "fwdbwd")
    q, k, v = (
        torch.zeros(1, heads, tokens, dim, dtype=dtype_of(case), device=case.device, requires_grad=needs_grad)
        for heads, tokens, dim in (
            (case.heads, 1 if case.pass_name == "decode" else 64, case.head_dim),
            (case.kv_heads, 64, case.head_dim),
            (case.kv_heads, 64, case.head_dim_v),
        )
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            forward(q, k, v)
        except RuntimeError as error:
            # The words on a GPU and on a CPU; anything else is a fault, not a limit.
            if "No available kernel" not in str(error) and "No viable backend" not in str(error):
                raise
            raise Unsupported(_reason(error, [str(warning.message) for warning in said])) from error


def _reason(error: RuntimeError, said: list[str]) -> str:
    """What torch says against the pinned implementation, without its notes on those switched off."""
    told = [text.split(" (Triggered internally")[0] for text in said]
    kept = [text for text in told if "not used because" not in text and "disabled" not in text]
    return " ".join(dict.fromkeys(kept)) or str(error).splitlines()[0]
