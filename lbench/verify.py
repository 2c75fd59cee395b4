"""Is what a backend returned the truth? Errors of outputs and gradients against the mechanism's reference.

Two figures a tensor: the relative RMS error over all that the reference covers, and the worst of any block
(one batch element, one head, 64 tokens), so that a few wrong tokens in a million show. What is allowed is a
small multiple of what the mechanism's own eager form loses in that dtype on those inputs, for every backend.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lbench import backends, mechanisms
from lbench.case import Case
from lbench.mechanisms.draws import dtype_of
from lbench.mechanisms.spec import Inputs, Mechanism, Part, shape

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 64
"""Tokens of a block; the last block of a tensor takes the tokens behind the last multiple too (up to 127)."""
ALLOWED = 4.0
"""Times the eager form's own error."""
PREFIX = 2048
"""Tokens on which the eager form's error is taken."""
FEW_NUMBERS = 1024
"""Below so many numbers an error is a matter of luck (mamba2's dA has one number a head)."""
SMALLEST_BLOCK = 1e-6
"""A block's RMS counts as at least this share of its tensor's."""
ZERO = 1e-9
"""A tensor below this share of the output counts as zero, and its error is taken relative to the output."""


@dataclass(frozen=True, kw_only=True)
class Error:
    """Relative RMS errors of one tensor; infinite where a number is not finite."""

    rms: float
    """Over everything the reference covers."""
    block: float
    """The worst of any block."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What verifying a case came to."""

    errors: Mapping[str, Error]
    """By tensor: `o`, `state`, `dq` and so on."""
    limits: Mapping[str, Error]
    coverage: str
    """What share of the outputs was compared, in words."""
    verdict: str
    """`ok` or `wrong`."""
    reason: str
    """Empty for `ok`; else the worst tensor, its error and its limit."""

    @property
    def error_out(self) -> float | None:
        """The largest relative RMS error of `o` and `state`."""
        return _largest(error.rms for name, error in self.errors.items() if name in ("o", "state"))

    @property
    def error_grad(self) -> float | None:
        """The largest relative RMS error of a gradient; None where none was taken."""
        return _largest(error.rms for name, error in self.errors.items() if name not in ("o", "state"))

    @property
    def error_block(self) -> float | None:
        """The largest error of any block of any tensor."""
        return _largest(error.block for error in self.errors.values())


def verify(
    case: Case, inputs: Inputs, outputs: Mapping[str, Tensor], output_gradient: Tensor | None
) -> Verification:
    """Compare `outputs` (canonical tensors by name: `o`, `state`, `dq` ...) with the truth.

    `output_gradient` [B, T, H, E] is what the gradients were taken with; None for fwd and decode.
    """
    mechanism = mechanisms.load(case.mechanism)
    dims = dims_of(mechanism, decode=case.pass_name == "decode")
    expected = [
        *(mechanism.decode_outputs if case.pass_name == "decode" else ["o"]),
        *([] if output_gradient is None else [f"d{name}" for name in mechanism.gradients]),
    ]
    coverage = mechanism.coverage(case)
    for name in expected:
        given = tuple(outputs[name].shape) if name in outputs else None
        if given != shape(dims[name], case):
            reason = f"{name} has shape {given}, it must be {shape(dims[name], case)}"
            return Verification(errors={}, limits={}, coverage=coverage, verdict="wrong", reason=reason)
    errors = errors_of(outputs, mechanism.reference(case, inputs, output_gradient), dims)
    limits = limits_of(case, inputs, output_gradient)
    reason = _reason(errors, limits)
    return Verification(
        errors=errors, limits=limits, coverage=coverage, verdict="wrong" if reason else "ok", reason=reason
    )


