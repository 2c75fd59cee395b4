"""From tensors to launches of the plain kernels: layouts, tiles, shares. No checks and no gradients."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import Any

import torch
import triton
from triton.runtime.jit import JITFunction

from .layout import align, choose_unit, count_strides, densify
from .shares import Shares, share_out
from .states import carry_states_kernel, own_states_kernel
from .tiles import Tile, choose_states_tile, choose_tile, pad_dim
from .walk import walk_kernel

CARRY_BLOCK = 1024
PIECES = 2  # programs that make the own state before one cut, so that few slow heads do not keep few SMs


# Triton binds, specialises and looks up the arguments of every call anew, which takes longer than all the
# rest. Here every pointer is 16-byte aligned and no size is specialised, so what was compiled for one call
# serves every call with the same constants. Versions whose compiled kernels take all arguments in order,
# constants too:
DIRECT_TRITON = (3, 6)

_compiled: dict[tuple[Any, ...], Any] = {}


def launch(kernel: Any, num_programs: int, args: tuple[Any, ...], key: Any, **constants: Any) -> None:
    """Launch a kernel on the current device; `key` is what but the constants its compilation depends on."""
    place = (
        kernel,
        torch.cuda.current_device() if torch.cuda.is_initialized() else -1,
        key,
        *constants.values(),
    )
    found = _compiled.get(place)
    if found is not None:
        options = found[1]
        found[0][(num_programs, 1, 1)](
            *args, *(value for name, value in constants.items() if name not in options)
        )
        return
    compiled = kernel[(num_programs,)](*args, **constants)
    if isinstance(kernel, JITFunction) and triton_version() >= DIRECT_TRITON:
        _compiled[place] = (compiled, {"num_warps", "num_stages"})


@functools.cache
def triton_version() -> tuple[int, ...]:
    """Major and minor."""
    return tuple(int(part) for part in triton.__version__.split(".")[:2])


def kernels_are_interpreted() -> bool:
    """Whether TRITON_INTERPRET was set when the kernels were defined."""
    return not isinstance(walk_kernel, JITFunction)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sequences:
    """What every walk over the same sequences has in common: decay, bounds, scale, shares."""

    slopes: torch.Tensor  # [H] fp32
    cu_seqlens: torch.Tensor | None  # [N + 1] int64
    num_sequences: int  # B, or N where packed
    num_tokens: int  # of a sequence, or of all where packed
    scale: float
    shares: Shares

    @classmethod
    def build(
        cls,
        q: torch.Tensor,
        v: torch.Tensor,
        slopes: torch.Tensor,
        cu_seqlens: torch.Tensor | None,
        scale: float,
        *,
        path: str,
        least_slope: float | None = None,
    ) -> Sequences:
        """Bring slopes and cu_seqlens into the one form the kernels are compiled for, and share out the work.

        `path` is that of paths.py; `least_slope` the least of the slopes where the host knows it.
        """
        if cu_seqlens is not None:
            cu_seqlens = densify(cu_seqlens.to(torch.int64))
        slopes = densify(slopes)
        num_sequences = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
        slots = describe_card(q.device).num_sms
        if path == "plain":
            tile = choose_tile(q.dtype, q.shape[-1], v.shape[-1], describe_card(q.device).shared_bytes)
            slots = max(1, slots * tile.programs_per_sm // _ceil_div(v.shape[-1], tile.block_e))
        with on_device(q):
            shares = share_out(
                slopes, cu_seqlens, num_sequences, q.shape[1], slots, q.dtype, least_slope=least_slope
            )
        return cls(
            slopes=slopes,
            cu_seqlens=cu_seqlens,
            num_sequences=num_sequences,
            num_tokens=q.shape[1],
            scale=scale,
            shares=shares,
        )

    @property
    def bounds(self) -> torch.Tensor:
        """`cu_seqlens`, or a pointer that is not read; None would be compiled as one more variant."""
        return self.slopes if self.cu_seqlens is None else self.cu_seqlens


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """What of a device the launches depend on."""

    capability: tuple[int, int]
    num_sms: int
    shared_bytes: int  # a program may take


@functools.cache
def describe_card(device: torch.device) -> Card:
    """A GPU's properties; a CPU, where kernels are interpreted one program at a time, is one SM with room."""
    if device.type != "cuda":
        return Card(capability=(0, 0), num_sms=1, shared_bytes=2**20)
    properties = torch.cuda.get_device_properties(device)
    return Card(
        capability=(properties.major, properties.minor),
        num_sms=properties.multi_processor_count,
        shared_bytes=getattr(properties, "shared_memory_per_block_optin", 99 * 1024),
    )


