"""What a block is beside its mixer: before it, behind it, and the MLP. These three are what is compiled."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from lbench.models import layers
from lbench.models.spec import CONV_TOKENS, Layer

Weights = dict[str, Tensor]


def enter(
    x: Tensor,
    weights: Weights,
    layer: Layer,
    table: tuple[Tensor, Tensor] | None,
    tail: Tensor | None,
    keeps_tail: bool,
) -> tuple[dict[str, Tensor], Tensor | None, Tensor | None]:
    """x [B, T, D] -> the mixer's tensors by name, the gate, and the new tail of the convolution."""
    z = layers.norm(x, weights.get("norm"))
    widths = list(layer.projected.values())
    made = dict(zip(layer.projected, linear(z, weights["in"]).split(widths, -1), strict=True))
    gate = made.pop("gate", None)
    new_tail = None
    if layer.conv:
        inside = torch.cat([made[name] for name in layer.conv], -1)
        if keeps_tail:
            new_tail = layers.new_tail(inside, tail, CONV_TOKENS)
        out = layers.short_conv(inside, weights["conv"], weights["conv_bias"], tail)
        parts = layers.ACTIVATIONS["silu"](out).split(layer.convolved, -1)
        made |= dict(zip(layer.conv, parts, strict=True))
    if layer.from_x:
        parts = linear(made["x"], weights["from_x"]).split(list(layer.from_x.values()), -1)
        made |= dict(zip(layer.from_x, parts, strict=True))
    tensors = {name: _tensor(name, made, weights, layer) for name in layer.feeds}
    if table is not None:
        tensors |= {name: layers.rope(tensors[name], table) for name in ("q", "k")}
    return tensors, gate, new_tail


def _tensor(name: str, made: dict[str, Tensor], weights: Weights, layer: Layer) -> Tensor:
    """One tensor of the mixer as its mechanism wants it: canonical shape, own activation."""
    feed = layer.feeds[name]
    if feed.source == "learned":
        return layers.ACTIVATIONS[feed.activation](weights[name])
    value = made[name]
    if feed.rank:
        value = linear(value, weights[f"{name}_up"])
    if feed.bias:
        value = value + weights[f"{name}_bias"]
    value = layers.ACTIVATIONS[layer.activations.get(name, "")](value)
    if len(layer.sizes[name]) > 1:
        value = value.unflatten(-1, layer.sizes[name])
    value = layers.ACTIVATIONS[feed.activation](value.float() if feed.wide else value)
    return value * layers.ACTIVATIONS["negative_exp"](weights[f"{name}_rate"]) if feed.rate else value


def leave(
    x: Tensor, o: Tensor, gate: Tensor | None, skipped: Tensor | None, weights: Weights, layer: Layer
) -> Tensor:
    """x [B, T, D] plus the projection of o [B, T, H, E], past norm, gate and skip."""
    if layer.skip != "none" and skipped is not None:
        share = weights["skip"].unflatten(0, (layer.heads, -1))
        o = o + skipped * share
    if gate is not None:
        gate = linear(gate, weights["gate_up"]) if layer.gate_rank else gate
        gate = layers.ACTIVATIONS[layer.gate](gate)
    flat = o.flatten(2)
    if gate is not None and layer.gate_first:
        flat = flat * gate
    if layer.out_norm == "head":
        flat = layers.norm(flat.unflatten(2, (layer.heads, -1)), weights.get("out_norm")).flatten(2)
    elif layer.out_norm == "full":
        flat = layers.norm(flat, weights.get("out_norm"))
    if gate is not None and not layer.gate_first:
        flat = flat * gate
    return x + linear(flat, weights["out"])


def mlp(x: Tensor, weights: Weights, layer: Layer) -> Tensor:
    """x [B, T, D] plus its MLP."""
    up = linear(layers.norm(x, weights.get("mlp_norm")), weights["up"])
    if layer.mlp == "gelu":
        inside = layers.ACTIVATIONS["gelu"](up)
    else:
        left, right = up.chunk(2, -1)
        inside = (left if layer.mlp == "glu" else layers.ACTIVATIONS["silu"](left)) * right
    return x + linear(inside, weights["down"])
