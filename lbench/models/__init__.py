"""Models: whole decoders whose token mixer is any registered backend. Listing them imports no torch.

Sizes are data (`sizes.toml`); a HuggingFace config.json gives one too.
"""

from __future__ import annotations

import functools
import os
import tomllib
from importlib import resources
from typing import Any

from lbench import backends
from lbench.case import Case
from lbench.errors import UsageError, unknown
from lbench.models import configurations
from lbench.models.spec import Model

DEFAULT_MIXERS = {
    "softmax": "sdpa_flash",
    "lightning": "lightning_triton",
    "linear": "linear_triton",
    "retention": "retention_fla_chunk",
    "gla": "gla_fla_chunk",
    "deltanet": "deltanet_fla_chunk",
    "gated_deltanet": "gated_deltanet_fla_chunk",
    "mamba1": "mamba1_ssm",
    "mamba2": "mamba2_ssm",
}
"""Backend of a mechanism on a GPU where none is named; a mechanism that is not here has its eager one."""
DEFAULT_ATTENTION = {"cuda": "sdpa_flash", "cpu": "softmax_eager"}
"""Backend of a hybrid's softmax layers where none is named."""


@functools.cache
def _sizes() -> dict[str, dict[str, Any]]:
    """Name -> fields of every named model."""
    families = tomllib.loads((resources.files(__name__) / "sizes.toml").read_text())
    return {
        f"{family}-{size}": {**{k: v for k, v in shared.items() if k != "sizes"}, **fields}
        for family, shared in families.items()
        for size, fields in shared["sizes"].items()
    }


def names() -> list[str]:
    """Names of all models, by family, the smallest first."""
    return list(_sizes())


def name_of(text: str) -> str:
    """The name of a model that is given by its name, or by the path of a `config.json`."""
    return configurations.name_of(text) if text.endswith(".json") else text


def load(text: str) -> Model:
    """The model of that name, or the one that a `config.json` describes, by its path or by its own name."""
    return _load(name_of(text))


@functools.cache
def _load(name: str) -> Model:
    if configurations.is_name(name):
        from lbench.models.huggingface import from_config

        return from_config(configurations.find(name), name)
    if name not in _sizes():
        if os.path.isdir(name):
            inside = os.path.join(name, "config.json")
            raise UsageError(f"model {name!r} is a folder; give its config.json, --model {inside}")
        raise unknown("model", name, names())
    return Model(name=name, **_sizes()[name])


@functools.cache
def _resolved(name: str, body: str, mechanism: str) -> Model:
    model = load(name)
    return model.common(mechanism) if body == "common" else model


def of_case(case: Case) -> Model:
    """The model of a case, in the body it asks for."""
    return _resolved(case.model, case.body, case.mechanism)


def fields_of(name: str, backend: str, mechanism: str, body: str, attention: str, device: str) -> Case:
    """A case of a model with its mixer's shape filled in; the other axes are at their defaults.

    UsageError where the model's own block has another mixer.
    """
    model = load(name)
    if body == "native" and mechanism != model.mechanism:
        raise UsageError(
            f"the mixer of {name} is {model.mechanism}, {backend} computes {mechanism}; "
            f"take a backend of {model.mechanism}, or --body common for one block with any mixer"
        )
    hybrid = body == "native" and model.attention_every
    if attention and not hybrid:
        raise UsageError(f"{name} has no softmax layers beside its mixer; leave out --attention")
    if attention and (computed := backends.load(attention, "softmax").mechanism) != "softmax":
        raise UsageError(f"{attention} computes {computed}, --attention takes a backend of softmax")
    return Case(
        backend=backend,
        mechanism=mechanism,
        model=model.name,
        body=body,
        attention=(attention or DEFAULT_ATTENTION[device]) if hybrid else "",
        pass_name="train",
        device=device,
        heads=model.heads,
        kv_heads=model.kv_heads if body == "native" else model.heads,
        head_dim=model.head_dim,
        head_dim_v=model.head_dim_v,
    )
