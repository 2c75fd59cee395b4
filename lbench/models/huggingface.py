"""A model from a HuggingFace config.json: its sizes in the skeleton of the family it belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lbench.errors import UsageError
from lbench.mechanisms.spec import MAMBA1_STATE
from lbench.models import configurations
from lbench.models.spec import CONV_TOKENS, Model

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
_SILU = ("silu", "swish")
_SOFTMAX = {
    "hidden_act": _SILU,
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "partial_rotary_factor": (1,),
    "num_local_experts": (1,),
    "num_experts": (1,),
}
_FLA: dict[str, tuple[Any, ...]] = {
    "hidden_act": _SILU,
    "attn": (),
    "feature_map": (),
    "use_short_conv": (False,),
    "use_output_gate": (True,),
    "elementwise_affine": (True,),
}
_MAMBA = {"hidden_act": _SILU, "conv_kernel": (CONV_TOKENS,), "use_bias": (False,), "use_conv_bias": (True,)}
FIXED: dict[str, dict[str, tuple[Any, ...]]] = {
    "llama": _SOFTMAX,
    "mistral": _SOFTMAX,
    "qwen2": _SOFTMAX,
    "qwen3": _SOFTMAX,
    "transnormer": {"linear_act_fun": _SILU, "bias": (False,)},
    "gla": {**_FLA, "use_gk": (True,), "use_gv": (False,)},
    "retnet": _FLA,
    "mamba": {**_MAMBA, "state_size": (MAMBA1_STATE,)},
    "mamba2": _MAMBA,
}
"""Fields that change a block, and the values that ours has; null counts as absent, as all fields do here."""
NO_DECODER = {
    "is_encoder_decoder": True,
    "use_bidirectional_attention": True,
    "is_decoder": False,
    "is_causal": False,
}
"""Fields that say, with this value, that it is none."""
MOST = 1 << 40
"""Beyond any number of a model."""
MOST_LAYERS = 10_000
"""Each is an object here, so that a slip of the pen would take all memory."""
LEFT_OUT = {"qwen2": "biases of q, k and v", "qwen3": "norms of q and k"}
"""What a family's block has and ours has not: below 0.1 % of the parameters and of the work."""


def from_config(path: Path, name: str) -> Model:
    """The model that a config.json describes. UsageError where there is no block for what it describes."""
    config = configurations.read(path)
    kind = str(config.get("model_type") or "")
    if kind not in FAMILIES:
        given = f"model_type {kind!r}" if kind else "no model_type"
        raise UsageError(f"{path} has {given}; decoders with a block here are {', '.join(sorted(FAMILIES))}")
    if any(config.get(field) is not None and bool(config[field]) is no for field, no in NO_DECODER.items()):
        raise UsageError(f"{path} describes no decoder; only decoders can be measured")
    fields = _Fields(config, path, name)
    fields.check(kind)
    make = {"softmax": _llama, "lightning": _transnormer, "mamba1": _mamba, "mamba2": _mamba2}.get(
        FAMILIES[kind], _linear
    )
    return make(fields, FAMILIES[kind])


