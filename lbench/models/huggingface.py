"""A model from a HuggingFace config.json: its sizes in the skeleton of the family it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lbench.errors import UsageError
from lbench.models import configurations
from lbench.models.spec import Model

FAMILIES = {
    "llama": "softmax",
    "mistral": "softmax",
    "qwen2": "softmax",
    "qwen3": "softmax",
    "transnormer": "lightning",
    "gla": "gla",
    "retnet": "retention",
    "mamba": "mamba1",
    "mamba2": "mamba2",
}
"""`model_type` -> mechanism of its mixer."""


def from_config(path: Path, name: str) -> Model:
    """The model that a config.json describes. UsageError where there is no block for what it describes."""
    config = configurations.read(path)
    kind = str(config.get("model_type", ""))
    if kind not in FAMILIES:
        given = f"model_type {kind!r}" if kind else "no model_type"
        raise UsageError(f"{path} has {given}; decoders with a block here are {', '.join(sorted(FAMILIES))}")
    if config.get("is_encoder_decoder") or config.get("is_decoder") is False:
        raise UsageError(f"{path} describes no decoder; only decoders can be measured")
    make = {"softmax": _llama, "lightning": _transnormer, "mamba1": _mamba, "mamba2": _mamba2}.get(
        FAMILIES[kind], _linear
    )
    return make(_Fields(config, path, name), FAMILIES[kind])


class _Fields:
    """Whole numbers of a configuration by any of the names they go by."""

    def __init__(self, config: dict[str, Any], path: Path, name: str) -> None:
        self.config, self.path, self.name = config, path, name

    def number(self, *names: str, default: int | None = None) -> int:
        """The first that is there; UsageError where none is, or it is no whole number above 0."""
        for name in names:
            if self.config.get(name) is not None:
                value = self.config[name]
                if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                    raise UsageError(f"{self.path}: {name} is {value!r}; it must be a whole number above 0")
                return value
        if default is None:
            raise UsageError(f"{self.path} has no {' or '.join(names)}")
        return default

    @property
    def shared(self) -> dict[str, Any]:
        """What every decoder has."""
        return {
            "name": self.name,
            "layers": self.number("num_hidden_layers", "n_layer", "decoder_layers"),
            "width": self.number("hidden_size", "d_model", "decoder_embed_dim"),
            "vocab": self.number("vocab_size"),
            "tied": bool(self.config.get("tie_word_embeddings", False)),
            "source": self.path.name,
        }

    def head_dim(self, heads: int) -> int:
        """Width over heads, unless it is said."""
        width = self.number("hidden_size", "decoder_embed_dim", "d_model")
        if "head_dim" not in self.config and width % heads:
            raise UsageError(f"{self.path}: width {width} cannot be split into {heads} heads")
        return self.number("head_dim", default=width // heads)


def _llama(fields: _Fields, mechanism: str) -> Model:
    heads = fields.number("num_attention_heads")
    kv_heads = fields.number("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise UsageError(f"{fields.path}: {heads} heads cannot be shared by {kv_heads} key-value heads")
    return Model(
        mechanism=mechanism,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=fields.head_dim(heads),
        mlp_width=fields.number("intermediate_size"),
        rotary="rope",
        rope_base=float(fields.config.get("rope_theta", 10_000.0)),
        max_length=fields.number("max_position_embeddings", default=1 << 40),
        **fields.shared,
    )


def _transnormer(fields: _Fields, mechanism: str) -> Model:
    heads = fields.number("decoder_attention_heads", "num_attention_heads")
    return Model(
        mechanism=mechanism,
        heads=heads,
        head_dim=fields.head_dim(heads),
        mlp="glu",
        mlp_width=fields.number("glu_dim", "intermediate_size"),
        norm_weight=False,
        embed_scale=not fields.config.get("no_scale_embedding", False),
        gate="linear",
        out_norm="full",
        rotary="lrpe",
        rotary_layers=1,
        activations={"q": "silu", "k": "silu"},
        **{**fields.shared, "tied": True},
    )


def _linear(fields: _Fields, mechanism: str) -> Model:
    """GLA and RetNet as flash-linear-attention configures them."""
    heads, width = fields.number("num_heads", "num_attention_heads"), fields.number("hidden_size")
    ratio = fields.number("hidden_ratio", default=4)
    rounded = -(-width * ratio * 2 // 3 // 256) * 256
    expand_k = float(fields.config.get("expand_k", 0.5 if mechanism == "gla" else 1.0))
    expand_v = float(fields.config.get("expand_v", 1.0 if mechanism == "gla" else 2.0))
    return Model(
        mechanism=mechanism,
        heads=heads,
        head_dim=int(width * expand_k) // heads,
        head_dim_v=int(width * expand_v) // heads,
        mlp_width=fields.number("intermediate_size", default=rounded),
        rotary="rope" if mechanism == "retention" else "none",
        gate="silu",
        out_norm="head",
        out_norm_weight=True,
        **fields.shared,
    )


def _mamba(fields: _Fields, mechanism: str) -> Model:
    shared = fields.shared
    inner = fields.number("intermediate_size", "d_inner", default=2 * shared["width"])
    dim = 64 if inner % 64 == 0 else 1
    return Model(
        mechanism=mechanism,
        heads=inner // dim,
        head_dim=dim,
        mlp="none",
        conv=("x",),
        skip="channel",
        gate="silu",
        **{**shared, "tied": True},
    )


def _mamba2(fields: _Fields, mechanism: str) -> Model:
    shared = fields.shared
    dim = fields.number("head_dim", "headdim", default=64)
    if fields.number("n_groups", "ngroups", default=1) != 1:
        raise UsageError(f"{fields.path}: n_groups is not 1; the mechanism mamba2 has one group")
    return Model(
        mechanism=mechanism,
        heads=fields.number("num_heads", default=2 * shared["width"] // dim),
        head_dim=fields.number("state_size", "d_state", default=128),
        head_dim_v=dim,
        mlp="none",
        conv=("x", "B", "C"),
        skip="head",
        gate="silu",
        gate_first=True,
        out_norm="full",
        out_norm_weight=True,
        **{**shared, "tied": bool(fields.config.get("tie_word_embeddings", True))},
    )
