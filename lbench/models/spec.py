"""What a model is, as data: its sizes, its block, and the shape of every weight. Needs no torch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from lbench import mechanisms
from lbench.mechanisms.spec import MAMBA1_STATE
from lbench.models.feeds import Feed, feeds_of

ROTARY = ("none", "rope", "lrpe")
MLPS = ("none", "glu", "swiglu", "gelu")
GATES = ("none", "linear", "silu", "sigmoid")
CONV_TOKENS = 4
"""Tokens that a short convolution sees."""

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One kind of block. Layers of one kind are one object, so that what is compiled for it is shared."""

    mechanism: str
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    """Of q and k before their rotation."""
    head_dim_v: int
    activations: Mapping[str, str]
    """Activation of projected tensors by name (silu); those the mechanism itself demands are its feeds'."""
    conv: tuple[str, ...]
    """Tensors that go through a short causal convolution, then SiLU."""
    rotary: str
    """none | rope (rotation by position) | lrpe (cosine and sine parts side by side: the dim doubles)."""
    rope_base: float
    skip: str
    """none | channel | head: a learned share of x that goes past the mixer."""
    gate: str
    """none | linear | silu | sigmoid: the output times this of a projection of the block's input."""
    gate_rank: int
    """Width of a low-rank gate; 0: full."""
    gate_first: bool
    """Gate, then norm (Mamba-2)."""
    out_norm: str
    """none | full (over all heads together) | head."""
    out_norm_weight: bool
    norm_weight: bool
    mlp: str
    """none | glu (no activation) | swiglu | gelu (two matrices)."""
    mlp_width: int

    @property
    def mixed_dim(self) -> int:
        """Dimension of q and k as the mixer gets them."""
        return self.head_dim * (2 if self.rotary == "lrpe" else 1)

    @property
    def out_width(self) -> int:
        """Numbers a token of the mixer's output."""
        return self.heads * self.head_dim_v

    def width_of(self, tensor: str) -> int:
        """Numbers a token of a tensor the mixer is fed, before any rotation."""
        return prod(self.sizes[tensor])

    @functools.cached_property
    def feeds(self) -> dict[str, Feed]:
        """How each tensor of the mechanism is made."""
        return feeds_of(self.mechanism, self.width)

    @functools.cached_property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Axes of each tensor behind batch and time, before any rotation; of what is learned, all axes."""
        named = {"h": self.heads, "g": self.kv_heads, "d": self.head_dim, "e": self.head_dim_v}
        named["n"] = MAMBA1_STATE
        dims = mechanisms.load(self.mechanism).tensors
        return {name: tuple(named[dim] for dim in dims[name] if dim not in "bt") for name in self.feeds}

    @functools.cached_property
    def from_x(self) -> dict[str, int]:
        """What x is projected to, name -> width."""
        return {n: f.rank or self.width_of(n) for n, f in self.feeds.items() if f.source == "x"}

    @functools.cached_property
    def convolved(self) -> tuple[int, ...]:
        """Widths of the tensors of the short convolution."""
        return tuple(self.width_of(name) for name in self.conv)

    @functools.cached_property
    def projected(self) -> dict[str, int]:
        """What the block's input is projected to at once, name -> width: tensors, low ranks, the gate."""
        made = {
            name: feed.rank or self.width_of(name)
            for name, feed in self.feeds.items()
            if feed.source == "input"
        }
        if self.gate != "none":
            made["gate"] = self.gate_rank or self.out_width
        return made

    @functools.cached_property
    def weights(self) -> Shapes:
        """Name -> shape of every weight of the block; matrices as [out, in]."""
        shapes: Shapes = {"in": (sum(self.projected.values()), self.width)}
        shapes |= {"out": (self.width, self.out_width)}
        if self.norm_weight:
            shapes["norm"] = (self.width,)
        for name, feed in self.feeds.items():
            shapes |= self._weights_of(name, feed)
        if self.from_x:
            shapes["from_x"] = (sum(self.from_x.values()), self.width_of("x"))
        if self.gate_rank:
            shapes["gate_up"] = (self.out_width, self.gate_rank)
        if self.conv:
            channels = sum(self.convolved)
            shapes |= {"conv": (channels, 1, CONV_TOKENS), "conv_bias": (channels,)}
        if self.rotary == "lrpe":
            shapes["theta"] = (self.heads, self.head_dim)
        if self.skip != "none":
            shapes["skip"] = (self.out_width,) if self.skip == "channel" else (self.heads,)
        if self.out_norm_weight:
            shapes["out_norm"] = (self.out_width if self.out_norm == "full" else self.head_dim_v,)
        return shapes | self._mlp_weights()

    def _weights_of(self, name: str, feed: Feed) -> Shapes:
        """What a tensor needs beside its share of the projections."""
        if feed.source == "learned":
            return {name: self.sizes[name]}
        shapes: Shapes = {f"{name}_up": (self.width_of(name), feed.rank)} if feed.rank else {}
        if feed.rate:
            shapes[f"{name}_rate"] = (self.heads,)
        return shapes | ({f"{name}_bias": (self.width_of(name),)} if feed.bias else {})

    def _mlp_weights(self) -> Shapes:
        if self.mlp == "none":
            return {}
        up = self.mlp_width * (1 if self.mlp == "gelu" else 2)
        norm: Shapes = {"mlp_norm": (self.width,)} if self.norm_weight else {}
        return norm | {"up": (up, self.width), "down": (self.width, self.mlp_width)}

    def __hash__(self) -> int:
        return id(self)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A decoder: embedding, blocks, head."""

    name: str
    mechanism: str
    """Of its own mixer; with the common body any other may take its place."""
    layers: int
    width: int
    heads: int
    head_dim: int
    vocab: int
    kv_heads: int = 0
    head_dim_v: int = 0
    mlp: str = "swiglu"
    mlp_width: int = 0
    tied: bool = True
    """Whether the head is the embedding."""
    norm_weight: bool = True
    embed_scale: bool = False
    """Embeddings times the root of the width."""
    activations: Mapping[str, str] = field(default_factory=dict)
    conv: tuple[str, ...] = ()
    rotary: str = "none"
    rotary_layers: int = 0
    """The first layers that rotate; 0: all."""
    rope_base: float = 10_000.0
    skip: str = "none"
    gate: str = "none"
    gate_rank: int = 0
    gate_first: bool = False
    out_norm: str = "none"
    out_norm_weight: bool = False
    attention_every: int = 0
    """A softmax layer ends every so many layers (a hybrid); 0: none."""
    attention_kv_heads: int = 0
    max_length: int = 0
    """Longest sequence its positions are made for; 0: no limit."""
    published: int = 0
    """Parameters that its source states; 0 where the size is named by ours."""
    source: str = ""
    """Where the sizes are from."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        object.__setattr__(self, "head_dim_v", self.head_dim_v or self.head_dim)
        object.__setattr__(self, "conv", tuple(self.conv))

    def common(self, mechanism: str) -> Model:
        """The same sizes in the block that all mixers share: RMSNorm, projections, norm a head, SwiGLU."""
        return Model(
            name=self.name,
            mechanism=mechanism,
            layers=self.layers,
            width=self.width,
            heads=self.heads,
            head_dim=self.head_dim,
            head_dim_v=self.head_dim_v,
            vocab=self.vocab,
            mlp_width=self.mlp_width or 2 * self.width,
            tied=self.tied,
            out_norm="head",
        )

    @functools.cached_property
    def blocks(self) -> tuple[Layer, ...]:
        """The layers in their order; equal ones are one object."""
        kinds: dict[tuple[object, ...], Layer] = {}
        made = []
        for index in range(self.layers):
            layer = self._layer(index)
            key = tuple(str(value) for value in dataclasses.astuple(layer))
            made.append(kinds.setdefault(key, layer))
        return tuple(made)

    def is_attention(self, index: int) -> bool:
        """Whether layer `index` of a hybrid is one of its softmax layers."""
        return bool(self.attention_every) and (index + 1) % self.attention_every == 0

    def _layer(self, index: int) -> Layer:
        shared = {
            name: getattr(self, name) for name in ("width", "rope_base", "norm_weight", "mlp", "mlp_width")
        }
        if self.is_attention(index):
            dim = self.head_dim_v
            heads = self.width // dim
            return Layer(
                mechanism="softmax",
                heads=heads,
                kv_heads=self.attention_kv_heads or heads,
                head_dim=dim,
                head_dim_v=dim,
                activations={},
                conv=(),
                rotary="rope",
                skip="none",
                gate="none",
                gate_rank=0,
                gate_first=False,
                out_norm="none",
                out_norm_weight=False,
                **shared,
            )
        own = (
            *("mechanism", "heads", "kv_heads", "head_dim", "head_dim_v", "activations", "conv", "skip"),
            *("gate", "gate_rank", "gate_first", "out_norm", "out_norm_weight"),
        )
        turns = not self.rotary_layers or index < self.rotary_layers
        return Layer(
            rotary=self.rotary if turns else "none",
            **{name: getattr(self, name) for name in own},
            **shared,
        )

    @property
    def weights(self) -> Shapes:
        """Name -> shape of the weights outside the blocks."""
        shapes: Shapes = {"embed": (self.vocab, self.width)}
        if not self.tied:
            shapes["head"] = (self.vocab, self.width)
        return shapes | ({"norm": (self.width,)} if self.norm_weight else {})

    @functools.cached_property
    def parameters(self) -> int:
        """All weights, a tied head once."""
        shapes = [*self.weights.values(), *(s for layer in self.blocks for s in layer.weights.values())]
        return sum(map(prod, shapes))