class _Fields:
    """Fields of a configuration by any of the names they go by; null counts as absent."""

    def __init__(self, config: dict[str, Any], path: Path, name: str) -> None:
        self.config, self.path, self.name = config, path, name
        self.kind = str(config["model_type"])

    def check(self, kind: str) -> None:
        """UsageError where a field asks for another block than the one that would be measured."""
        for field, allowed in FIXED[kind].items():
            value = self.config.get(field)
            if value is not None and value not in allowed:
                raise self.refused(field, " or ".join(map(json.dumps, allowed)) or "null")

    def refused(self, field: str, allowed: str, note: str = "") -> UsageError:
        """The error for a field whose value no block here has."""
        given = f"{field} is {json.dumps(self.config[field])}" if field in self.config else f"no {field}"
        return UsageError(f"{self.path}: {given}{note}; of {self.kind} only {allowed} can be measured")

    def number(self, *names: str, default: int | None = None, most: int = MOST) -> int:
        """The first that is there; UsageError where none is, or it is no whole number from 1 to `most`."""
        for name in names:
            if self.config.get(name) is not None:
                value = self.config[name]
                if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                    end = "2^40" if most == MOST else f"{most:,}"
                    raise UsageError(f"{self.path}: {name} is {value!r}; it must be whole, from 1 to {end}")
                return value
        if default is None:
            raise UsageError(f"{self.path} has no {' or '.join(names)}")
        return default

    def real(self, name: str, default: float, within: str = "") -> float:
        """UsageError where it is no number above 0, to `MOST`. Newer files have it `within` another field."""
        inner = self.config.get(within)
        value = inner.get(name) if isinstance(inner, dict) else None
        value = self.config.get(name) if value is None else value
        if value is None:
            return default
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 < value <= MOST:
            raise UsageError(f"{self.path}: {name} is {value!r}; it must be a number above 0, to 2^40")
        return float(value)

    def truth(self, name: str, default: bool) -> bool:
        """UsageError where it is neither true nor false."""
        value = self.config.get(name)
        if value is not None and not isinstance(value, bool):
            raise UsageError(f"{self.path}: {name} is {value!r}; it must be true or false")
        return default if value is None else value

    @property
    def shared(self) -> dict[str, Any]:
        """What every decoder has."""
        without = LEFT_OUT.get(self.kind)
        return {
            "name": self.name,
            "layers": self.number("num_hidden_layers", "n_layer", "decoder_layers", most=MOST_LAYERS),
            "width": self.number("hidden_size", "d_model", "decoder_embed_dim"),
            "vocab": self.number("vocab_size"),
            "tied": self.truth("tie_word_embeddings", default=self.kind in ("mamba", "transnormer")),
            "source": self.path.name + (f", without the {without}" if without else ""),
        }

    def head_dim(self, heads: int) -> int:
        """Width over heads, unless it is said."""
        if self.config.get("head_dim") is not None:
            return self.number("head_dim")
        return self.split(self.number("hidden_size", "decoder_embed_dim", "d_model"), heads)

    def split(self, width: int, heads: int) -> int:
        """Numbers of each head; UsageError where they are not alike, or none."""
        if width % heads or not width:
            raise UsageError(f"{self.path}: width {width} cannot be split into {heads} heads")
        return width // heads

    def turned(self, dim: int) -> int:
        """A head's dim that RoPE can turn; UsageError where it is odd."""
        if dim % 2:
            raise UsageError(f"{self.path}: a head has {dim} dims; RoPE turns pairs, so they must be even")
        return dim


