"""What a backend file declares. Imports nothing heavy, so that listing backends is instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

Forward = Callable[..., "Tensor | tuple[Tensor, ...]"]
"""Called with the mechanism's tensors by name (arranged in the backend's layout); returns the output,
or for a decoding step with a state `(output, new state)`."""


class Unsupported(Exception):
    """Raised by `build` where a limit shows only on the machine at hand (a build without head dim 256)."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a backend wants tensors laid out. The harness arranges and restores outside the timer."""

    title: str
    arrange: Callable[[str, Tensor], Tensor]
    """(name, canonical tensor) -> the tensor as the backend takes it, dense."""
    restore: Callable[[str, Tensor], Tensor]
    """(name, tensor of the backend; `o` for the output) -> a canonical view."""
    view: Callable[[str, Tensor], Tensor] | None = None
    """As `arrange`, without the copy, where the backend takes strided tensors; models call it that way."""


CANONICAL = Layout(title="B T H D", arrange=lambda _, tensor: tensor, restore=lambda _, tensor: tensor)
STRIDED_HEADS_FIRST = Layout(
    title="B H T D",
    arrange=lambda name, tensor: _swap_time_and_heads(name, tensor).contiguous(),
    restore=lambda name, tensor: _swap_time_and_heads(name, tensor),
    view=lambda name, tensor: _swap_time_and_heads(name, tensor),
)
HEADS_FIRST = Layout(
    title="B H T D",
    arrange=lambda name, tensor: _swap_time_and_heads(name, tensor).contiguous(),
    restore=lambda name, tensor: _swap_time_and_heads(name, tensor),
)


def _swap_time_and_heads(name: str, tensor: Tensor) -> Tensor:
    # A state [B, H, D, E] has four dims too, but no time.
    return tensor.transpose(1, 2) if tensor.ndim == 4 and name != "state" else tensor


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a backend can do, as data. A case outside becomes an `unsupported` row naming the limit."""

    passes: tuple[str, ...] = ("fwd", "bwd", "fwdbwd")
    dtypes: tuple[str, ...] = ("bf16", "fp16")
    devices: tuple[str, ...] = ("cuda",)
    head_dim: tuple[int, int] = (1, 1 << 20)
    """Smallest and largest head_dim and head_dim_v."""
    head_dims: tuple[int, ...] | None = None
    """The only head dims, where the backend lists them."""
    equal_head_dims: bool = False
    """head_dim_v must equal head_dim."""
    grouped_heads: bool = False
    """Fewer kv_heads than heads are served without a copy."""
    seq_len: tuple[int, int] = (1, 1 << 40)
    carries: bool = False
    """Its forward can go on where a prefix ended, which a model's prefill in chunks needs. Built for the
    pass `prefill`, the function takes a `state` too and returns `(o, new state)`; one of softmax takes keys
    and values of more tokens than queries, the last of which sees them all."""
    elements: int | None = None
    """Most elements of one tensor, where offsets are 32-bit."""
    capability: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (99, 99))
    """Oldest and newest CUDA compute capability."""

    def unmet(self, case: Case, capability: tuple[int, int] | None = None) -> str | None:
        """The first limit that `case` breaks, in words; None where the backend can try it."""
        widest = case.batch * case.seq_len * case.heads * max(case.head_dim, case.head_dim_v)
        for axis, given, allowed in (
            ("pass", _NEEDS.get(case.pass_name, case.pass_name), self.passes),
            ("dtype", case.dtype, self.dtypes),
            ("device", case.device, self.devices),
        ):
            if given not in allowed:
                return f"{axis} {given} (has {', '.join(allowed)})"
        for name, dim in (("head_dim", case.head_dim), ("head_dim_v", case.head_dim_v)):
            if not self.head_dim[0] <= dim <= self.head_dim[1]:
                return f"{name} {dim} (has {self.head_dim[0]} to {self.head_dim[1]})"
            if self.head_dims is not None and dim not in self.head_dims:
                return f"{name} {dim} (has {', '.join(map(str, self.head_dims))})"
        if self.equal_head_dims and case.head_dim != case.head_dim_v:
            return f"head_dim_v {case.head_dim_v} with head_dim {case.head_dim} (must be equal)"
        if not self.grouped_heads and case.kv_heads != case.heads:
            return f"kv_heads {case.kv_heads} with heads {case.heads} (must be equal)"
        if not self.seq_len[0] <= case.seq_len <= self.seq_len[1]:
            return f"seq_len {case.seq_len} (has {self.seq_len[0]} to {self.seq_len[1]})"
        if self.elements is not None and widest > self.elements:
            return f"{widest} elements in one tensor (has at most {self.elements}: 32-bit offsets)"
        if case.device == "cuda" and capability is not None:
            oldest, newest = self.capability
            if not oldest <= capability <= newest:
                return f"compute capability {capability[0]}.{capability[1]} (has {oldest} to {newest})"
        return None


_NEEDS = {"train": "fwdbwd", "prefill": "fwd"}
"""What a model's pass asks of its mixer."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One implementation of one mechanism: the value `BACKEND` of a file in this folder."""

    mechanism: str
    title: str
    """As tables and legends show it."""
    marker: str = ""
    """In figures: one of `lbench.plot.style` that none of its mechanism has. Empty: its name picks one."""
    build: Callable[[Case, Mapping[str, Tensor]], Forward]
    """(case, arranged constants) -> the function to time. Imports third-party code, prepares what depends
    on constants alone, raises `Unsupported` or ImportError."""
    limits: Limits = Limits()
    layout: Layout = CANONICAL
    packages: tuple[str, ...] = ()
    """Import names that must be found."""
    switches: Mapping[str, str] = field(default_factory=dict)
    """Environment variables the backend pins before it imports them; a value set by the caller stands."""
    kernels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """`fwd`, `bwd`, `decode` -> regular expressions, each of which must be found in the name of a GPU kernel
    that ran; where one is not, another implementation has answered and the row is `wrong: fallback`."""
    name: str = ""
    """The file's name; the registry fills it in."""

    def expected_kernels(self, pass_name: str) -> tuple[str, ...]:
        """The patterns of a pass; those of both halves for `fwdbwd`."""
        halves = ("fwd", "bwd") if pass_name == "fwdbwd" else (pass_name,)
        return tuple(pattern for half in halves for pattern in self.kernels.get(half, ()))
