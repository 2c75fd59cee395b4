"""What a pass must move and compute at the least: the floors that times are compared with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from lbench.case import Case
from lbench.mechanisms.spec import BYTES, MAMBA1_STATE, Mechanism, shape

BACKWARD = 2.0
"""Matrix products of a recurrence's backward for one of its forward: each product has two factors."""
SOFTMAX_BACKWARD = 2.5
"""Five products of T x T size for the forward's two: the scores are computed again."""


def floor_bytes(case: Case, mechanism: Mechanism, fp32: Iterable[str] = ()) -> int:
    """Bytes of a pass: inputs read once, outputs written once.

    fwd reads the tensors and writes `o`; bwd reads them and the gradient of `o`, and writes every gradient;
    fwdbwd is their sum. decode reads the token and its state or cache (without the free slot), and writes
    `o` and the state, or the token into the cache. Constants are left out. `fp32` names tensors that are fp32
    for every dtype, as the state is.
    """
    wide = {"state", *fp32}

    def moved(names: Iterable[str], dims: dict[str, str]) -> int:
        return sum(
            prod(shape(dims[name], case)) * (4 if name in wide else BYTES[case.dtype]) for name in names
        )

    if case.pass_name == "decode":
        dims = dict(mechanism.decode_tensors) | {"o": "bthe"}
        written = ["o", "state"] if "state" in dims else ["o"]
        # A cache has one more slot than it is read, and the token written there is just as large.
        return moved(dims, dims) - moved(["o"], dims) + moved(written, dims)
    dims = dict(mechanism.tensors) | {"o": "bthe"}
    forward = moved(dims, dims)
    backward = forward + moved(mechanism.gradients, dims)
    return {"fwd": forward, "bwd": backward, "fwdbwd": forward + backward}[case.pass_name]


def least_memory_bytes(case: Case, mechanism: Mechanism) -> int:
    """Bytes that any implementation holds at the end of a pass: its inputs and all that it must return.

    fwd: tensors and `o`; bwd: tensors, gradient of `o` and every gradient (the rest can be computed again);
    fwdbwd: these and `o`; decode: token, state or cache, and `o` (the state may be updated in place).
    """
    floors = {name: mechanism.floor_bytes(replace(case, pass_name=name)) for name in (case.pass_name, "bwd")}
    o_bytes = prod(shape("bthe", case)) * BYTES[case.dtype]
    if case.pass_name == "fwdbwd":
        return floors["bwd"] + o_bytes
    if case.pass_name == "decode" and "state" in mechanism.decode_tensors:
        return floors["decode"] - 4 * prod(shape(mechanism.decode_tensors["state"], case))
    return floors[case.pass_name]


def linear_flops(case: Case) -> float:
    """The recurrence, the cheapest exact form: a token and head add k v^T (2 d e) and read the state (2 d e).

    Decay is left out, as chunked forms apply it to far fewer numbers. The backward is twice the forward.
    """
    forward = 4.0 * case.tokens * case.heads * case.head_dim * case.head_dim_v
    return forward * _passes(case, BACKWARD)


def delta_flops(case: Case) -> float:
    """The recurrence: a token and head ask the state for k (2 d e), add k u^T (2 d e) and read it (2 d e)."""
    return 1.5 * linear_flops(case)


def selective_scan_flops(case: Case) -> float:
    """A token, channel and state number: exp(dt A) h + dt B x (4 without the exponential), and C h (2)."""
    forward = 6.0 * case.tokens * case.heads * case.head_dim_v * MAMBA1_STATE
    return forward * _passes(case, BACKWARD)


def softmax_flops(case: Case) -> float:
    """q k^T and p v over the causal half (or one row of the cache); the backward is 2.5 times the forward."""
    widths = 2.0 * (case.head_dim + case.head_dim_v)
    if case.pass_name == "decode":
        return case.batch * case.heads * (case.seq_len + 1) * widths
    return case.tokens * case.heads * (case.seq_len / 2) * widths * _passes(case, SOFTMAX_BACKWARD)


def _passes(case: Case, backward: float) -> float:
    return {"fwd": 1.0, "bwd": backward, "fwdbwd": 1.0 + backward, "decode": 1.0}[case.pass_name]
