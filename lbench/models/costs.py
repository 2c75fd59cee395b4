"""What a model's pass must compute and move, and what memory it will take by part. Needs no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import prod

from lbench import mechanisms, models
from lbench.case import Case
from lbench.mechanisms.spec import BYTES, shape
from lbench.models.operators import operator_case
from lbench.models.spec import CONV_TOKENS, Layer

LOGITS = 1 << 28
"""Of the head's pieces in training, as `loss` has them."""
LOGIT_BYTES = {"cuda": 2, "cpu": 10}
"""What a logit takes: on a GPU its gradient takes its place, else there are two copies in fp32."""
GIB = 2**30


def useful_flops(case: Case) -> float:
    """2 a matrix weight and token, and the mixers' forward, three times in training; head, no embedding."""
    model = models.of_case(case)
    tokens, times = case.tokens, 3.0 if case.pass_name == "train" else 1.0
    forward = "fwd" if case.pass_name == "train" else ""
    # A prompt's logits are wanted of its last token alone.
    headed = case.batch if case.pass_name == "prefill" else tokens
    matrices = sum(_matrix_weights(layer) for layer in model.blocks)
    flops = 2.0 * (matrices * tokens + model.vocab * model.width * headed)
    return times * (flops + sum(_mixer_flops(case, layer, forward) for layer in model.blocks))


def executed_flops(case: Case) -> float:
    """Useful ones and what training computes again: blocks, pieces of a sequence, MLPs, softmax scores."""
    if case.pass_name != "train":
        return useful_flops(case)
    again = 0.0
    for layer in models.of_case(case).blocks:
        forward = _mixer_flops(case, layer, "fwd")
        again += _mixer_flops(case, layer, "fwdbwd") - 3 * forward
        again += 2.0 * _weights_again(case, layer) * case.tokens
        if case.checkpoint == "block":
            again += forward
    return useful_flops(case) + again


def _weights_again(case: Case, layer: Layer) -> float:
    """Matrix weights that a token goes through once more, as `decoder` checkpoints a block.

    Of what is computed again, a last matrix is not: nothing of the backward asks for its result.
    """
    behind = sum(_size(layer, name) for name in ("gate_up", "out", "up", "down") if name in layer.weights)
    before, last = _matrix_weights(layer) - behind, _last(layer)
    again = 0.0
    if case.chunk:
        again += behind - last
        if not layer.conv and _keeps_behind_matrices(layer):
            again += before
    elif case.checkpoint == "selective" and layer.mlp != "none":
        again += _size(layer, "up")
    if case.checkpoint == "block":
        # In pieces, all but the last go through all of it before their own inside is computed again.
        first = (case.seq_len - 1) // max(case.chunk, 1) * case.chunk / case.seq_len
        again += before + (behind * first if case.chunk else behind - last)
    return again


def _keeps_behind_matrices(layer: Layer) -> bool:
    """Whether `enter` keeps anything for the backward behind its last matrix."""
    made = (feed for feed in layer.feeds.values() if feed.source != "learned")
    return bool(layer.activations) or layer.rotary == "rope" or any(feed.activation for feed in made)


def floor_bytes(case: Case) -> int:
    """Bytes a pass must move: weights (in training their gradients and moments too), cache or state."""
    parts = memory_of(case)
    if case.pass_name == "train":
        # Forward and backward read the weights, the backward writes gradients, the step reads and writes all.
        read = _read_bytes(case, case.tokens) + _read_bytes(case, 0)
        return read + 2 * parts.gradients + 2 * parts.optimizer + 2 * parts.weights
    carried = sum(_carried_bytes(case, layer) for layer in models.of_case(case).blocks)
    return _read_bytes(case, case.tokens) + parts.cache + (carried if case.pass_name == "decode" else 0)


def _read_bytes(case: Case, tokens: int) -> int:
    """The weights; of an embedding that is not the head too, the rows of so many tokens alone."""
    model = models.of_case(case)
    unread = 0 if model.tied else max(model.vocab - tokens, 0) * model.width
    return (model.parameters - unread) * BYTES[case.dtype]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that a case is predicted to take, by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """Training: kept for the backward; and what one block works with at its peak."""
    cache: int
    """States, or keys and values; tails of convolutions."""

    @property
    def total(self) -> int:
        """All of it."""
        return sum(dataclasses.astuple(self))

    def __str__(self) -> str:
        named = ((name, value) for name, value in dataclasses.asdict(self).items() if value)
        return ", ".join(f"{name} {value / GIB:.1f} GiB" for name, value in named)


def memory_of(case: Case) -> Memory:
    """What the case will take: exact but for the activations, which are those of the plain path."""
    model, item = models.of_case(case), BYTES[case.dtype]
    weights = model.parameters * item
    train, decode = case.pass_name == "train", case.pass_name == "decode"
    tokens = case.batch if decode else case.batch * case.seq_len
    if train:
        activations = _trained_bytes(case)
    else:
        activations = max(_block_numbers(layer, case.chunk) for layer in set(model.blocks)) * tokens * item
        if not decode:
            chunk = min(case.prefill_chunk or case.seq_len, case.seq_len)
            activations = activations * chunk // case.seq_len
    cache = 0 if train else sum(_cache_bytes(case, layer) for layer in model.blocks)
    return Memory(
        weights=weights,
        gradients=weights if train else 0,
        optimizer=8 * model.parameters if train else 0,
        activations=activations,
        cache=cache,
    )


