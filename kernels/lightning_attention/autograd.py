"""The derivative: each gradient is the walk of the forward pass under renaming (legend in walk.py)."""

from __future__ import annotations

from typing import Any

import torch

from .launch import Sequences, launch_carries, launch_walk
from .padding import cut, needs_padding, pad_columns, pad_state
from .prepared import Prepared


class LightningAttention(torch.autograd.Function):
    """Forward saves its inputs and, where decay is slow, the states at the cuts."""

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
        path: str,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Output `[B, T, H, E]` and the final state or None."""
        o, final, carried = attend(
            q, k, v, slopes, initial_state, cu_seqlens, scale, output_final_state, path
        )
        ctx.save_for_backward(q, k, v, slopes, initial_state, cu_seqlens, carried)
        ctx.scale, ctx.path = scale, path
        ctx.set_materialize_grads(False)
        return o, final

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor | None, d_final: torch.Tensor | None) -> tuple[Any, ...]:
        """Gradients of q, k, v and initial_state, those that are needed."""
        q, k, v, slopes, initial_state, cu_seqlens, carried = ctx.saved_tensors
        needs = (*ctx.needs_input_grad[:3], ctx.needs_input_grad[4])
        with torch.no_grad():
            given = (q, k, v, slopes, initial_state, cu_seqlens, carried)
            dq, dk, dv, d_initial = differentiate(given, upstream, d_final, needs, ctx.scale, ctx.path)
        found = (dq, dk, dv, None, d_initial, None, None, None, None)
        return _once(found, (q, k, v, initial_state, upstream, d_final))


class PreparedAttention(torch.autograd.Function):
    """The same for a call that was prepared: one with fewer arguments, since autograd goes over each."""

    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor, prepared: Prepared
    ) -> torch.Tensor:
        """Output `[B, T, H, E]`."""
        ctx.save_for_backward(q, k, v, slopes)
        ctx.prepared = prepared
        return prepared.attend(q, k, v, slopes)

    @staticmethod
    def backward(ctx: Any, do: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of q, k and v, those that are needed."""
        q, k, v, slopes = ctx.saved_tensors
        prepared, needs = ctx.prepared, ctx.needs_input_grad[:3]
        found = prepared.differentiate((q, k, v, slopes), do, needs)  # it only launches: nothing to record
        if found is None:
            given = (q, k, v, slopes, None, None, None)
            scale, path = prepared.sequences.scale, prepared.path
            with torch.no_grad():
                found = differentiate(given, do, None, (*needs, False), scale, path)[:3]
        return _once((*found, None, None), (q, k, v, do))


def _once(found: tuple[Any, ...], used: tuple[torch.Tensor | None, ...]) -> tuple[Any, ...]:
    """The gradients that were found; under create_graph=True such as raise if they are differentiated."""
    if not torch.is_grad_enabled():
        return found
    return tuple(None if x is None else SecondDerivative.apply(x, *used) for x in found)


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


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    scale: float,
    output_final_state: bool,
    path: str,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """The forward pass: output, final state, and the states carried to the cuts where decay is slow.

    Those are as wide as the kernels took them (padding.py) and serve `differentiate` only.
    """
    if needs_padding(q, v):
        state = None if initial_state is None else pad_state(initial_state)
        padded = (pad_columns(q), pad_columns(k), pad_columns(v), slopes, state, cu_seqlens)
        o, final, carried = attend(*padded, scale, output_final_state, path)
        return cut(o, v.shape[-1]), cut(final, q.shape[-1], v.shape[-1]), carried
    sequences = _sequences(q, v, slopes, cu_seqlens, scale, path)
    carried = launch_carries(k, v, sequences, initial_state, backwards=False)
    final = _empty_states(q, v, sequences) if output_final_state else None
    o = _walk(path)(q, k, v, sequences, carried=carried, initial=initial_state, final=final)
    return o, final, carried


