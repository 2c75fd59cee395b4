"""The derivative: each gradient is the walk of the forward pass under renaming (legend in walk.py)."""

from __future__ import annotations

from typing import Any

import torch

from .launch import Sequences, launch_states, launch_walk


class LightningAttention(torch.autograd.Function):
    """Forward saves its inputs only; backward computes the states again."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        slopes: torch.Tensor,
        initial_state: torch.Tensor | None,
        cu_seqlens: torch.Tensor | None,
        scale: float,
        output_final_state: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Output `[B, T, H, E]` and the final state or None."""
        sequences = Sequences.build(q, slopes, cu_seqlens, scale)
        carry = launch_states(k, v, sequences, initial_state, backwards=False)
        final = _empty_states(q, v, sequences) if output_final_state else None
        o = launch_walk(q, k, v, sequences, carry, final=final)
        ctx.save_for_backward(q, k, v, slopes, initial_state, cu_seqlens)
        ctx.scale = scale
        ctx.set_materialize_grads(False)
        return o, final

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor | None, d_final: torch.Tensor | None) -> tuple[Any, ...]:
        """Gradients of q, k, v and initial_state, those that are needed."""
        q, k, v, slopes, initial_state, cu_seqlens = ctx.saved_tensors
        with torch.no_grad():
            sequences = Sequences.build(q, slopes, cu_seqlens, ctx.scale)
            do = torch.zeros_like(v) if upstream is None else upstream
            needs_q, needs_k, needs_v, _, needs_initial = ctx.needs_input_grad[:5]
            dq = _gradient_q(k, v, do, sequences, initial_state) if needs_q else None
            dk = dv = d_initial = None
            if needs_k or needs_v or needs_initial:
                if ctx.scale == 0.0:  # only the final state depends on the inputs: the same with no do
                    do, sequences = torch.zeros_like(v), Sequences.build(q, slopes, cu_seqlens, 1.0)
                dk, dv, d_initial = _gradients_kv(q, k, v, do, sequences, d_final, ctx.needs_input_grad)
        found = (dq, dk, dv, None, d_initial, None, None, None)
        if torch.is_grad_enabled():  # create_graph=True
            used = (q, k, v, initial_state, upstream, d_final)
            return tuple(None if x is None else SecondDerivative.apply(x, *used) for x in found)
        return found


class SecondDerivative(torch.autograd.Function):
    """Hands a gradient through and raises if it is differentiated again, which would else count as zero."""

    @staticmethod
    def forward(ctx: Any, gradient: torch.Tensor, *used: torch.Tensor | None) -> torch.Tensor:
        """The gradient itself."""
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> Any:
        """Raise RuntimeError."""
        raise RuntimeError("lightning_attention is differentiable once; a second derivative was asked for")


def _gradient_q(
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    sequences: Sequences,
    initial_state: torch.Tensor | None,
) -> torch.Tensor:
    carry = launch_states(k, v, sequences, initial_state, backwards=False)
    return launch_walk(do, v, k, sequences, carry, transposed=True)


def _gradients_kv(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    sequences: Sequences,
    d_final: torch.Tensor | None,
    needs: tuple[bool, ...],
) -> tuple[torch.Tensor | None, ...]:
    """Gradients of k, v and initial_state: both backward walks start from the same states."""
    _, needs_k, needs_v, _, needs_initial = needs[:5]
    scale = sequences.scale
    carry = launch_states(q, do, sequences, d_final, backwards=True, initial_factor=1.0 / scale)
    d_initial = _empty_states(q, v, sequences) if needs_initial else None
    dk = dv = None
    if needs_v or needs_initial:
        dv = launch_walk(k, q, do, sequences, carry, backwards=True, final=d_initial, final_factor=scale)
    if needs_k:
        dk = launch_walk(v, do, q, sequences, carry, backwards=True, transposed=True)
    return dk, dv if needs_v else None, d_initial


def _empty_states(q: torch.Tensor, v: torch.Tensor, sequences: Sequences) -> torch.Tensor:
    shape = (sequences.num_sequences, q.shape[2], q.shape[3], v.shape[3])
    return torch.empty(shape, dtype=torch.float32, device=q.device)
