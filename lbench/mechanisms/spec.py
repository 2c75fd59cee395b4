"""What a mechanism file declares: semantics, inputs, reference and costs of what is computed.

Dims of a tensor are written one letter an axis, in canonical order:
b batch, t time (1 in a decoding step), c tokens a cache holds (seq_len + 1), h heads, g kv_heads, d head_dim,
e head_dim_v, n d_state of mamba1 (16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

MAMBA1_STATE = 16
BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}


@dataclass(frozen=True)
class Part:
    """A piece of the truth: `values` is the exact `tensor[index]` of the canonical tensor `name`."""

    name: str
    """`o`, `state`, or `d` and a tensor's name for its gradient (`dq`)."""
    index: tuple[slice, ...]
    """Slices of the canonical tensor's axes."""
    values: Tensor
    """float64, or float32 where the mechanism says that suffices."""


@dataclass(frozen=True)
class Inputs:
    """Canonical inputs of one call, in the case's dtype, on its device, without gradient."""

    tensors: dict[str, Tensor]
    constants: dict[str, Tensor]
    """Not differentiated and the same at every call: slopes."""


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """What is computed: the value `MECHANISM` of a file in this folder."""

    title: str
    formula: str
    """The semantic contract in one line: scale, decay, normalisation, causality."""
    tensors: Mapping[str, str]
    """Name -> dims of what a backend's function is called with."""
    constants: Mapping[str, str] = field(default_factory=dict)
    gradients: tuple[str, ...]
    """The tensors whose gradients `bwd` and `fwdbwd` take."""
    decode_tensors: Mapping[str, str]
    """The same for a decoding step: one token (t = 1 where time is meant) and the state or cache."""
    decode_outputs: tuple[str, ...] = ("o", "state")
    """What a decoding step returns; a mechanism with a cache returns `o` alone."""
    make_inputs: Callable[[Case, str], Inputs]
    """(case, torch device) -> inputs drawn from the case's seed."""
    reference: Callable[[Case, Inputs, Tensor | None], Iterator[Part]]
    """(case, inputs, gradient of the output or None) -> the truth part by part, in little memory: the
    outputs, then with an output gradient every gradient. For decode: the step's outputs."""
    coverage: Callable[[Case], str] = lambda case: "all"
    """What share of the outputs the reference covers, in words."""
    floor_bytes: Callable[[Case], int]
    """Bytes that the pass of a case must move at the least: inputs read once, outputs written once."""
    useful_flops: Callable[[Case], float]
    """Floating-point operations of the pass in the mechanism's cheapest exact form."""
    name: str = ""
    """The file's name; the registry fills it in."""


def shape(dims: str, case: Case) -> tuple[int, ...]:
    """The sizes of `dims` for a case."""
    sizes = {
        "b": case.batch,
        "t": 1 if case.pass_name == "decode" else case.seq_len,
        "h": case.heads,
        "g": case.kv_heads,
        "d": case.head_dim,
        "e": case.head_dim_v,
        "n": MAMBA1_STATE,
        "c": case.seq_len + 1,
    }
    return tuple(sizes[dim] for dim in dims)
