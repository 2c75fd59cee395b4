"""From tensors to kernel launches: layouts, tiles, segments. Launches only, no checks and no gradients."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import torch
from triton.runtime.jit import JITFunction

from .layout import align, choose_unit, count_strides, densify, is_aligned
from .segments import choose_segments
from .states import carry_states_kernel, segment_states_kernel
from .step import step_kernel
from .tiles import Tile, choose_tile, pad_dim
from .walk import walk_kernel

CARRY_BLOCK = 1024


def kernels_are_interpreted() -> bool:
    """Whether TRITON_INTERPRET was set when the kernels were defined."""
    return not isinstance(walk_kernel, JITFunction)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sequences:
    """What every walk over the same sequences shares: decay, bounds, scale."""

    slopes: torch.Tensor  # [H] fp32
    cu_seqlens: torch.Tensor | None  # [N + 1] int64
    num_sequences: int  # B, or N where packed
    scale: float

    @classmethod
    def build(
        cls, q: torch.Tensor, slopes: torch.Tensor, cu_seqlens: torch.Tensor | None, scale: float
    ) -> Sequences:
        """Bring slopes and cu_seqlens into the one form the kernels are compiled for."""
        if cu_seqlens is not None:
            cu_seqlens = densify(cu_seqlens.to(torch.int64))
        num_sequences = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
        return cls(slopes=densify(slopes), cu_seqlens=cu_seqlens, num_sequences=num_sequences, scale=scale)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Carry:
    """The state each segment of each sequence starts from."""

    states: torch.Tensor | None  # [sequences * H, G, D, E] fp32; None: zero
    num_segments: int
    factor: float  # what a walk multiplies `states` by


def launch_states(
    k: torch.Tensor,
    v: torch.Tensor,
    sequences: Sequences,
    initial: torch.Tensor | None,
    *,
    backwards: bool,
    initial_factor: float = 1.0,
) -> Carry:
    """States that the segments of a walk start from, given k `[B, T, H, D]`, v `[B, T, H, E]`."""
    num_tokens, heads, dim, dim_out = *k.shape[1:], v.shape[-1]
    tile = choose_tile(k.dtype, dim, dim_out)
    num_rows, num_tiles = sequences.num_sequences * heads, _ceil_div(dim_out, tile.block_e)
    num_segments = choose_segments(num_tokens, num_rows * num_tiles, k.device)
    if initial is not None:
        initial = densify(initial)
    if num_segments == 1:
        return Carry(states=initial, num_segments=1, factor=initial_factor)
    unit = choose_unit(k.dtype, dim, dim_out)
    k, v = align(k, unit), align(v, unit)
    states = torch.empty(num_rows, num_segments, dim, dim_out, dtype=torch.float32, device=k.device)
    bounds = (num_tokens, heads, num_segments)
    packed, cu_seqlens = sequences.cu_seqlens is not None, _or_any(sequences.cu_seqlens, sequences)
    with _on_device(k):
        segment_states_kernel[(num_rows * (num_segments - 1) * num_tiles,)](
            *(k, v, sequences.slopes, states, cu_seqlens),
            *(*count_strides(k, unit), *count_strides(v, unit), *bounds),
            BACKWARDS=backwards,
            PACKED=packed,
            **_constants(tile, dim, dim_out, unit),
        )
        carry_states_kernel[(num_rows * _ceil_div(dim * dim_out, CARRY_BLOCK),)](
            *(states, _or_any(initial, sequences), sequences.slopes, cu_seqlens),
            *(*bounds, int(initial is not None), initial_factor),
            STATE_SIZE=dim * dim_out,
            BLOCK=CARRY_BLOCK,
            PACKED=packed,
        )
    return Carry(states=states, num_segments=num_segments, factor=1.0)


def launch_walk(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    sequences: Sequences,
    carry: Carry,
    *,
    backwards: bool = False,
    transposed: bool = False,
    final: torch.Tensor | None = None,
    final_factor: float = 1.0,
) -> torch.Tensor:
    """One walk: o `[B, T, H, E]`; last states go into `final` if given (`[.., E, D]` if transposed)."""
    batch, num_tokens, heads, dim, dim_out = *q.shape, v.shape[-1]
    tile = choose_tile(q.dtype, dim, dim_out)
    unit = choose_unit(q.dtype, dim, dim_out)
    q, k, v = align(q, unit), align(k, unit), align(v, unit)
    o = torch.empty(batch, num_tokens, heads, dim_out, dtype=q.dtype, device=q.device)
    num_programs = sequences.num_sequences * heads * carry.num_segments * _ceil_div(dim_out, tile.block_e)
    with _on_device(q):
        walk_kernel[(num_programs,)](
            *(q, k, v, o, sequences.slopes, _or_any(carry.states, sequences), _or_any(final, sequences)),
            *(_or_any(sequences.cu_seqlens, sequences),),
            *(
                *count_strides(q, unit),
                *count_strides(k, unit),
                *count_strides(v, unit),
                *count_strides(o, unit),
            ),
            *(num_tokens, heads, carry.num_segments, int(carry.states is not None), int(final is not None)),
            *(sequences.scale, carry.factor, final_factor),
            BACKWARDS=backwards,
            TRANSPOSED=transposed,
            PACKED=sequences.cu_seqlens is not None,
            **_constants(tile, dim, dim_out, unit),
        )
    return o


def launch_step(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    state: torch.Tensor,
    scale: float,
    inplace: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token: o `[B, H, E]` and the new state `[B, H, D, E]`, which is `state` if inplace."""
    batch, heads, dim, dim_out = *q.shape, v.shape[-1]
    unit = choose_unit(torch.float32, dim_out, dim_out)
    if inplace and not is_aligned(state, unit):
        unit = 1
    elif not inplace and (not is_aligned(state, unit) or state.stride(-2) != dim_out):
        state = state.clone(memory_format=torch.contiguous_format)
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    new_state = (
        state if inplace else torch.empty(batch, heads, dim, dim_out, dtype=torch.float32, device=q.device)
    )
    o = torch.empty(batch, heads, dim_out, dtype=q.dtype, device=q.device)
    block_e = min(32, pad_dim(dim_out))
    with _on_device(q):
        step_kernel[(batch * heads * _ceil_div(dim_out, block_e),)](
            *(q, k, v, slopes.contiguous(), state, o, new_state),
            *(*count_strides(q, 1), *count_strides(k, 1), *count_strides(v, 1)),
            *(*count_strides(state, unit)[:2], *count_strides(new_state, unit)[:2], heads, scale),
            D=dim,
            E=dim_out,
            BLOCK_D=pad_dim(dim),
            BLOCK_E=block_e,
            UNIT=unit,
            num_warps=4,
        )
    return o, new_state


def _or_any(x: torch.Tensor | None, sequences: Sequences) -> torch.Tensor:
    """A pointer for an argument that is not read; None would be compiled as one more variant."""
    return sequences.slopes if x is None else x


def _constants(tile: Tile, dim: int, dim_out: int, unit: int) -> dict[str, Any]:
    """What a walk and its states are compiled for. Products of fp32 are IEEE unless torch allows tf32."""
    return {
        "D": dim,
        "E": dim_out,
        "BLOCK_T": tile.block_t,
        "BLOCK_D": pad_dim(dim),
        "BLOCK_E": tile.block_e,
        "UNIT": unit,
        "PRECISION": "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee",
        "num_warps": tile.num_warps,
        "num_stages": tile.num_stages,
    }


def _on_device(x: torch.Tensor) -> contextlib.AbstractContextManager[None]:
    """Triton launches on the current device."""
    if not x.is_cuda or x.device.index == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(x.device)


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
