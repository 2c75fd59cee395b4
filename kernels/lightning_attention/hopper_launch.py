"""From tensors to launches of the Gluon kernels for Hopper (hopper_*.py). No checks and no gradients."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from .hopper_gradients import hopper_gradients_kernel
from .hopper_walk import hopper_walk_kernel
from .launch import Sequences, on_device, point
from .variants import Repeats, Variant

BLOCK_T = 64
# Blocks of a program in shared memory. Where every multiprocessor has many blocks to walk, a third only makes
# the queues before the memory longer; short shares gain an eighth from it (LOG.md).
STAGES = 2
STAGES_OF_SHORT = 3
SHORT_SHARE = 2048  # tokens of a head
Steps = tuple[int, int, int]  # rows from batch to batch, rows and columns from head to head


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """How TMA reads tensors of certain shapes and strides: as rows, one a token, in blocks of 64.

    A token of a head lies at row `batch * steps[0] + head * steps[1] + token` and column `head * steps[2]`:
    heads side by side in a row, or one after another.
    """

    steps: Steps
    described: dict[str, Any]  # a descriptor without its tensor

    def describe(self, x: torch.Tensor) -> Any:
        """The descriptor of x; what its own constructor checks, `find_steps` has."""
        descriptor = object.__new__(TensorDescriptor)
        descriptor.__dict__.update(self.described, base=x)
        return descriptor


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HopperWalk:
    """A walk made ready for tensors of certain shapes and strides, as `launch.Walk`."""

    variant: Variant
    num_programs: int
    shape: tuple[int, ...]  # of o
    rows: tuple[Rows, ...]  # of q, k, v and o
    sizes: tuple[Any, ...]
    repeats: Repeats = dataclasses.field(default_factory=Repeats)

    def run(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, pointers: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        """o `[B, T, H, E]`; `pointers` are those of `launch.point`."""
        o = torch.empty(self.shape, dtype=q.dtype, device=q.device)
        moving = (q, k, v, o)
        rest = (o, *pointers, *self.sizes)
        # Slopes may have been given other memory since they were prepared for.
        self.repeats.launch(
            self.variant,
            self.num_programs,
            (*moving, pointers[0]),
            lambda: (*_describe(self.rows, moving), *rest),
        )
        return o


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HopperGradients:
    """The pass of dk and dv made ready for tensors of certain shapes and strides."""

    variant: Variant
    num_programs: int
    shapes: tuple[tuple[int, ...], tuple[int, ...]]  # of dk and dv
    rows: tuple[Rows, ...]  # of q, k, v, do, dk and dv
    sizes: tuple[Any, ...]
    repeats: Repeats = dataclasses.field(default_factory=Repeats)

    def run(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        do: torch.Tensor,
        pointers: tuple[torch.Tensor, ...],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """dk `[B, T, H, D]` and dv `[B, T, H, E]`; `pointers` are those of `launch.point`."""
        dk, dv = (torch.empty(shape, dtype=q.dtype, device=q.device) for shape in self.shapes)
        moving = (q, k, v, do, dk, dv)
        rest = (dk, dv, *pointers, *self.sizes)
        # Slopes may have been given other memory since they were prepared for.
        self.repeats.launch(
            self.variant,
            self.num_programs,
            (*moving, pointers[0]),
            lambda: (*_describe(self.rows, moving), *rest),
        )
        return dk, dv


def _describe(rows: tuple[Rows, ...], tensors: tuple[torch.Tensor, ...]) -> list[Any]:
    return [each.describe(x) for each, x in zip(rows, tensors, strict=True)]


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
    transposed: bool = False,
) -> torch.Tensor:
    """A walk forwards, as `launch.launch_walk`: o `[B, T, H, E]`."""
    q, k, v = (lay_out(x) for x in (q, k, v))
    states = (int(initial is not None), int(final is not None), initial_factor, final_factor)
    walk = bind_walk(q, k, v, sequences, states, transposed=transposed)
    with on_device(q):
        return walk.run(q, k, v, point(sequences, carried, initial, final))


def launch_gradients(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    sequences: Sequences,
    *,
    carried: torch.Tensor | None,
    initial: torch.Tensor | None,
    initial_factor: float,
    final: torch.Tensor | None,
    final_factor: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """dk `[B, T, H, D]` and dv `[B, T, H, E]`; `initial`, `final`: gradients of last and first state."""
    q, k, v, do = (lay_out(x) for x in (q, k, v, do))
    states = (int(initial is not None), int(final is not None), initial_factor, final_factor)
    gradients = bind_gradients(q, k, v, do, sequences, states)
    with on_device(q):
        return gradients.run(q, k, v, do, point(sequences, carried, initial, final))


def bind_walk(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    sequences: Sequences,
    states: tuple[int, int, float, float] = (0, 0, 1.0, 1.0),
    *,
    transposed: bool = False,
) -> HopperWalk:
    """A walk over tensors that are laid out as these, as `launch.bind_walk`."""
    batch, num_tokens, heads, dim, dim_out = *q.shape, v.shape[-1]
    read = (_rows_of(q, dim), _rows_of(k, dim), _rows_of(v, dim_out // 2))
    short = batch * num_tokens * heads <= SHORT_SHARE * sequences.shares.num_programs
    return HopperWalk(
        variant=_walk_variant(
            dim, dim_out, sequences.packed, transposed, STAGES_OF_SHORT if short else STAGES
        ),
        num_programs=sequences.shares.num_programs,
        shape=(batch, num_tokens, heads, dim_out),
        rows=(*read, _dense_rows(batch * num_tokens, heads * dim_out, dim_out // 2)),
        sizes=_sizes(read, sequences, heads, states),
    )


def bind_gradients(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    sequences: Sequences,
    states: tuple[int, int, float, float] = (0, 0, 1.0, 1.0),
) -> HopperGradients:
    """The pass of dk and dv over tensors that are laid out as these."""
    batch, num_tokens, heads, dim, dim_out = *q.shape, v.shape[-1]
    read = tuple(_rows_of(x, x.shape[-1]) for x in (q, k, v, do))
    written = (_dense_rows(batch * num_tokens, heads * columns, columns) for columns in (dim, dim_out))
    return HopperGradients(
        variant=_gradients_variant(dim, dim_out, sequences.packed),
        num_programs=sequences.shares.num_programs,
        shapes=((batch, num_tokens, heads, dim), (batch, num_tokens, heads, dim_out)),
        rows=(*read, *written),
        sizes=_sizes(read, sequences, heads, states),
    )


def _sizes(
    read: tuple[Rows, ...], sequences: Sequences, heads: int, states: tuple[int, int, float, float]
) -> tuple[Any, ...]:
    return (
        *(step for rows in read for step in rows.steps),
        *(sequences.num_sequences, sequences.num_tokens, heads, *states[:2], sequences.scale, *states[2:]),
    )


def lay_out(x: torch.Tensor) -> torch.Tensor:
    """x `[B, T, H, D]`, or a copy where TMA cannot read it."""
    return x if find_steps(x) is not None else x.clone(memory_format=torch.contiguous_format)


def _rows_of(x: torch.Tensor, columns: int) -> Rows:
    steps = find_steps(x)
    assert steps is not None
    batch, num_tokens, heads, dim = x.shape
    rows = (batch - 1) * steps[0] + (heads - 1) * steps[1] + num_tokens
    stride = x.stride(1) if num_tokens > 1 else heads * dim
    return _rows(steps, rows, (heads - 1) * steps[2] + dim, stride, columns)


def _dense_rows(rows: int, width: int, columns: int) -> Rows:
    """Rows that a kernel writes: its own places, so no steps."""
    return _rows((0, 0, 0), rows, width, width, columns)


def _rows(steps: Steps, rows: int, width: int, stride: int, columns: int) -> Rows:
    described = {
        "shape": [rows, width],
        "strides": [stride, 1],
        "block_shape": [BLOCK_T, columns],
        "layout": _layout(columns),
        "padding": "zero",
    }
    return Rows(steps=steps, described=described)


def find_steps(x: torch.Tensor) -> Steps | None:
    """Steps of x in rows and columns, or None where TMA cannot read it so."""
    batch, num_tokens, heads, dim = x.shape
    by_batch, by_token, by_head, by_column = x.stride()
    by_token = by_token if num_tokens > 1 else heads * dim
    by_batch = by_batch if batch > 1 else by_token
    by_head = by_head if heads > 1 else 0
    if by_column != 1 or by_token <= 0 or by_token % 8 or by_batch % by_token or x.data_ptr() % 16:
        return None
    if by_head % by_token == 0:
        return by_batch // by_token, by_head // by_token, 0
    return (by_batch // by_token, 0, by_head) if by_head % 8 == 0 and by_head < by_token else None


@functools.cache
def _walk_variant(dim: int, dim_out: int, packed: bool, transposed: bool, stages: int) -> Variant:
    constants = {"D": dim, "E": dim_out, "STAGES": stages, "PACKED": packed, "TRANSPOSED": transposed}
    return Variant(hopper_walk_kernel, constants, num_warps=4)


@functools.cache
def _gradients_variant(dim: int, dim_out: int, packed: bool) -> Variant:
    return Variant(
        hopper_gradients_kernel, {"D": dim, "E": dim_out, "STAGES": STAGES, "PACKED": packed}, num_warps=4
    )


@functools.cache
def _layout(columns: int) -> Any:
    return gl.NVMMASharedLayout.get_default_for([BLOCK_T, columns], gl.bfloat16)