def _trained_bytes(case: Case) -> int:
    """The most that a step holds of activations: at the head, or in the backward of one of the blocks.

    By then what the blocks behind it kept is gone.
    """
    model, tokens = models.of_case(case), case.batch * case.seq_len
    kept, most = 0, 0
    for layer in model.blocks:
        kept += _kept_numbers(layer, case)
        # What is computed again stands beside what was kept, and its gradients beside both.
        mlps = case.checkpoint == "selective" and layer.mlp != "none"
        again = 2 if case.chunk or mlps or case.checkpoint == "block" else 1
        most = max(most, kept + again * _block_numbers(layer, case.chunk))
    item = BYTES[case.dtype]
    # The loss keeps the gradient of the head and of the last hidden states.
    head = (kept + 2 * model.width) * tokens * item
    head += LOGIT_BYTES[case.device] * min(LOGITS, tokens * model.vocab)
    if tokens * model.vocab > LOGITS:
        head += (4 + item) * model.vocab * model.width  # the sum of the head's gradient, and a piece's
    return max(most * tokens * item, head)


def _size(layer: Layer, name: str) -> int:
    return prod(layer.weights[name])


def _matrix_weights(layer: Layer) -> int:
    return sum(prod(size) for name, size in layer.weights.items() if len(size) == 2 and name not in _NOT_USED)


_NOT_USED = ("A", "theta")


def _last(layer: Layer) -> int:
    return _size(layer, "out" if layer.mlp == "none" else "down")


def _mixer_flops(case: Case, layer: Layer, pass_name: str = "") -> float:
    return mechanisms.load(layer.mechanism).useful_flops(operator_case(case, layer, pass_name))


def _state_bytes(case: Case, layer: Layer) -> int:
    dims = mechanisms.load(layer.mechanism).decode_tensors
    return 4 * prod(shape(dims["state"], operator_case(case, layer, "decode"))) if "state" in dims else 0


def _carried_bytes(case: Case, layer: Layer) -> int:
    """What each token makes anew: the state, and the tail of the convolution."""
    tail = case.batch * (CONV_TOKENS - 1) * sum(layer.convolved) * BYTES[case.dtype]
    return _state_bytes(case, layer) + tail


def _cache_bytes(case: Case, layer: Layer) -> int:
    """State in fp32, or keys and values, with room for the token that is decoded; tail of the convolution."""
    carried = _carried_bytes(case, layer)
    if _state_bytes(case, layer):
        return carried
    tokens = case.seq_len + (case.pass_name == "decode")
    numbers = layer.kv_heads * (layer.mixed_dim + layer.head_dim_v)
    return carried + case.batch * tokens * numbers * BYTES[case.dtype]


def _mixed_numbers(layer: Layer) -> int:
    """Numbers a token of what the mixer is called with and returns, as they come and as they go in."""
    fed = sum(layer.width_of(name) for name, feed in layer.feeds.items() if feed.source != "learned")
    doubled = (layer.rotary == "lrpe") * 2 * layer.heads * layer.head_dim
    changed = len(layer.activations) * layer.heads * layer.head_dim + doubled
    changed += sum(layer.convolved) * 6
    if layer.rotary == "rope":
        changed += 3 * (layer.heads + layer.kv_heads) * layer.head_dim
    gates = 3 * layer.out_width if layer.gate != "none" else 0
    return fed + changed + gates + 2 * layer.out_width


def _mlp_numbers(layer: Layer) -> int:
    if layer.mlp == "none":
        return 0
    return 2 * layer.width + layer.mlp_width * {"gelu": 2, "glu": 3, "swiglu": 4}[layer.mlp]


def _between_numbers(layer: Layer) -> int:
    """Numbers a token between the pieces of a block: the mixer's tensors, its output, the gate."""
    fed = sum(layer.width_of(name) for name, feed in layer.feeds.items() if feed.source != "learned")
    doubled = (layer.rotary == "lrpe") * 4 * layer.heads * layer.head_dim
    return fed + doubled + (2 if layer.gate != "none" else 1) * layer.out_width


def _block_numbers(layer: Layer, chunk: int) -> int:
    if chunk and not layer.conv:
        return 2 * layer.width + _between_numbers(layer)
    return 2 * layer.width + max(_mixed_numbers(layer), _mlp_numbers(layer))


def _kept_numbers(layer: Layer, case: Case) -> int:
    if case.checkpoint == "block":
        return layer.width
    if case.chunk and not layer.conv:
        return layer.width + _between_numbers(layer)
    mlp = layer.width if case.checkpoint == "selective" else _mlp_numbers(layer)
    return 2 * layer.width + _mixed_numbers(layer) + mlp * (layer.mlp != "none")
