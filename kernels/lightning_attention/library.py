"""`lightning_attention` as operators of torch.library, for tracing: torch.compile, export, fake tensors.

    torch.ops.lightning_attention.forward    o and the final state
    torch.ops.lightning_attention.backward   gradients of q, k, v and initial_state
    torch.ops.lightning_attention.step       o and the state after one token
    torch.ops.lightning_attention.step_      o, the state after the token in place of the one before

What is None in the public function, or not asked for, is an empty tensor here: operators return tensors.
Which kernels run is chosen when an operator runs, so `force_path` (paths.py) holds for what runs within it,
not for what was traced within it. Shapes are checked when tracing too, values when running.
"""

from __future__ import annotations

from typing import Any

import torch

from . import checks

NAMESPACE = "lightning_attention"
INPUTS = "Tensor q, Tensor k, Tensor v, Tensor slopes, Tensor? initial_state, Tensor? cu_seqlens"
NEEDS = "bool needs_q, bool needs_k, bool needs_v, bool needs_initial"
Needs = tuple[bool, bool, bool, bool]  # of q, k, v and initial_state


@torch.library.custom_op(
    f"{NAMESPACE}::forward",
    mutates_args=(),
    schema=f"({INPUTS}, float scale, bool output_final_state) -> (Tensor, Tensor)",
)
def forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    scale: float,
    output_final_state: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output `[B, T, H, E]` and final state, or an empty tensor; arguments as `lightning_attention`."""
    checks.check_attention(q, k, v, slopes, scale, initial_state, cu_seqlens)
    checks.check_triton()
    checks.check_device(q)
    from .autograd import attend
    from .paths import choose_path
    from .shares import nothing_kept

    given = (q, k, v, slopes, initial_state, cu_seqlens, scale, output_final_state)
    with nothing_kept():
        o, final, _ = attend(*given, choose_path(q, v))
    return o, q.new_empty(0, dtype=torch.float32) if final is None else final


@forward.register_fake
def _(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    scale: float,
    output_final_state: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    checks.check_attention(q, k, v, slopes, 1.0, initial_state, cu_seqlens, values=False)
    batch, num_tokens, heads, dim = q.shape
    dim_out = v.shape[-1]
    num_states = batch if cu_seqlens is None else cu_seqlens.shape[0] - 1
    shape = (num_states, heads, dim, dim_out) if output_final_state else (0,)
    return q.new_empty(batch, num_tokens, heads, dim_out), q.new_empty(shape, dtype=torch.float32)


@torch.library.custom_op(
    f"{NAMESPACE}::backward",
    mutates_args=(),
    schema=f"({INPUTS}, Tensor? do, Tensor? d_final, float scale, {NEEDS}) -> ({', '.join(['Tensor'] * 4)})",
)
def backward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    do: torch.Tensor | None,
    d_final: torch.Tensor | None,
    scale: float,
    *needs: bool,
) -> tuple[torch.Tensor, ...]:
    """Gradients of q, k, v and initial_state, empty where not needed; `do`, `d_final` None: zero.

    States are made again from the inputs where decay is slow: how many there are is known when running only.
    """
    checks.check_triton()
    checks.check_device(q)
    from .autograd import differentiate
    from .paths import choose_path
    from .shares import nothing_kept

    given = (q, k, v, slopes, initial_state, cu_seqlens, None)
    with nothing_kept():
        found = differentiate(given, do, d_final, needs, scale, choose_path(q, v))
    return tuple(_or_empty(x, q) for x in found)


@backward.register_fake
def _(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    do: torch.Tensor | None,
    d_final: torch.Tensor | None,
    scale: float,
    *needs: bool,
) -> tuple[torch.Tensor, ...]:
    num_states = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    state_shape = (num_states, *q.shape[2:], v.shape[-1])
    shapes = [tuple(x.shape) for x in (q, k, v)] + [state_shape]
    dtypes = (q.dtype, q.dtype, q.dtype, torch.float32)
    return tuple(
        q.new_empty(shape, dtype=dtype) if needed else _or_empty(None, q)
        for shape, dtype, needed in zip(shapes, dtypes, needs, strict=True)
    )


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    *tensors, scale, output_final_state = inputs
    if ctx.needs_input_grad[3]:
        raise ValueError("slopes requires a gradient, and none is computed for it; pass slopes.detach()")
    ctx.save_for_backward(*tensors)
    ctx.scale, ctx.has_final = scale, output_final_state
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, do: torch.Tensor | None, d_final: torch.Tensor | None) -> tuple[Any, ...]:
    needs: Needs = (*ctx.needs_input_grad[:3], ctx.needs_input_grad[4])
    d_final = d_final if ctx.has_final else None
    found = torch.ops.lightning_attention.backward(*ctx.saved_tensors, do, d_final, ctx.scale, *needs)
    dq, dk, dv, d_initial = (x if needed else None for x, needed in zip(found, needs, strict=True))
    return dq, dk, dv, None, d_initial, None, None, None


def _refuse(ctx: Any, *_: torch.Tensor) -> Any:
    raise RuntimeError("lightning_attention is differentiable once; a second derivative was asked for")


forward.register_autograd(_differentiate, setup_context=_keep_inputs)
backward.register_autograd(_refuse)


STEP = "Tensor q, Tensor k, Tensor v, Tensor slopes"


@torch.library.custom_op(
    f"{NAMESPACE}::step", mutates_args=(), schema=f"({STEP}, Tensor state, float scale) -> (Tensor, Tensor)"
)
def step(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor, state: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output `[B, H, E]` and new state of one token; arguments as `lightning_attention_step`."""
    return _step(q, k, v, slopes, state, scale, inplace=False)


@torch.library.custom_op(
    f"{NAMESPACE}::step_",
    mutates_args=("state",),
    schema=f"({STEP}, Tensor(a!) state, float scale) -> Tensor",
)
def step_(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor, state: torch.Tensor, scale: float
) -> torch.Tensor:
    """Output `[B, H, E]` of one token, after which `state` holds the new state."""
    return _step(q, k, v, slopes, state, scale, inplace=True)[0]


def _step(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    state: torch.Tensor,
    scale: float,
    *,
    inplace: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    checks.check_triton()
    checks.check_step(q, k, v, slopes, state, scale, inplace)
    checks.check_device(q)
    from .step import launch_step

    return launch_step(q, k, v, slopes, state, scale, inplace)


@step.register_fake
def _(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor, state: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    checks.check_step(q, k, v, slopes, state, 1.0, False, values=False)
    return q.new_empty(v.shape), q.new_empty(state.shape, dtype=torch.float32)


@step_.register_fake
def _(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor, state: torch.Tensor, scale: float
) -> torch.Tensor:
    checks.check_step(q, k, v, slopes, state, 1.0, True, values=False)
    return q.new_empty(v.shape)


def _or_empty(x: torch.Tensor | None, q: torch.Tensor) -> torch.Tensor:
    return q.new_empty(0) if x is None else x
