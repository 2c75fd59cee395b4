"""The mixers of a model's case as cases of their own: what limits, costs and checks of its blocks look at."""

from __future__ import annotations

from collections.abc import Iterator

from lbench import backends, models
from lbench.case import Case
from lbench.models.spec import Layer

PASSES = {"train": "fwdbwd", "prefill": "fwd", "decode": "decode"}
"""A model's pass -> what its mixers do in it."""


def operator_case(case: Case, layer: Layer, pass_name: str = "") -> Case:
    """The mixer of one kind of block at the shape of a model's case, without the model."""
    return Case(
        backend=case.backend if layer.mechanism == case.mechanism else case.attention,
        mechanism=layer.mechanism,
        pass_name=pass_name or PASSES[case.pass_name],
        batch=case.batch,
        seq_len=case.seq_len,
        heads=layer.heads,
        kv_heads=layer.kv_heads,
        head_dim=layer.mixed_dim,
        head_dim_v=layer.head_dim_v,
        dtype=case.dtype,
        device=case.device,
        seed=case.seed,
    )


def operator_cases(case: Case) -> Iterator[Case]:
    """One for every kind of block."""
    for layer in dict.fromkeys(models.of_case(case).blocks):
        yield operator_case(case, layer)


def unmet(case: Case, capability: tuple[int, int] | None) -> str | None:
    """The first limit of a backend that one of the blocks breaks, in words."""
    for one in operator_cases(case):
        backend = backends.load(one.backend, one.mechanism)
        if limit := backend.limits.unmet(one, capability):
            return f"{backend.name}: {limit}" if backend.name != case.backend else limit
    return None


def missing_package(case: Case) -> str | None:
    """The first package of a model's backends that is not installed."""
    for name, mechanism in ((case.backend, case.mechanism), (case.attention, "softmax")):
        if name and (package := backends.missing_package(backends.load(name, mechanism))):
            return package
    return None


def cannot_serve(case: Case) -> str:
    """Why a backend has no form for the pass of a model, and which have; empty where it has one."""
    for one in operator_cases(case):
        backend = backends.load(one.backend, one.mechanism)
        if _serves(backend, one, case):
            continue
        others = [other.name for other in backends.of_mechanism(one.mechanism) if _serves(other, one, case)]
        have = f"of {one.mechanism}, {', '.join(others)} can" if others else f"none of {one.mechanism} can"
        return f"{one.backend} cannot serve pass {case.pass_name} of {case.model} ({_lacks(case)}); {have}"
    return ""


def _serves(backend: backends.Backend, one: Case, case: Case) -> bool:
    if one.pass_name not in backend.limits.passes:
        return False
    whole = one.mechanism == "softmax" and not case.prefill_chunk
    return case.pass_name != "prefill" or backend.limits.carries or whole


def _lacks(case: Case) -> str:
    return {
        "train": "it has no backward",
        "decode": "it has no decode form",
        "prefill": "its forward cannot go on from a prefix or return the state",
    }[case.pass_name]
