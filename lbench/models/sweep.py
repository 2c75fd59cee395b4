"""Axes of a sweep over models, expanded to cases; what makes no sense is told before anything runs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from lbench import backends, mechanisms, models
from lbench.case import MODEL_PASSES, Case
from lbench.errors import UsageError, unknown
from lbench.lengths import batch_of, format_length
from lbench.models.operators import cannot_serve

NOT_OF_MODELS = ("heads", "kv_heads", "head_dim", "head_dim_v", "decay", "inputs")


def of_models(axes: Mapping[str, list[Any]], device: str) -> Iterator[Case]:
    """The cases of one sweep: models x backends x passes x lengths x settings.

    UsageError for an unknown model, an axis that models do not have, a backend that fits no model or cannot
    serve the pass, and a length beyond a model's positions.
    """
    left = dict(axes)
    for name in NOT_OF_MODELS:
        if name in left:
            raise UsageError(f"{name} is an axis of mixers alone; a model has a shape of its own")
    names, bodies = left.pop("model"), left.pop("body", ["native"])
    named, of_mechanisms = left.pop("backend", None), left.pop("mechanism", None)
    if named and named != ["all"]:
        _check_used(names, bodies, named, of_mechanisms)
    for name, body in itertools.product(names, bodies):
        for backend, mechanism in _mixers(name, body, device, named, of_mechanisms):
            asked = named is None or named != ["all"]
            yield from _cases(name, body, backend, mechanism, left, device, told=asked and not of_mechanisms)


def _check_used(
    names: list[str], bodies: list[str], named: list[str], of_mechanisms: list[str] | None
) -> None:
    """Every backend that is named must fit at least one of the models."""
    own = {models.load(name).mechanism for name in names}
    for backend in named:
        mechanism = backends.load(backend, (of_mechanisms or [""])[0]).mechanism
        if "common" not in bodies and mechanism not in own:
            raise UsageError(
                f"{backend} computes {mechanism}, the mixers of {', '.join(names)} are "
                f"{', '.join(sorted(own))}; --body common puts any mixer into one block"
            )


def _mixers(
    name: str, body: str, device: str, named: list[str] | None, of_mechanisms: list[str] | None
) -> list[tuple[str, str]]:
    """(backend, mechanism) pairs for a model."""
    own = models.load(name).mechanism
    if named and named != ["all"]:
        loaded = [backends.load(one, (of_mechanisms or [""])[0]) for one in named]
        found = [(one.name, one.mechanism) for one in loaded if body == "common" or one.mechanism == own]
        if not found:
            raise UsageError(
                f"no backend of {', '.join(named)} computes {own}, the mixer of {name}; name one of "
                f"{', '.join(one.name for one in backends.of_mechanism(own))}, or leave out {name}"
            )
        return found
    if of_mechanisms or named:
        wanted = of_mechanisms or ([own] if body == "native" else mechanisms.names())
        for one in wanted:
            if one != own and body == "native":
                raise UsageError(f"the mixer of {name} is {own}, not {one}; add --body common")
        return [(one.name, m) for m in wanted for one in backends.of_mechanism(m)]
    default = models.DEFAULT_MIXERS.get(own, f"{own}_eager") if device == "cuda" else f"{own}_eager"
    return [(default, own)]


def _cases(
    name: str,
    body: str,
    backend: str,
    mechanism: str,
    axes: Mapping[str, list[Any]],
    device: str,
    told: bool,
) -> Iterator[Case]:
    left = dict(axes)
    attentions, passes = left.pop("attention", [""]), left.pop("pass", ["train"])
    lengths = left.pop("seq", [1024])
    for attention, pass_name, seq_len in itertools.product(attentions, passes, lengths):
        if pass_name not in MODEL_PASSES:
            raise unknown("pass of models", pass_name, MODEL_PASSES)
        base = models.fields_of(name, backend, mechanism, body, attention, device)
        check_length(name, body, seq_len)
        for point in itertools.product(*left.values()):
            fields = dict(zip(left, point, strict=True))
            if "tokens" in fields:
                tokens = fields.pop("tokens")
                # A step of decoding works on one token of each sequence.
                fields["batch"] = tokens if pass_name == "decode" else batch_of(tokens, seq_len)
            case = dataclasses.replace(base, pass_name=pass_name, seq_len=seq_len, **fields)
            case = _without_strangers(case)
            if told and (reason := cannot_serve(case)):
                raise UsageError(reason)
            yield case


def check_length(name: str, body: str, seq_len: int) -> None:
    """UsageError where a model has no positions for so long a sequence."""
    most = models.load(name).max_length
    if body == "native" and most and seq_len > most:
        raise UsageError(
            f"{name} has positions for {format_length(most)} tokens; {format_length(seq_len)} is beyond them"
        )


def _without_strangers(case: Case) -> Case:
    """The case without settings that its pass does not read."""
    plain: dict[str, Any] = {}
    if case.pass_name != "train":
        plain["checkpoint"] = "none"
    if case.pass_name != "prefill":
        plain["prefill_chunk"] = 0
    if case.pass_name == "decode":
        plain["chunk"] = 0
    return dataclasses.replace(case, **plain)