def errors_of(
    outputs: Mapping[str, Tensor], parts: Iterable[Part], dims: Mapping[str, str]
) -> dict[str, Error]:
    """Errors of every tensor that the truth's parts name; `dims` says the axes of each (`dims_of`).

    The truth is read once and never held whole; sums stay on its device until the end.
    """
    grids: dict[str, _Grid] = {}
    for part in parts:
        output = outputs[part.name]
        grid = grids.setdefault(part.name, _Grid(dims[part.name], output))
        grid.add(part, output)
    output_rms = grids["o"].rms() if "o" in grids else 0.0
    return {name: grid.error(output_rms) for name, grid in grids.items()}


def limits_of(case: Case, inputs: Inputs, output_gradient: Tensor | None) -> dict[str, Error]:
    """Allowed errors: 4 times those of the eager form on the first 2,048 tokens of the first batch element.

    They are at least half an epsilon of the case's dtype (twice what rounding the result once costs) and
    64 epsilons of fp32 (sums over sequences longer than the prefix).
    """
    import torch

    mechanism = mechanisms.load(case.mechanism)
    prefix = dataclasses.replace(
        case, backend=f"{case.mechanism}_eager", batch=1, seq_len=min(case.seq_len, PREFIX)
    )
    decode = case.pass_name == "decode"
    if decode:
        prefix = dataclasses.replace(prefix, seq_len=case.seq_len)
    tensor_dims = mechanism.decode_tensors if decode else mechanism.tensors
    cut = {"b": slice(0, 1), "t": slice(0, 1 if decode else prefix.seq_len)}
    tensors = {
        # A copy, as a decoding step writes into its cache.
        name: inputs.tensors[name][tuple(cut.get(dim, slice(None)) for dim in dims)].clone()
        for name, dims in tensor_dims.items()
    }
    few = Inputs(tensors, inputs.constants)
    gradient = None if output_gradient is None else output_gradient[:1, : prefix.seq_len]
    outputs = eager_outputs(prefix, few, gradient, mechanism)
    lost = errors_of(outputs, mechanism.reference(prefix, few, gradient), dims_of(mechanism, decode=decode))
    floor = max(torch.finfo(dtype_of(case)).eps / 2, 64 * torch.finfo(torch.float32).eps)
    limits = {}
    for name, error in lost.items():
        # A tensor of a few numbers may be right by luck: it is allowed at least what the output is.
        least = lost["o"] if outputs[name].numel() < FEW_NUMBERS else error
        limits[name] = Error(
            rms=_allowed(max(error.rms, least.rms), floor),
            block=_allowed(max(error.block, least.block), floor),
        )
    return limits


def dims_of(mechanism: Mechanism, *, decode: bool) -> dict[str, str]:
    """Axes of `o`, the state and every gradient, one letter each (see mechanisms.spec)."""
    tensors = mechanism.decode_tensors if decode else mechanism.tensors
    return {"o": "bthe", **{f"d{name}": dims for name, dims in tensors.items()}} | {
        name: dims for name, dims in tensors.items() if name == "state"
    }


def eager_outputs(
    case: Case, inputs: Inputs, output_gradient: Tensor | None, mechanism: Mechanism
) -> dict[str, Tensor]:
    """What a registered backend in canonical layout answers: `o`, the state and every gradient.

    Called apart from any timing, on the given tensors themselves.
    """
    import torch

    forward = backends.load(case.backend).build(case, inputs.constants)
    if output_gradient is None:
        with torch.no_grad():
            outputs = forward(**inputs.tensors)
        names = mechanism.decode_outputs if case.pass_name == "decode" else ("o",)
        return dict(zip(names, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))
    tensors = {name: tensor.detach() for name, tensor in inputs.tensors.items()}
    leaves = [tensors[name].requires_grad_() for name in mechanism.gradients]
    with torch.enable_grad():
        o = forward(**tensors)
    assert not isinstance(o, tuple)
    gradients = torch.autograd.grad(o, leaves, output_gradient)
    names = tuple(f"d{name}" for name in mechanism.gradients)
    return {"o": o.detach(), **dict(zip(names, gradients, strict=True))}


