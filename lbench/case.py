"""A case: one point of a sweep, frozen, and the canonical string that names it everywhere."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from lbench.errors import UsageError, unknown

PASSES = ("fwd", "bwd", "fwdbwd", "decode")
"""Passes of a mixer alone."""
MODEL_PASSES = ("train", "prefill", "decode")
"""Passes of a whole model."""
ALL_PASSES = (*PASSES, *(name for name in MODEL_PASSES if name not in PASSES))
BODIES = ("native", "common")
CHECKPOINTS = ("none", "selective", "block")
COMPILE = ("off", "on")
DTYPES = ("bf16", "fp16", "fp32")
DEVICES = ("cuda", "cpu")
DECAYS = ("alibi", "zero", "deep", "steep")
INPUTS = ("model", "outlier", "mean")


EXAMPLE = "lightning_triton,fwd,b1,t4096,h16,d128,bf16,cuda"
MODEL_SETTINGS = ("body", "attention", "checkpoint", "chunk", "prefill_chunk", "compile")
"""Fields that only models have, beside `model` itself; axes and columns by the same names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Everything that can change a time, and nothing else."""

    backend: str
    """File name of the backend, or `path.py:function` for a user's own."""
    mechanism: str
    """What is computed; a registered backend fixes it."""
    pass_name: str = "fwd"
    """fwd | bwd | fwdbwd | decode; of a model train | prefill | decode."""
    batch: int = 1
    seq_len: int = 1024
    """Tokens of each sequence; for decode, the context already held."""
    heads: int = 16
    head_dim: int = 128
    """Dimension of q and k (d_state for mamba2)."""
    kv_heads: int = 0
    """Heads of k and v; 0 stands for `heads`."""
    head_dim_v: int = 0
    """Dimension of v and o; 0 stands for `head_dim`."""
    dtype: str = "bf16"
    device: str = "cuda"
    decay: str = "alibi"
    """alibi | zero | deep | steep; only mechanisms with a fixed decay per head read it."""
    inputs: str = "model"
    """model | outlier (an old token 10,000 times larger) | mean (a large mean)."""
    seed: int = 0
    model: str = ""
    """Name of a model, `config.json@1a2b3c4d` of one from a file; empty for a mixer alone. Heads and dims are
    then its own."""
    body: str = "native"
    """native (the model's own block) | common (one block for all mixers); read by models, as all below."""
    attention: str = ""
    """Backend of a hybrid's softmax layers; empty where a model has none beside its mixer."""
    checkpoint: str = "none"
    """Activations computed again in training: none | selective (MLPs) | block (all but block inputs)."""
    chunk: int = 0
    """Tokens that all but the mixers work on at once; 0: all."""
    prefill_chunk: int = 0
    """Tokens of a prompt that go through the model at once; 0: all."""
    compile: str = "off"
    """torch.compile for all but the mixer: off | on."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        object.__setattr__(self, "head_dim_v", self.head_dim_v or self.head_dim)
        for kind, given, known in (
            ("pass", self.pass_name, ALL_PASSES),
            ("dtype", self.dtype, DTYPES),
            ("device", self.device, DEVICES),
            ("decay", self.decay, DECAYS),
            ("inputs", self.inputs, INPUTS),
            ("body", self.body, BODIES),
            ("checkpoint", self.checkpoint, CHECKPOINTS),
            ("compile", self.compile, COMPILE),
        ):
            if given not in known:
                raise unknown(kind, given, known)
        for name in ("batch", "seq_len", "heads", "kv_heads", "head_dim", "head_dim_v"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.heads % self.kv_heads:
            raise UsageError(f"{self.heads} heads cannot be shared by {self.kv_heads} kv_heads")
        for name in ("backend", "model"):
            if "," in getattr(self, name):
                raise UsageError(
                    f"{name} {getattr(self, name)!r} has a comma, which separates the parts of a key"
                )
        if self.pass_name not in PASSES and not self.model:
            raise UsageError(f"pass {self.pass_name} is one of models; name them with --model")

    @property
    def tokens(self) -> int:
        """Tokens that one call works on: batch x seq_len, or batch for decode."""
        return self.batch if self.pass_name == "decode" else self.batch * self.seq_len

    @property
    def who(self) -> str:
        """The backend, and the model it works in, for people."""
        return f"{self.backend} in {self.model}" if self.model else self.backend

    @property
    def who_and_how(self) -> str:
        """`who` and the model's settings that are not the usual ones, for lists of cases."""
        return self.with_setting(self.who)

    @property
    def model_setting(self) -> str:
        """A model's name and its settings that are not the usual ones; empty for a mixer alone."""
        return self.with_setting(self.model) if self.model else ""

    def with_setting(self, words: str) -> str:
        """What is said of the case, and behind it the model's settings that are not the usual ones."""
        return ", ".join(filter(None, [words, self.setting]))

    @property
    def setting(self) -> str:
        """A model's settings that are not the usual ones, in words: `checkpoint block, compile on`."""
        return ", ".join(
            f"{name.replace('_', ' ')} {getattr(self, name)}"
            for name in MODEL_SETTINGS
            if getattr(self, name) != _DEFAULTS[name]
        )

    @property
    def key(self) -> str:
        """The canonical string. Fields at their default are left out, so new fields keep old keys."""
        parts = [
            self.backend,
            self.pass_name,
            f"b{self.batch}",
            f"t{self.seq_len}",
            f"h{self.heads}",
            f"d{self.head_dim}",
            self.dtype,
            self.device,
        ]
        if ":" in self.backend:
            parts.append(f"mechanism={self.mechanism}")
        if self.kv_heads != self.heads:
            parts.append(f"kv_heads={self.kv_heads}")
        if self.head_dim_v != self.head_dim:
            parts.append(f"head_dim_v={self.head_dim_v}")
        for field in _NAMED:
            if getattr(self, field) != _DEFAULTS[field]:
                parts.append(f"{field}={getattr(self, field)}")
        return ",".join(parts)

    @classmethod
    def from_key(cls, key: str, mechanism: str = "") -> Case:
        """The case a key names; `mechanism` is that of a registered backend, which its key leaves out."""
        backend, pass_name, *parts = (*key.split(","), "", "")
        if not pass_name:
            raise UsageError(
                f"{key!r} is no key of a case; one looks like {EXAMPLE}, and stands in the column `key` of "
                f"`lbench export FOLDER` and beside each failure in `lbench show FOLDER`"
            )
        fields: dict[str, Any] = {"backend": backend, "pass_name": pass_name, "mechanism": mechanism}
        for part in filter(None, parts):
            name, equals, value = part.partition("=")
            short = re.fullmatch(r"([bthd])(\d+)", part)
            whole = isinstance(_DEFAULTS.get(name), int)
            if equals and name in _DEFAULTS and (not whole or value.isdecimal()):
                fields[name] = int(value) if whole else value
            elif short:
                fields[_SHORT[short[1]]] = int(short[2])
            elif part in DTYPES:
                fields["dtype"] = part
            elif part in DEVICES:
                fields["device"] = part
            else:
                raise UsageError(f"case {key!r} has an unknown part {part!r}")
        return cls(**fields)

    def as_dict(self) -> dict[str, Any]:
        """The fields under the names that rows and tables use (`pass`, not `pass_name`)."""
        fields = dataclasses.asdict(self)
        return {"pass" if name == "pass_name" else name: value for name, value in fields.items()}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Case:
        """The inverse of `as_dict`."""
        return cls(**{"pass_name" if name == "pass" else name: value for name, value in fields.items()})


_NAMED = ("decay", "inputs", "seed", "model", *MODEL_SETTINGS)
"""Parts of a key written `name=value`, where they are not at their default."""
_SHORT = {"b": "batch", "t": "seq_len", "h": "heads", "d": "head_dim"}
_DEFAULTS: dict[str, Any] = {
    field.name: "" if field.default is dataclasses.MISSING else field.default
    for field in dataclasses.fields(Case)
}