def _llama(fields: _Fields, mechanism: str) -> Model:
    heads = fields.number("num_attention_heads")
    kv_heads = fields.number("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise UsageError(f"{fields.path}: {heads} heads cannot be shared by {kv_heads} key-value heads")
    max_length = fields.number("max_position_embeddings", default=MOST)
    if fields.kind == "mistral" or fields.truth("use_sliding_window", default=False):
        window = fields.number("sliding_window", default=max_length)
        if window < max_length:
            raise fields.refused("sliding_window", "null")
    shared = fields.shared
    if fields.config.get("layer_types") not in (None, ["full_attention"] * shared["layers"]):
        raise fields.refused("layer_types", f'{shared["layers"]} times "full_attention"')
    return Model(
        mechanism=mechanism,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=fields.turned(fields.head_dim(heads)),
        mlp_width=fields.number("intermediate_size"),
        rotary="rope",
        rope_base=fields.real("rope_theta", 10_000.0, within="rope_parameters"),
        max_length=max_length,
        **shared,
    )


def _transnormer(fields: _Fields, mechanism: str) -> Model:
    heads = fields.number("decoder_attention_heads", "num_attention_heads")
    shared = fields.shared
    turning = fields.config.get("linear_use_lrpe_list")
    if turning and turning != [1, *[0] * (shared["layers"] - 1)]:
        raise fields.refused("linear_use_lrpe_list", "LRPE in the first layer")
    # TransNormerLLM3 alone has a narrow gate, and v goes through the activation too.
    rank = fields.number("gate_dim") if fields.config.get("gate_dim") is not None else 0
    return Model(
        mechanism=mechanism,
        heads=heads,
        head_dim=fields.head_dim(heads),
        mlp="glu",
        mlp_width=fields.number("glu_dim", "intermediate_size"),
        norm_weight=False,
        embed_scale=not fields.truth("no_scale_embedding", default=False),
        gate="sigmoid" if rank else "linear",
        gate_rank=rank,
        out_norm="full",
        rotary="lrpe",
        rotary_layers=1,
        activations=dict.fromkeys("qkv" if rank else "qk", "silu"),
        **shared,
    )


def _linear(fields: _Fields, mechanism: str) -> Model:
    """GLA and RetNet as flash-linear-attention configures them."""
    heads, width = fields.number("num_heads", "num_attention_heads"), fields.number("hidden_size")
    if fields.number("num_kv_heads", default=heads) != heads:
        raise fields.refused("num_kv_heads", f"as many as heads ({heads})")
    of_gla = mechanism == "gla"
    ratio = fields.number("hidden_ratio", default=4 if of_gla or "hidden_ratio" in fields.config else 2)
    rounded = -(-width * ratio * 2 // 3 // 256) * 256
    keys = int(width * fields.real("expand_k", 0.5 if of_gla else 1.0))
    values = int(width * fields.real("expand_v", 1.0 if of_gla else 2.0))
    dim = fields.split(keys, heads)
    return Model(
        mechanism=mechanism,
        heads=heads,
        head_dim=dim if of_gla else fields.turned(dim),
        head_dim_v=fields.split(values, heads),
        mlp_width=fields.number("intermediate_size", default=rounded),
        rotary="none" if of_gla else "rope",
        gate="silu",
        out_norm="head",
        out_norm_weight=True,
        **fields.shared,
    )


def _mamba(fields: _Fields, mechanism: str) -> Model:
    shared = fields.shared
    inner = fields.number("intermediate_size", "d_inner", default=_inner(fields))
    dim = 64 if inner % 64 == 0 else 1
    rank = -(-shared["width"] // 16)
    if fields.config.get("time_step_rank", "auto") not in (None, "auto", rank):
        raise fields.refused("time_step_rank", f'"auto" or {rank}')
    return Model(
        mechanism=mechanism,
        heads=inner // dim,
        head_dim=dim,
        mlp="none",
        conv=("x",),
        skip="channel",
        gate="silu",
        **shared,
    )


def _mamba2(fields: _Fields, mechanism: str) -> Model:
    inner, dim = _inner(fields), fields.number("head_dim", "headdim", default=64)
    heads = fields.number("num_heads", default=max(inner // dim, 1))
    if heads * dim != inner:
        raise UsageError(
            f"{fields.path}: {heads} heads of {dim} dims are not the {inner} of expand x hidden_size"
        )
    given = [field for field in ("n_groups", "ngroups") if fields.config.get(field) is not None]
    if fields.number(*given, default=8) != 1:
        missing = "" if given else ", which HuggingFace takes for 8"
        raise fields.refused([*given, "n_groups"][0], "1", missing)
    return Model(
        mechanism=mechanism,
        heads=heads,
        head_dim=fields.number("state_size", "d_state", default=128),
        head_dim_v=dim,
        mlp="none",
        conv=("x", "B", "C"),
        skip="head",
        gate="silu",
        gate_first=True,
        out_norm="full",
        out_norm_weight=True,
        **fields.shared,
    )


def _inner(fields: _Fields) -> int:
    inner = int(fields.number("hidden_size", "d_model") * fields.real("expand", 2.0))
    return fields.split(inner, 1)
