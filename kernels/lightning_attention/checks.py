"""What the public functions accept. Errors say what was given and what is allowed."""

from __future__ import annotations

import functools
import importlib.util
import math

import torch
from torch.autograd import forward_ad

from .facts import facts_of

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
MIN_DIM = 16
MAX_DIM = 256
LARGEST_SCALE = 1e15  # the backward pass divides by scale in fp32
MAX_TOKENS = 2**31 - 128  # positions are 32-bit, offsets 64-bit
LEAST = "least"  # a fact about slopes whose values were found good


def check_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    scale: float,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    *,
    values: bool = True,
) -> None:
    """Raise ValueError unless these are inputs of `lightning_attention`, slopes unread without `values`."""
    _check_qkv(q, k, v, ("B", "T", "H"))
    batch, num_tokens, heads, dim = q.shape
    if num_tokens > MAX_TOKENS:
        raise ValueError(f"q has T = {num_tokens}; allowed is up to {MAX_TOKENS} tokens a sequence")
    _check_slopes(slopes, q, heads, values=values)
    _check_scale(scale)
    num_states = batch
    if cu_seqlens is not None:
        _check_cu_seqlens(cu_seqlens, q)
        num_states = cu_seqlens.shape[0] - 1
    if initial_state is not None:
        _check_state("initial_state", initial_state, q, (num_states, heads, dim, v.shape[-1]))


def check_step(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    state: torch.Tensor,
    scale: float,
    inplace: bool,
    *,
    values: bool = True,
) -> None:
    """Raise ValueError unless these are inputs of `lightning_attention_step`; `values` as above."""
    _check_qkv(q, k, v, ("B", "H"))
    batch, heads, dim = q.shape
    _check_slopes(slopes, q, heads, values=values)
    _check_scale(scale)
    _check_state("state", state, q, (batch, heads, dim, v.shape[-1]))
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, state)):
        raise ValueError(
            "lightning_attention_step has no gradient and an input requires one; "
            "call it under torch.no_grad()"
        )
    dense = state.stride()[2:] == (v.shape[-1], 1)
    overlaps = any(stride == 0 and size > 1 for stride, size in zip(state.stride(), state.shape, strict=True))
    if inplace and (overlaps or not dense):
        raise ValueError(
            f"state has strides {state.stride()}; inplace=True needs a state that does not overlap itself "
            f"and whose last two dims are dense, strides (..., {v.shape[-1]}, 1)"
        )


def check_triton() -> None:
    """Raise RuntimeError unless Triton is installed."""
    if not _has_triton():
        raise RuntimeError(
            "lightning_attention needs the package triton, which is not installed: pip install triton"
        )


def check_device(q: torch.Tensor) -> None:
    """Raise RuntimeError unless the kernels can run where q is."""
    from .launch import kernels_are_interpreted

    if kernels_are_interpreted():
        if q.dtype is torch.bfloat16:
            raise ValueError(
                "q is torch.bfloat16 and TRITON_INTERPRET is set; Triton's interpreter gets bf16 products "
                "wrong without an error, so allowed there are torch.float16 and torch.float32"
            )
    elif q.device.type != "cuda":
        raise RuntimeError(
            f"q is on {q.device}; lightning_attention needs an NVIDIA GPU (for tests without one, set the "
            "environment variable TRITON_INTERPRET=1 before triton is imported)"
        )


def refuse_tangents(*tensors: torch.Tensor | None) -> None:
    """Raise RuntimeError where a derivative is wanted in forward mode, which else would count as zero."""
    if getattr(forward_ad, "_current_level", -1) < 0:
        return
    if any(isinstance(x, torch.Tensor) and forward_ad.unpack_dual(x).tangent is not None for x in tensors):
        raise RuntimeError(
            "an input has a tangent, and lightning_attention has no derivative in forward mode; "
            "use reverse mode (backward, torch.autograd.grad)"
        )


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _check_qkv(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, leading: tuple[str, ...]) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, torch.Tensor):
            raise ValueError(f"{name} is a {type(x).__name__}; allowed is a torch.Tensor")
    if problem := _find_problem(q, k, v, leading):
        given = f"q {_describe(q)}, k {_describe(k)}, v {_describe(v)}"
        raise ValueError(f"given {given}; allowed {problem}")


