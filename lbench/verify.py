"""Is what a backend returned the truth? Errors of outputs and gradients against the mechanism's reference.

Two figures a tensor: the relative RMS error over all that the reference covers, and the worst of any block
(one batch element, one head, 64 tokens), so that a few wrong tokens in a million show. What is allowed is a
small multiple of what the mechanism's own eager form loses in that dtype on those inputs, for every backend.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lbench import attest, backends, mechanisms
from lbench.case import Case
from lbench.comparison import BLOCK, Error, errors_of
from lbench.mechanisms.draws import dtype_of
from lbench.mechanisms.spec import Inputs, Mechanism, shape

if TYPE_CHECKING:
    from torch import Tensor

ALLOWED = 4.0
"""Times the eager form's own error."""
PREFIX = 2048
"""Tokens on which the eager form's error is taken."""
FEW_NUMBERS = 1024
"""Below so many numbers an error is a matter of luck (mamba2's dA has one number a head)."""


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

    def as_dict(self) -> dict[str, Any]:
        """The fields of a row of these names."""
        return dataclasses.asdict(self)


def verify(
    case: Case,
    inputs: Inputs,
    outputs: Mapping[str, Tensor],
    output_gradient: Tensor | None,
    limits: Mapping[str, Error] | None = None,
) -> Verification:
    """Compare `outputs` (canonical tensors by name: `o`, `state`, `dq` ...) with the truth.

    `output_gradient` [B, T, H, E] is what the gradients were taken with; None for fwd and decode. `limits`
    are what another backend of the mechanism was allowed for the same inputs; by default they are found.
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
    errors |= dict.fromkeys(_not_finite(outputs, expected), Error(rms=math.inf, block=math.inf))
    limits = limits or limits_of(case, inputs, output_gradient)
    reason = reason_of(errors, limits)
    return Verification(
        errors=errors, limits=limits, coverage=coverage, verdict="wrong" if reason else "ok", reason=reason
    )


def _not_finite(outputs: Mapping[str, Tensor], names: Sequence[str]) -> list[str]:
    """Tensors that hold a number which is not finite anywhere, whatever the reference covers."""
    import torch

    finite = []
    for name in names:
        pieces = attest.pieces(outputs[name].detach())
        finite.append(torch.stack([torch.isfinite(piece).all() for piece in pieces]).all())
    # Read once: the host waits for the device at every number it asks for.
    return [name for name, good in zip(names, torch.stack(finite).tolist(), strict=True) if not good]


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


def _allowed(lost: float, floor: float) -> float:
    return max(ALLOWED * lost, floor) if math.isfinite(lost) else floor


def reason_of(errors: Mapping[str, Error], limits: Mapping[str, Error]) -> str:
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
