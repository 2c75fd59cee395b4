"""From tensors to launches of the plain kernels: layouts, tiles, shares. No checks and no gradients."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import Any

import torch
from triton.runtime.jit import JITFunction

from .layout import choose_unit, count_strides, densify, lay_out
from .shares import Shares, share_out
from .states import carry_states_kernel, own_states_kernel
from .tiles import Tile, choose_states_tile, choose_tile, pad_dim
from .variants import Variant
from .walk import walk_kernel

CARRY_BLOCK = 1024
PIECES = 2  # programs that make the own state before one cut, so that few slow heads do not keep few SMs


def kernels_are_interpreted() -> bool:
    """Whether TRITON_INTERPRET was set when the kernels were defined."""
    return not isinstance(walk_kernel, JITFunction)


@dataclasses.dataclass(kw_only=True, slots=True)
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
    ) -> Sequences:
        """Bring slopes and cu_seqlens into the one form the kernels are compiled for, and share out the work.

        `path` is that of paths.py.
        """
        if cu_seqlens is not None:
            cu_seqlens = densify(cu_seqlens.to(torch.int64))
        slopes = densify(slopes)
        num_sequences = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
        slots = describe_card(q.device).num_sms
        if path == "plain":
            tile = choose_tile(q.dtype, q.shape[-1], v.shape[-1], *_switches(q))
            slots = max(1, slots * tile.programs_per_sm // _ceil_div(v.shape[-1], tile.block_e))
        with on_device(q):
            shares = share_out(slopes, cu_seqlens, num_sequences, q.shape[1], slots, q.dtype)
        return cls(
            slopes=slopes,
            cu_seqlens=cu_seqlens,
            num_sequences=num_sequences,
            num_tokens=q.shape[1],
            scale=scale,
            shares=shares,
        )

    @property
    def packed(self) -> bool:
        """Whether the sequences are documents packed in one."""
        return self.cu_seqlens is not None

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
    max_cuts = pad_dim(shares.num_programs + 1)
    found = _states_variants(k.dtype, dim, dim_out, _switches(k), backwards, sequences.packed, max_cuts)
    k, v = lay_out(k, found.unit), lay_out(v, found.unit)
    inner_cuts = shares.num_programs - 1
    own = torch.empty(shares.num_programs + 1, PIECES, dim, dim_out, dtype=torch.float32, device=k.device)
    carried = torch.empty(shares.num_programs + 1, dim, dim_out, dtype=torch.float32, device=k.device)
    initial, has_initial = or_unread(initial, sequences)
    sizes = (sequences.num_sequences, sequences.num_tokens)
    with on_device(k):
        found.variant.launch(
            inner_cuts * PIECES * _ceil_div(dim_out, found.tile.block_e),
            *(k.device, k, v, sequences.slopes, shares.cuts, sequences.bounds, own),
            *(*count_strides(k, found.unit), *count_strides(v, found.unit), *sizes),
        )
        found.carry.launch(
            inner_cuts * _ceil_div(dim * dim_out, CARRY_BLOCK),
            *(k.device, own, carried, initial, sequences.slopes, shares.cuts, sequences.bounds, *sizes),
            *(heads, shares.num_programs, has_initial, initial_factor),
        )
    return carried


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """A walk made ready for tensors of certain shapes and strides, which it reads in place."""

    variant: Variant
    num_programs: int
    shape: tuple[int, ...]  # of o
    sizes: tuple[Any, ...]  # the arguments behind the pointers

    def run(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, pointers: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        """o `[B, T, H, E]`; `pointers` are those of `point`."""
        o = torch.empty(self.shape, dtype=q.dtype, device=q.device)
        self.variant.launch(self.num_programs, q.device, q, k, v, o, *pointers, *self.sizes)
        return o


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
    unit = choose_unit(q.dtype, q.shape[-1], v.shape[-1])
    q, k, v = (lay_out(x, unit) for x in (q, k, v))
    states = (int(initial is not None), int(final is not None), initial_factor, final_factor)
    walk = bind_walk(q, k, v, sequences, states, backwards=backwards, transposed=transposed)
    with on_device(q):
        return walk.run(q, k, v, point(sequences, carried, initial, final))


def bind_walk(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    sequences: Sequences,
    states: tuple[int, int, float, float] = (0, 0, 1.0, 1.0),
    *,
    backwards: bool = False,
    transposed: bool = False,
) -> Walk:
    """A walk over tensors that are laid out as these; `states`: whether first and last are given, factors."""
    batch, num_tokens, heads, dim, dim_out = *q.shape, v.shape[-1]
    found = _walk_variant(q.dtype, dim, dim_out, _switches(q), backwards, transposed, sequences.packed)
    of_o = (num_tokens * heads * dim_out, heads * dim_out, dim_out)
    return Walk(
        variant=found.variant,
        num_programs=sequences.shares.num_programs * _ceil_div(dim_out, found.tile.block_e),
        shape=(batch, num_tokens, heads, dim_out),
        sizes=(
            *(stride for x in (q, k, v) for stride in count_strides(x, found.unit)),
            *(stride // found.unit for stride in of_o),
            *(sequences.num_sequences, num_tokens, heads, *states[:2], sequences.scale, *states[2:]),
        ),
    )


def point(
    sequences: Sequences,
    carried: torch.Tensor | None = None,
    initial: torch.Tensor | None = None,
    final: torch.Tensor | None = None,
) -> tuple[torch.Tensor, ...]:
    """The tensors of a walk beside q, k, v and o: slopes, cuts, bounds and states, those given dense."""
    states = (sequences.slopes if x is None else densify(x) for x in (carried, initial, final))
    return sequences.slopes, sequences.shares.cuts, sequences.bounds, *states


def on_device(x: torch.Tensor) -> contextlib.AbstractContextManager[None]:
    """Triton launches on the current device."""
    if not x.is_cuda or x.device.index == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(x.device)


def or_unread(state: torch.Tensor | None, sequences: Sequences) -> tuple[torch.Tensor, int]:
    """A dense state and 1, or a pointer that is not read and 0."""
    return (sequences.slopes, 0) if state is None else (densify(state), 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """What a walk, or the pass for states, is compiled for."""

    tile: Tile
    unit: int  # elements the strides are counted in
    variant: Variant
    carry: Variant | None = None  # the scan behind own states


def allows_tf32(x: torch.Tensor) -> bool:
    """Whether x is fp32 and torch's own switch allows tf32 products of such."""
    if x.dtype is not torch.float32:
        return False
    matmul = torch.backends.cuda.matmul
    # The newer switch tells of the older one too, which raises once the newer was used.
    precision = getattr(matmul, "fp32_precision", None)
    return matmul.allow_tf32 if precision is None else precision == "tf32"