def launch_carries(
    k: torch.Tensor,
    v: torch.Tensor,
    sequences: Sequences,
    initial: torch.Tensor | None,
    *,
    backwards: bool,
    initial_factor: float = 1.0,
) -> torch.Tensor | None:
    """States at cuts `[programs + 1, D, E]` from k `[B, T, H, D]`, v `[B, T, H, E]`; None: all warm up."""
    shares = sequences.shares
    if not shares.carries:
        return None
    heads, dim, dim_out = *k.shape[2:], v.shape[-1]
    tile = choose_states_tile(k.dtype, dim, dim_out, describe_card(k.device).shared_bytes)
    unit = choose_unit(k.dtype, dim, dim_out)
    k, v = align(k, unit), align(v, unit)
    inner_cuts = shares.num_programs - 1
    own = torch.empty(shares.num_programs + 1, PIECES, dim, dim_out, dtype=torch.float32, device=k.device)
    carried = torch.empty(shares.num_programs + 1, dim, dim_out, dtype=torch.float32, device=k.device)
    initial, has_initial = or_unread(initial, sequences)
    sizes = (sequences.num_sequences, sequences.num_tokens)
    switches = {"BACKWARDS": backwards, "PACKED": sequences.cu_seqlens is not None}
    with on_device(k):
        strides = (*count_strides(k, unit), *count_strides(v, unit))
        launch(
            own_states_kernel,
            inner_cuts * PIECES * _ceil_div(dim_out, tile.block_e),
            (k, v, sequences.slopes, shares.cuts, sequences.bounds, own, *strides, *sizes),
            k.dtype,
            **_constants(tile, k.dtype, dim, dim_out, unit),
            PIECES=PIECES,
            **switches,
        )
        launch(
            carry_states_kernel,
            inner_cuts * _ceil_div(dim * dim_out, CARRY_BLOCK),
            (
                *(own, carried, initial, sequences.slopes, shares.cuts, sequences.bounds, *sizes),
                *(heads, shares.num_programs, has_initial, initial_factor),
            ),
            None,
            STATE_SIZE=dim * dim_out,
            BLOCK=CARRY_BLOCK,
            BLOCK_T=tile.block_t,
            PIECES=PIECES,
            MAX_CUTS=pad_dim(shares.num_programs + 1),
            **switches,
        )
    return carried


def launch_walk(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    sequences: Sequences,
    *,
    carried: torch.Tensor | None,
    initial: torch.Tensor | None = None,
    initial_factor: float = 1.0,
    final: torch.Tensor | None = None,
    final_factor: float = 1.0,
    backwards: bool = False,
    transposed: bool = False,
) -> torch.Tensor:
    """One walk: o `[B, T, H, E]`; `final` if given takes the last states (`[.., E, D]` if transposed)."""
    batch, num_tokens, heads, dim, dim_out = *q.shape, v.shape[-1]
    tile = choose_tile(q.dtype, dim, dim_out, describe_card(q.device).shared_bytes)
    unit = choose_unit(q.dtype, dim, dim_out)
    q, k, v = align(q, unit), align(k, unit), align(v, unit)
    o = torch.empty(batch, num_tokens, heads, dim_out, dtype=q.dtype, device=q.device)
    initial, has_initial = or_unread(initial, sequences)
    final, has_final = or_unread(final, sequences)
    with on_device(q):
        launch(
            walk_kernel,
            sequences.shares.num_programs * _ceil_div(dim_out, tile.block_e),
            (
                *(q, k, v, o, sequences.slopes, sequences.shares.cuts, sequences.bounds),
                *(or_unread(carried, sequences)[0], initial, final),
                *(*count_strides(q, unit), *count_strides(k, unit)),
                *(*count_strides(v, unit), *count_strides(o, unit)),
                *(sequences.num_sequences, sequences.num_tokens, heads, has_initial, has_final),
                *(sequences.scale, initial_factor, final_factor),
            ),
            k.dtype,
            **_constants(tile, k.dtype, dim, dim_out, unit),
            BACKWARDS=backwards,
            TRANSPOSED=transposed,
            PACKED=sequences.cu_seqlens is not None,
        )
    return o


def on_device(x: torch.Tensor) -> contextlib.AbstractContextManager[None]:
    """Triton launches on the current device."""
    if not x.is_cuda or x.device.index == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(x.device)


def or_unread(state: torch.Tensor | None, sequences: Sequences) -> tuple[torch.Tensor, int]:
    """A dense state and 1, or a pointer that is not read and 0."""
    return (sequences.slopes, 0) if state is None else (densify(state), 1)


def _constants(tile: Tile, dtype: torch.dtype, dim: int, dim_out: int, unit: int) -> dict[str, Any]:
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
        # Rows that begin at odd 2-byte addresses cannot be copied asynchronously; Triton's pipeline is wrong
        # there.
        "num_stages": tile.num_stages if unit * dtype.itemsize >= 4 else 1,
    }


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
