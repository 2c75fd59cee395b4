"""The decoder: one skeleton for all models, as functions over dictionaries of weights.

    x = embed(tokens)
    for each block:   x = leave(x, mixer(enter(x)));   x = mlp(x)
    logits = norm(x) @ head

The mixer is a backend's own function; `enter` makes what it is called with, `leave` takes what it returns
(both in `pieces`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding
from torch.utils.checkpoint import checkpoint

from lbench.models import layers
from lbench.models.pieces import Weights, enter, leave, mlp
from lbench.models.spec import Layer, Model

Held = dict[str, Tensor]
"""What a block keeps between pieces of a sequence: state, or k and v of a cache; tail of its convolution."""
Mix = Callable[[dict[str, Tensor], Held | None], Tensor]
"""(tensors by name, what the block holds; updated) -> o."""

RECOMPILE_LIMIT = 256
"""Shapes and kinds of blocks that one process compiles; beyond torch's own 8 it would raise an error."""


@dataclass(kw_only=True)
class Decoder:
    """A model with its weights, and how its activations are treated."""

    model: Model
    top: Weights
    """Embedding, head where it is not tied, last norm."""
    blocks: list[Weights]
    checkpoint: str = "none"
    chunk: int = 0
    compiled: bool = False
    _tables: dict[tuple[int, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def parameters(self) -> list[Tensor]:
        """Every weight, a tied head once."""
        return [*self.top.values(), *(tensor for block in self.blocks for tensor in block.values())]

    @property
    def head(self) -> Tensor:
        """The matrix [vocab, width] of the logits."""
        return self.top.get("head", self.top["embed"])

    def hidden(
        self, tokens: Tensor, mixes: Sequence[Mix], first: int = 0, held: Sequence[Held] | None = None
    ) -> Tensor:
        """tokens [B, T] at positions from `first` on -> [B, T, D], ready for the head.

        With `held`, one dictionary a block, the piece goes on where the one before it ended.
        """
        x = embedding(tokens, self.top["embed"])
        if self.model.embed_scale:
            x = x * self.model.width**0.5
        for index, (layer, weights, mix) in enumerate(
            zip(self.model.blocks, self.blocks, mixes, strict=True)
        ):
            run = functools.partial(self._block, layer, weights, mix, first, held[index] if held else None)
            x = _again(run, x) if self.checkpoint == "block" else run(x)
        return layers.norm(x, self.top.get("norm"))

    def _block(
        self, layer: Layer, weights: Weights, mix: Mix, first: int, held: Held | None, x: Tensor
    ) -> Tensor:
        pieces = _compiled() if self.compiled else (enter, leave, mlp)
        batch, count, _ = x.shape
        # Compiled code is made for a shape. In one row, a step's tokens have the same one at any length.
        in_row = self.compiled and held is None and not (self.chunk or layer.conv)
        if in_row:
            x = _row(x)
        table = self._table(layer, first, count, batch if in_row else 1, x)
        tensors, gate = self._entered(pieces[0], layer, weights, table, held, x)
        if in_row:
            tensors = {name: _folded(layer, name, one, batch) for name, one in tensors.items()}
        if layer.rotary == "lrpe":
            turned = {name: layers.lrpe(tensors[name], weights["theta"], first) for name in ("q", "k")}
            tensors = {**tensors, **turned}
        o = mix(tensors, held)
        skipped = tensors["x"] if layer.skip != "none" else None
        if in_row:
            o, skipped = _row(o), None if skipped is None else _row(skipped)
        return self._left(pieces, layer, weights, x, o, gate, skipped).reshape(batch, count, -1)

    def _entered(
        self,
        piece: Any,
        layer: Layer,
        weights: Weights,
        table: tuple[Tensor, Tensor] | None,
        held: Held | None,
        x: Tensor,
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """The mixer's tensors and the gate, in pieces of the sequence where these are asked for."""
        begin = functools.partial(_begin, piece, weights, layer)
        if self.chunk and held is None and not layer.conv:
            tables = [None if table is None else _cut(table, at, self.chunk) for at in self._starts(x)]
            parts = [
                _again(begin, part, one) for part, one in zip(x.split(self.chunk, 1), tables, strict=True)
            ]
            return _joined(parts, layer)
        tail = held.get("tail") if held is not None else None
        tensors, gate, new_tail = begin(x, table, tail, held is not None)
        if held is not None and new_tail is not None:
            held["tail"] = new_tail
        return tensors, gate

    def _left(
        self,
        pieces: tuple[Any, ...],
        layer: Layer,
        weights: Weights,
        x: Tensor,
        o: Tensor,
        gate: Tensor | None,
        skipped: Tensor | None,
    ) -> Tensor:
        """From the mixer's output to the block's, in pieces of the sequence where these are asked for."""
        end = functools.partial(_end, pieces, weights, layer, self.checkpoint == "selective")
        if not self.chunk:
            return end(x, o, gate, skipped)
        cut = [
            [None] * len(self._starts(x)) if y is None else y.split(self.chunk, 1) for y in (gate, skipped)
        ]
        pieces_of = zip(x.split(self.chunk, 1), o.split(self.chunk, 1), *cut, strict=True)
        return torch.cat([_again(end, *piece) for piece in pieces_of], 1)

    def _starts(self, x: Tensor) -> range:
        return range(0, x.shape[1], self.chunk)

    def _table(
        self, layer: Layer, first: int, count: int, times: int, x: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Cosines and sines of `count` tokens from `first` on, for `times` sequences one behind the other."""
        if layer.rotary != "rope":
            return None
        key = (layer.head_dim, int(layer.rope_base), first, count, times)
        if key not in self._tables:
            # In the dtype they are used in: every layer reads them.
            parts = layers.rope_table(layer.head_dim, layer.rope_base, first, count, x.device)
            cos, sin = (part.to(x.dtype).repeat(times, 1, 1) for part in parts)
            self._tables[key] = cos, sin
        return self._tables[key]


def _begin(
    piece: Any,
    weights: Weights,
    layer: Layer,
    x: Tensor,
    table: tuple[Tensor, Tensor] | None,
    tail: Tensor | None = None,
    keeps_tail: bool = False,
) -> tuple[dict[str, Tensor], Tensor | None, Tensor | None]:
    made: tuple[dict[str, Tensor], Tensor | None, Tensor | None] = piece(
        x, weights, layer, table, tail, keeps_tail
    )
    return made


def _end(
    pieces: tuple[Any, ...],
    weights: Weights,
    layer: Layer,
    selective: bool,
    x: Tensor,
    o: Tensor,
    gate: Tensor | None,
    skipped: Tensor | None,
) -> Tensor:
    """From the mixer's output to the block's."""
    x = pieces[1](x, o, gate, skipped, weights, layer)
    if layer.mlp == "none":
        return x
    run = functools.partial(pieces[2], weights=weights, layer=layer)
    last: Tensor = _again(run, x) if selective else run(x)
    return last


def _row(x: Tensor) -> Tensor:
    """x [B, T, ...] as [1, B T, ...], its strides those of any other such row."""
    return x.flatten(0, 1).unsqueeze(0)


def _folded(layer: Layer, name: str, tensor: Tensor, batch: int) -> Tensor:
    """A tensor [1, B T, ...] as [B, T, ...]; what is learned has no time."""
    if layer.feeds[name].source == "learned":
        return tensor
    return tensor.reshape(batch, -1, *tensor.shape[2:])


def _cut(table: tuple[Tensor, Tensor], at: int, count: int) -> tuple[Tensor, Tensor]:
    return table[0][at : at + count], table[1][at : at + count]


def _joined(parts: Sequence[Any], layer: Layer) -> tuple[dict[str, Tensor], Tensor | None]:
    """What `enter` made of the pieces of a sequence, as one; what is learned has no time."""
    tensors = {
        name: parts[0][0][name]
        if feed.source == "learned"
        else torch.cat([part[0][name] for part in parts], 1)
        for name, feed in layer.feeds.items()
    }
    gate = None if parts[0][1] is None else torch.cat([part[1] for part in parts], 1)
    return tensors, gate


def _again(run: Callable[..., Any], x: Tensor, *others: Any) -> Any:
    """`run`, whose inside is computed again for the backward where there is one."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return run(x, *others)
    return checkpoint(run, x, *others, use_reentrant=False, preserve_rng_state=False)


@functools.cache
def _compiled() -> tuple[Any, ...]:
    """`enter`, `leave` and `mlp` compiled; the shared kinds of blocks let all layers use one code."""
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
    torch._dynamo.config.accumulated_recompile_limit = 8 * RECOMPILE_LIMIT
    return tuple(torch.compile(piece, fullgraph=True, dynamic=False) for piece in (enter, leave, mlp))