def _find_problem(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, leading: tuple[str, ...]) -> str:
    """What is allowed that q, k and v are not; empty where all is well. Quick, as every call comes by."""
    shape, dtype = q.shape, q.dtype
    names = ", ".join(leading)
    if (
        len(shape) != len(leading) + 1
        or k.shape != shape
        or v.dim() != len(shape)
        or v.shape[:-1] != shape[:-1]
    ):
        return f"are q and k [{names}, D], v [{names}, E]"
    if 0 in shape:
        return "are sizes of at least 1"
    if dtype not in DTYPES or k.dtype != dtype or v.dtype != dtype:
        return f"is one dtype for all three, of {', '.join(str(dtype) for dtype in DTYPES)}"
    if k.device != q.device or v.device != q.device:
        return "is one device for all three"
    for name, dim in (("D", shape[-1]), ("E", v.shape[-1])):
        if not MIN_DIM <= dim <= MAX_DIM:
            return f"is {name} from {MIN_DIM} to {MAX_DIM}, not {dim}"
    return ""


def _check_slopes(slopes: torch.Tensor, q: torch.Tensor, heads: int, *, values: bool = True) -> None:
    good = isinstance(slopes, torch.Tensor) and slopes.shape == (heads,) and slopes.dtype is torch.float32
    if not good or slopes.device != q.device:
        raise ValueError(f"slopes is {_describe(slopes)}; allowed is [{heads}] torch.float32 on {q.device}")
    if slopes.requires_grad and torch.is_grad_enabled():
        raise ValueError("slopes requires a gradient, and none is computed for it; pass slopes.detach()")
    if not values or (slopes.is_cuda and torch.cuda.is_current_stream_capturing()):
        return  # reading values is not allowed while a CUDA graph is captured
    if least_slope(slopes) is not None:
        return
    low, high = slopes.min().item(), slopes.max().item()
    if not (low >= 0.0 and math.isfinite(high)):
        raise ValueError(
            f"slopes has values from {low} to {high}; allowed are finite values >= 0 (0: no decay)"
        )
    facts_of(slopes)[LEAST] = low


def least_slope(slopes: torch.Tensor) -> float | None:
    """The least of slopes where they were checked and have not changed since, else None."""
    return facts_of(slopes).get(LEAST)


def _check_scale(scale: float) -> None:
    good = isinstance(scale, int | float) and (scale == 0 or 1 / LARGEST_SCALE <= abs(scale) <= LARGEST_SCALE)
    if not good:
        raise ValueError(
            f"scale is {scale!r}; allowed is a Python number, "
            f"0 or of size {1 / LARGEST_SCALE:.0e} to {LARGEST_SCALE:.0e}"
        )


def _check_state(name: str, state: torch.Tensor, q: torch.Tensor, shape: tuple[int, ...]) -> None:
    good = isinstance(state, torch.Tensor) and state.shape == shape and state.dtype is torch.float32
    if not good or state.device != q.device:
        raise ValueError(
            f"{name} is {_describe(state)}; allowed is {list(shape)} torch.float32 on {q.device}"
        )


def _check_cu_seqlens(cu_seqlens: torch.Tensor, q: torch.Tensor) -> None:
    good = isinstance(cu_seqlens, torch.Tensor) and cu_seqlens.dim() == 1 and cu_seqlens.shape[0] >= 2
    if not good or cu_seqlens.dtype not in (torch.int32, torch.int64) or cu_seqlens.device != q.device:
        raise ValueError(
            f"cu_seqlens is {_describe(cu_seqlens)}; "
            f"allowed is [N + 1] torch.int32 or torch.int64 on {q.device}, N >= 1"
        )
    if q.shape[0] != 1:
        raise ValueError(
            f"cu_seqlens was given with B = {q.shape[0]}; allowed is B = 1, the documents one after another"
        )


def _describe(x: object) -> str:
    return (
        f"{list(x.shape)} {x.dtype} on {x.device}" if isinstance(x, torch.Tensor) else f"a {type(x).__name__}"
    )