def differentiate(
    given: tuple[Any, ...],
    do: torch.Tensor | None,
    d_final: torch.Tensor | None,
    needs: tuple[bool, ...],
    scale: float,
    path: str,
) -> tuple[torch.Tensor | None, ...]:
    """The backward pass: gradients of q, k, v and initial_state, None for those without need.

    `given` are q, k, v, slopes, initial_state and cu_seqlens of the forward pass and the states it carried,
    which are made again where they are None and decay is slow. `do` or `d_final` that is None counts as zero.
    """
    q, k, v, slopes, initial_state, cu_seqlens, carried = given
    do = torch.zeros_like(v) if do is None else do
    if needs_padding(q, v):
        return _differentiate_padded(given, do, d_final, needs, scale, path)
    needs_q, needs_k, needs_v, needs_initial = needs
    sequences = _sequences(q, v, slopes, cu_seqlens, scale, path)
    dq = dk = dv = d_initial = None
    if needs_q:
        if carried is None:
            carried = launch_carries(k, v, sequences, initial_state, backwards=False)
        dq = _walk(path)(do, v, k, sequences, carried=carried, initial=initial_state, transposed=True)
    if needs_k or needs_v or needs_initial:
        if scale == 0.0:  # only the final state depends on the inputs: the same with no do
            do = torch.zeros_like(v)
            sequences = _sequences(q, v, slopes, cu_seqlens, 1.0, path)
        dk, dv, d_initial = _gradients_kv(q, k, v, do, sequences, d_final, needs, path)
    return dq, dk, dv, d_initial


def _differentiate_padded(
    given: tuple[Any, ...],
    do: torch.Tensor,
    d_final: torch.Tensor | None,
    needs: tuple[bool, ...],
    scale: float,
    path: str,
) -> tuple[torch.Tensor | None, ...]:
    """As `differentiate`, where `attend` padded."""
    q, k, v, slopes, initial_state, cu_seqlens, carried = given
    state, d_final = (None if x is None else pad_state(x) for x in (initial_state, d_final))
    padded = (pad_columns(q), pad_columns(k), pad_columns(v), slopes, state, cu_seqlens, carried)
    dq, dk, dv, d_initial = differentiate(padded, pad_columns(do), d_final, needs, scale, path)
    dim, dim_out = q.shape[-1], v.shape[-1]
    return cut(dq, dim), cut(dk, dim), cut(dv, dim_out), cut(d_initial, dim, dim_out)


def _gradients_kv(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    sequences: Sequences,
    d_final: torch.Tensor | None,
    needs: tuple[bool, ...],
    path: str,
) -> tuple[torch.Tensor | None, ...]:
    """Gradients of k, v and initial_state: walks backwards that start from the same states."""
    _, needs_k, needs_v, needs_initial = needs
    scale = sequences.scale
    start: Any = {"initial": d_final, "initial_factor": 1.0 / scale}
    start["carried"] = launch_carries(q, do, sequences, **start, backwards=True)
    d_initial = _empty_states(q, v, sequences) if needs_initial else None
    end: Any = {"final": d_initial, "final_factor": scale}
    dk = dv = None
    if path == "hopper":
        from .hopper_launch import launch_gradients

        dk, dv = launch_gradients(q, k, v, do, sequences, **start, **end)
        return dk if needs_k else None, dv if needs_v else None, d_initial
    if needs_v or needs_initial:
        dv = launch_walk(k, q, do, sequences, **start, **end, backwards=True)
    if needs_k:
        dk = launch_walk(v, do, q, sequences, **start, backwards=True, transposed=True)
    return dk, dv if needs_v else None, d_initial


def _sequences(
    q: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    cu_seqlens: torch.Tensor | None,
    scale: float,
    path: str,
) -> Sequences:
    return Sequences.build(q, v, slopes, cu_seqlens, scale, path=path)


def _walk(path: str) -> Any:
    """The launcher of a walk forwards."""
    if path == "hopper":
        from .hopper_launch import launch_walk as launch_hopper_walk

        return launch_hopper_walk
    return launch_walk


def _empty_states(q: torch.Tensor, v: torch.Tensor, sequences: Sequences) -> torch.Tensor:
    shape = (sequences.num_sequences, q.shape[2], q.shape[3], v.shape[3])
    return torch.empty(shape, dtype=torch.float32, device=q.device)
