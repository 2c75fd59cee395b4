"""Calls prepared once: what follows from slopes, shapes and strides is worked out at the first call like it.

Checking, choosing kernels, sharing out work and counting strides takes the host several times as long as
launching. So a call without states, packed documents and copies is remembered beside its slopes, and the next
one like it only launches.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from .facts import facts_of
from .launch import Sequences, allows_tf32, bind_walk, on_device
from .layout import ALIGNMENT_BYTES, choose_unit, densify, is_aligned
from .padding import needs_padding
from .paths import forced_path
from .variants import current_stream

PREPARED = "prepared"  # a fact about slopes: {key: Prepared, or None for a call that cannot be}
MOST_PREPARED = 64  # calls for one tensor of slopes
UNALIGNED = ALIGNMENT_BYTES - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """The kernels of a call; tensors come with each call, since they may not be kept."""

    path: str
    walk: Any  # launch.Walk or hopper_launch.HopperWalk
    sequences: Sequences  # with no slopes in it
    gradients: dict[Any, Any] = dataclasses.field(default_factory=dict)  # strides -> Gradients

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        """o `[B, T, H, E]`."""
        return self.walk.run(q, k, v, self._point(slopes))

    def differentiate(
        self,
        tensors: tuple[torch.Tensor, ...],
        do: torch.Tensor,
        needs: tuple[bool, ...],
    ) -> tuple[torch.Tensor | None, ...] | None:
        """Gradients of q, k and v (`tensors`: these and slopes), or None where not prepared for them."""
        q, k, v, slopes = tensors
        if not all(needs) or _is_capturing(q):
            return None
        # Hooks on saved tensors may hand q, k and v back with other strides than they were saved with.
        places = q.data_ptr() | k.data_ptr() | v.data_ptr() | do.data_ptr()
        key = (q.stride(), k.stride(), v.stride(), do.stride(), places & UNALIGNED)
        if key not in self.gradients:
            self.gradients[key] = self._bind_gradients(q, k, v, do, slopes)
        bound = self.gradients[key]
        if bound is None:
            return None
        pointers = self._point(slopes)
        with on_device(q):
            dq = bound[0].run(do, v, k, pointers)
            if len(bound) == 2:
                return dq, *bound[1].run(q, k, v, do, pointers)
            dv = bound[1].run(k, q, do, pointers)
            return dq, bound[2].run(v, do, q, pointers), dv

    def _bind_gradients(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, do: torch.Tensor, slopes: torch.Tensor
    ) -> tuple[Any, ...] | None:
        sequences = dataclasses.replace(self.sequences, slopes=slopes)
        if sequences.scale == 0.0 or not _in_place((q, k, v, do), self.path):
            return None
        if self.path == "hopper":
            from . import hopper_launch

            return (
                hopper_launch.bind_walk(do, v, k, sequences, transposed=True),
                hopper_launch.bind_gradients(q, k, v, do, sequences),
            )
        return (
            bind_walk(do, v, k, sequences, transposed=True),
            bind_walk(k, q, do, sequences, backwards=True),
            bind_walk(v, do, q, sequences, backwards=True, transposed=True),
        )

    def _point(self, slopes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cuts = self.sequences.shares.cuts
        return slopes, cuts, slopes, slopes, slopes, slopes  # the last four are not read


def recall(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor, scale: float
) -> Prepared | None:
    """What was prepared for a call like this one, which then needs no checks; None for a new one."""
    key = _describe(q, k, v, slopes, scale)
    return None if key is None else facts_of(slopes).get(PREPARED, {}).get(key)


def prepare(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor, scale: float, path: str
) -> None:
    """Prepare for calls like this one, whose arguments were checked, if they can be."""
    key = _describe(q, k, v, slopes, scale)
    if key is None:
        return
    known = facts_of(slopes).setdefault(PREPARED, {})
    if key not in known:
        if len(known) >= MOST_PREPARED:
            known.clear()
        known[key] = _prepared(q, k, v, slopes, scale, path)


def _prepared(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor, scale: float, path: str
) -> Prepared | None:
    """None for a call that needs copies or carried states: that too need be found out only once."""
    if densify(slopes) is not slopes or needs_padding(q, v) or not _in_place((q, k, v), path):
        return None
    sequences = Sequences.build(q, v, slopes, None, scale, path=path)
    if sequences.shares.carries:
        return None
    if path == "hopper":
        from . import hopper_launch

        walk: Any = hopper_launch.bind_walk(q, k, v, sequences)
    else:
        walk = bind_walk(q, k, v, sequences)
    sequences = dataclasses.replace(sequences, slopes=sequences.shares.cuts)  # facts must not hold slopes
    return Prepared(path=path, walk=walk, sequences=sequences)


def _describe(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor, scale: float
) -> tuple[Any, ...] | None:
    """All that checks, choice of kernels and launches depend on, or None where nothing may be kept."""
    try:
        if (q.data_ptr() | k.data_ptr() | v.data_ptr()) & UNALIGNED:
            return None
        if slopes.requires_grad or slopes.is_inference() or type(scale) is not float:
            return None
        if _is_capturing(q) or (q.is_cuda and q.device.index != torch.cuda.current_device()):
            return None
        return (
            *(q.shape, q.stride(), k.shape, k.stride(), v.shape, v.stride(), q.dtype, k.dtype, v.dtype),
            *(q.device, k.device, v.device, current_stream(q), scale, forced_path()),
            allows_tf32(q),
        )
    except AttributeError:  # no tensor: the checks will say so
        return None


def _is_capturing(q: torch.Tensor) -> bool:
    """Whether a CUDA graph is captured, which may be replayed when what is kept is gone."""
    return q.is_cuda and torch.cuda.is_current_stream_capturing()


def _in_place(tensors: tuple[torch.Tensor, ...], path: str) -> bool:
    """Whether the kernels of a path read all of these where they lie."""
    if path == "hopper":
        from .hopper_launch import find_steps

        return all(find_steps(x) is not None for x in tensors)
    unit = choose_unit(tensors[0].dtype, tensors[0].shape[-1], tensors[2].shape[-1])
    return all(is_aligned(x, unit) for x in tensors)