class _Grid:
    """Sums of squares of one tensor by block, batch element and head: [blocks, B, H]."""

    def __init__(self, dims: str, output: Tensor) -> None:
        import torch

        sizes = dict(zip(dims, output.shape, strict=True))
        self.dims, self.head = dims, "g" if "g" in dims else "h"
        length = sizes.get("t", 1)
        blocks = max(length // BLOCK, 1)
        self.block_of = (torch.arange(length, device=output.device) // BLOCK).clamp(max=blocks - 1)
        size = (3, blocks, sizes.get("b", 1), sizes.get(self.head, 1))
        self.sums = torch.zeros(size, dtype=torch.float64, device=output.device)

    def add(self, part: Part, output: Tensor) -> None:
        """Add squared errors, squared truth and the count of a part."""
        import torch

        truth = part.values.to(output.device, torch.float64)
        error = output.detach()[part.index].to(torch.float64) - truth
        where = dict(zip(self.dims, part.index, strict=False))
        everything = slice(None)
        times = self.block_of[where.get("t", everything)]
        rows, heads = where.get("b", everything), where.get(self.head, everything)
        for sums, values in zip(
            self.sums, (error.square(), truth.square(), torch.ones_like(truth)), strict=True
        ):
            sums[:, rows, heads].index_add_(0, times, self._reduced(values))

    def _reduced(self, values: Tensor) -> Tensor:
        """Sum over all axes but time, batch and head, as [T, B, H]."""
        kept = [dim for dim in ("t", "b", self.head) if dim in self.dims]
        subscripts = {dim: index for index, dim in enumerate(self.dims)}
        others = [subscripts[dim] for dim in self.dims if dim not in kept]
        values = values.permute([subscripts[dim] for dim in kept] + others)
        if others:
            values = values.flatten(len(kept)).sum(-1)
        for axis, dim in enumerate(("t", "b", self.head)):
            if dim not in kept:
                values = values.unsqueeze(axis)
        return values

    def rms(self) -> float:
        """RMS of the truth."""
        _, truth, count = self.sums.flatten(1).sum(1).tolist()
        return math.sqrt(truth / count)

    def error(self, output_rms: float) -> Error:
        """Both figures. A block of n numbers counts as at least 1/n^2 of its tensor's RMS."""
        import torch

        error, truth, count = self.sums.flatten(1)
        if not torch.isfinite(error).all():
            return Error(rms=math.inf, block=math.inf)
        own = self.rms()
        scale = own if own > ZERO * output_rms else output_rms
        if scale == 0:
            exact = bool((error == 0).all())
            return Error(rms=0.0 if exact else math.inf, block=0.0 if exact else math.inf)
        covered = count > 0
        error, truth, count = error[covered], truth[covered], count[covered]
        # Sums of few numbers cancel by chance, which says nothing about the error.
        smallest = scale * (1 / count.square()).clamp(min=SMALLEST_BLOCK, max=1.0)
        if scale != own:
            smallest = torch.full_like(smallest, scale)
        blocks = ((error / count) / torch.maximum(truth / count, smallest.square())).sqrt()
        rms = math.sqrt(error.sum().item() / count.sum().item()) / scale
        return Error(rms=rms, block=blocks.max().item())


def _allowed(lost: float, floor: float) -> float:
    return max(ALLOWED * lost, floor) if math.isfinite(lost) else floor


def _reason(errors: Mapping[str, Error], limits: Mapping[str, Error]) -> str:
    """The tensor furthest beyond its limit, in words; empty where none is."""
    worst, reason = 1.0, ""
    for name, error in errors.items():
        for what, given, allowed in (
            ("relative RMS error", error.rms, limits[name].rms),
            (f"worst block of {BLOCK} tokens", error.block, limits[name].block),
        ):
            if given / allowed > worst:
                worst = given / allowed
                reason = f"{name}: {what} {given:.2e}, allowed {allowed:.2e}"
    return reason


def _largest(errors: Iterable[float]) -> float | None:
    return max(errors, default=None)
