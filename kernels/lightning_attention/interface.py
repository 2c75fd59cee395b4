"""The public functions: check what was given, then run."""

from __future__ import annotations

import functools
import types

import torch

from . import library  # noqa: F401 (registers torch.ops.lightning_attention)
from .checks import (
    DTYPES,
    LARGEST_SCALE,
    check_attention,
    check_device,
    check_step,
    check_triton,
    refuse_tangents,
)

PLAIN_TENSORS = (torch.Tensor, torch.nn.Parameter)


def lightning_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    *,
    scale: float = 1.0,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Causal linear attention with decay: `S_t = exp(-slope_h) S_(t-1) + k_t v_t^T`, `o_t = scale * q_t S_t`.

    Lightning Attention-2 (arXiv 2401.04658, Algorithms 1 and 2), without its outer normaliser. Time and
    memory are linear in T. Differentiable once, in reverse mode, in q, k, v and initial_state; backward keeps
    the inputs and, where decay is slow, states.
    Under torch.autocast q, k and v are cast to its dtype, slopes and states are not. Under torch.compile it
    is one operator (library.py), without a graph break; scale is a constant there.

    Args:
        q: `[B, T, H, D]`, bf16, fp16 or fp32, D from 16 to 256, any T >= 1.
        k: `[B, T, H, D]`, the dtype of q.
        v: `[B, T, H, E]`, the dtype of q, E from 16 to 256. In bf16 and fp16, where D or E is not a multiple
            of 4, q, k, v and the states are copied to dims that are multiples of 8, and the outputs back.
        slopes: `[H]` fp32, finite and >= 0 (0: no decay), without gradient. The values are checked at the
            first use of a tensor and after it changed, which waits for the GPU; so keep slopes in a buffer.
            Changes in place through `.data`, or of tensors made in inference mode, are not seen: give a new
            tensor.
        scale: factor of the output, a Python number: 0 or of size 1e-15 to 1e15.
        initial_state: `[B, H, D, E]` fp32 (`[N, H, D, E]` with cu_seqlens), the state before the first token;
            zero if None.
        output_final_state: also return the state after the last token.
        cu_seqlens: `[N + 1]` int32 or int64 on the device of q, rising from 0 to T: token `cu_seqlens[n]` is
            the first of document n, B is 1, documents do not see each other, empty ones are allowed. The
            values are not checked (that would wait for the GPU). Nothing out of bounds is read; output and
            gradients of tokens of no document are not written: let the last document end at T.

    Returns:
        o `[B, T, H, E]` in the dtype of q, contiguous, and the final state (as initial_state) or None.

    Raises:
        ValueError: a shape, dtype, device or value that is not allowed; the message says which is.
        RuntimeError: Triton is missing, or the tensors are on a CPU outside Triton's interpreter.
    """
    q, k, v = _autocast(q, k, v)
    if _is_traced(q):
        o, final = torch.ops.lightning_attention.forward(
            q, k, v, slopes, initial_state, cu_seqlens, float(scale), bool(output_final_state)
        )
        return o, final if output_final_state else None
    check_triton()
    run = _modules()
    refuse_tangents(q, k, v, slopes, initial_state)
    if type(scale) is int and abs(scale) <= LARGEST_SCALE:
        scale = float(scale)  # Triton would compile a whole number as a constant
    simple = initial_state is None and cu_seqlens is None and not output_final_state
    prepared = run.prepared.recall(q, k, v, slopes, scale) if simple else None
    if prepared is not None:
        if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
            return run.autograd.PreparedAttention.apply(q, k, v, slopes, prepared), None
        return prepared.attend(q, k, v, slopes), None
    check_attention(q, k, v, slopes, scale, initial_state, cu_seqlens)
    check_device(q)
    path = run.paths.choose_path(q, v)
    if simple:
        run.prepared.prepare(q, k, v, slopes, scale, path)
    given = (q, k, v, slopes, initial_state, cu_seqlens, float(scale), bool(output_final_state), path)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (q, k, v, initial_state)):
        return run.autograd.LightningAttention.apply(*given)
    return run.autograd.attend(*given)[:2]


def lightning_attention_step(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    state: torch.Tensor,
    *,
    scale: float = 1.0,
    inplace: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token of `lightning_attention` from a carried state, for decoding; without gradient.

    Under torch.autocast q, k and v are cast to its dtype; under torch.compile it is one operator, without a
    graph break.

    Args:
        q: `[B, H, D]`, bf16, fp16 or fp32, D from 16 to 256.
        k: `[B, H, D]`, the dtype of q.
        v: `[B, H, E]`, the dtype of q, E from 16 to 256.
        slopes: `[H]` fp32, finite and >= 0.
        state: `[B, H, D, E]` fp32, before this token.
        scale: factor of the output, a Python number: 0 or of size 1e-15 to 1e15.
        inplace: write the new state into `state` (its last two dims must be dense) instead of a new tensor.

    Returns:
        o `[B, H, E]` in the dtype of q, and the state after this token, fp32 (`state` itself if inplace).

    Raises:
        ValueError: a shape, dtype, device or value that is not allowed; the message says which is.
        RuntimeError: Triton is missing, or the tensors are on a CPU outside Triton's interpreter.
    """
    q, k, v = _autocast(q, k, v)
    if _is_traced(q):
        one = (q, k, v, slopes, state, float(scale))
        if inplace:
            return torch.ops.lightning_attention.step_(*one), state
        return torch.ops.lightning_attention.step(*one)
    check_triton()
    refuse_tangents(q, k, v, slopes, state)
    check_step(q, k, v, slopes, state, scale, inplace)
    check_device(q)
    return _modules().step.launch_step(q, k, v, slopes, state, float(scale), inplace)


def _is_traced(q: torch.Tensor) -> bool:
    """Whether operators of torch.library are wanted: torch.compile, fake tensors and others of their kind."""
    return torch.compiler.is_compiling() or (type(q) not in PLAIN_TENSORS and isinstance(q, torch.Tensor))


@functools.cache
def _modules() -> types.SimpleNamespace:
    """The modules that import Triton, at the first call: the package itself can be imported without."""
    from . import autograd, paths, prepared, step

    return types.SimpleNamespace(autograd=autograd, paths=paths, prepared=prepared, step=step)


def _autocast(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """q, k and v in autocast's dtype where it is on for the device of q; float64 stays, as in torch."""
    device = "cuda" if getattr(q, "is_cuda", False) else "cpu"  # the kernels run on no other
    if not torch.is_autocast_enabled(device):
        return q, k, v
    dtype = torch.get_autocast_dtype(device)
    return tuple(x.to(dtype) if isinstance(x, torch.Tensor) and x.dtype in DTYPES else x for x in (q, k, v))