def choose_products(x: torch.Tensor) -> str:
    """How fp32 is multiplied, in Triton's words; 16-bit operands are multiplied as they are.

    Three products of tf32 make one whose error is nearly that of fp32: on Hopper, whose tensor cores read
    operands from shared memory. Before it they take them from registers, which do not hold the three (32 are
    left a thread, and up to 17 KB of spills).
    """
    if allows_tf32(x):
        return "tf32"
    hopper = torch.version.hip is None and describe_card(x.device).capability == (9, 0)
    return "tf32x3" if x.dtype is torch.float32 and hopper else "ieee"


def _switches(x: torch.Tensor) -> tuple[int, str]:
    """What a compilation depends on beside the call: shared memory, and how fp32 is multiplied."""
    return describe_card(x.device).shared_bytes, choose_products(x)


@functools.cache
def _walk_variant(
    dtype: torch.dtype,
    dim: int,
    dim_out: int,
    switches: tuple[int, str],
    backwards: bool,
    transposed: bool,
    packed: bool,
) -> Compiled:
    tile = choose_tile(dtype, dim, dim_out, *switches)
    unit = choose_unit(dtype, dim, dim_out)
    constants = _constants(tile, dim, dim_out, unit, products=switches[1])
    constants |= {"BACKWARDS": backwards, "TRANSPOSED": transposed, "PACKED": packed}
    options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    return Compiled(tile=tile, unit=unit, variant=Variant(walk_kernel, constants, **options))


@functools.cache
def _states_variants(
    dtype: torch.dtype,
    dim: int,
    dim_out: int,
    switches: tuple[int, str],
    backwards: bool,
    packed: bool,
    max_cuts: int,
) -> Compiled:
    tile = choose_states_tile(dtype, dim, dim_out, *switches)
    unit = choose_unit(dtype, dim, dim_out)
    shared = {"PIECES": PIECES, "BACKWARDS": backwards, "PACKED": packed}
    own = _constants(tile, dim, dim_out, unit, products=switches[1]) | shared
    carry = {"STATE_SIZE": dim * dim_out, "BLOCK": CARRY_BLOCK, "BLOCK_T": tile.block_t, "MAX_CUTS": max_cuts}
    options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    return Compiled(
        tile=tile,
        unit=unit,
        variant=Variant(own_states_kernel, own, **options),
        carry=Variant(carry_states_kernel, carry | shared),
    )


def _constants(tile: Tile, dim: int, dim_out: int, unit: int, *, products: str) -> dict[str, Any]:
    """Constants of a walk and its states in the order of their signatures."""
    return {
        "D": dim,
        "E": dim_out,
        "BLOCK_T": tile.block_t,
        "BLOCK_D": pad_dim(dim),
        "BLOCK_E": tile.block_e,
        "UNIT": unit,
        "PRECISION": products,
    }


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
