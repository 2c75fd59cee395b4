"""A model made ready to call: its weights, its inputs and one step of its pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lbench import backends, models
from lbench.backends.spec import Backend
from lbench.case import Case
from lbench.mechanisms.draws import dtype_of
from lbench.memory import device_bytes, give_back, joined, watched
from lbench.models.adamw import AdamW
from lbench.models.decoder import Decoder, Held, Mix
from lbench.models.drawing import draw
from lbench.models.loss import cross_entropy
from lbench.models.meter import Meter
from lbench.models.mixing import bind
from lbench.models.spec import Layer


@dataclass(frozen=True, kw_only=True)
class ModelWorkload:
    """What a workload of shapes is, for a model: the same names mean the same."""

    case: Case
    backend: Backend
    decoder: Decoder
    meter: Meter
    call: Callable[[], Any]
    """One step: `((loss or logits, ...), ())`."""
    held: Sequence[Tensor] = ()
    """Alive between calls beside the weights: moments, tokens, states or caches."""
    optimizer: AdamW | None = None
    forward: Callable[[], Any] | None = None
    """Training: the loss with its graph."""
    backward: Callable[[Any], Any] | None = None
    """Training: from the loss to the new weights."""

    in_graph: bool = False
    """Whether a GPU times it in a CUDA graph however long it is: a step of decoding is served that way."""

    def again(self) -> Callable[[], Any]:
        """The call itself: its weights are more than any cache holds."""
        return self.call

    @property
    def input_bytes(self) -> int:
        """Weights and all that is alive between calls."""
        return _bytes(self.decoder.parameters) + _bytes(self.held)

    def outputs(self, result: Any) -> dict[str, Tensor]:
        """What a call returned, by name: loss, or logits."""
        (first, *_), _ = result
        return {"loss" if self.case.pass_name == "train" else "logits": first}

    def traces(self, result: Any) -> dict[str, Tensor]:
        """What tells one call's arithmetic from another's: its outputs; of a first step the gradients too.

        The first moments are the gradients times a constant, as they began at zero.
        """
        moments = self.optimizer.moments if self.optimizer else ()
        return self.outputs(result) | {f"moment {i}": first for i, (first, _) in enumerate(moments)}

    def begin_again(self) -> None:
        """Training stands where it did before its first step: weights drawn again, moments zero."""
        if self.optimizer is None:
            return
        dtype, device = dtype_of(self.case), self.decoder.parameters[0].device
        top, blocks = draw(self.decoder.model, self.case.seed, device, dtype)
        drawn = [*top.values(), *(tensor for block in blocks for tensor in block.values())]
        with torch.no_grad():
            for parameter, tensor in zip(self.decoder.parameters, drawn, strict=True):
                parameter.copy_(tensor)
        self.optimizer.forget()

    def ledger(self, device: str) -> tuple[Any, dict[str, int]]:
        """Calls it once: what it returned, and bytes by what they were for.

        inputs is all that is alive before the call: weights, optimizer (its moments), cache (states or keys
        and values of decoding), tokens. saved are the activations that training keeps for its backward.
        """
        if device.startswith("cuda"):
            give_back()
        saved = 0
        if self.forward is None or self.backward is None:
            result, use = watched(self.call, device)
        else:
            loss, forward = watched(self.forward, device)
            saved = max(forward.alive, 0)
            result, backward = watched(lambda: self.backward(loss), device)  # type: ignore[misc]
            use = joined(forward, backward)
        weights = _bytes(self.decoder.parameters)
        moments = self.optimizer.bytes if self.optimizer else 0
        decode = self.case.pass_name == "decode"
        outputs, _ = result
        ledger = {
            "inputs": self.input_bytes,
            "outputs": _bytes(outputs),
            "gradients": weights if self.optimizer else 0,
            "saved": saved,
            "peak": use.peak,
            "weights": weights,
            "optimizer": moments,
            "cache": _bytes(self.held) if decode else _bytes(outputs[1:]),
        }
        made = ledger["outputs"] + ledger["gradients"] + saved
        ledger["workspace"] = max(use.peak - made, 0)
        if device.startswith("cuda"):
            ledger |= {"slack": use.slack, "reserved": use.reserved, "device": device_bytes(device)}
        return result, ledger


def build(case: Case, device: str) -> ModelWorkload:
    """The workload of a model's case on a torch device; raises what its backends raise."""
    model = models.of_case(case)
    top, blocks = draw(model, case.seed, device, dtype_of(case))
    decoder = Decoder(
        model=model,
        top=top,
        blocks=blocks,
        checkpoint=case.checkpoint,
        chunk=case.chunk,
        compiled=case.compile == "on",
    )
    made = {"train": _train, "prefill": _prefill, "decode": _decode}[case.pass_name](decoder, case, device)
    return ModelWorkload(
        case=case, backend=backends.load(case.backend, case.mechanism), decoder=decoder, **made
    )


def _train(decoder: Decoder, case: Case, device: str) -> dict[str, Any]:
    meter = Meter(device)
    mixes = _bound(decoder, case, device, meter, "fwdbwd", case.seq_len)
    tokens = drawn_tokens(case, device, case.seq_len + 1)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].flatten()
    leaves = [parameter.requires_grad_() for parameter in decoder.parameters]
    optimizer = AdamW(leaves)

    def forward() -> Tensor:
        x = decoder.hidden(inputs, mixes)
        return cross_entropy(x.flatten(0, 1), decoder.head, targets)

    def backward(loss: Tensor) -> Any:
        optimizer.step(torch.autograd.grad(loss, leaves))
        return (loss.detach(),), ()

    return {
        "meter": meter,
        "call": lambda: backward(forward()),
        "forward": forward,
        "backward": backward,
        "optimizer": optimizer,
        "held": (tokens, *(moment for pair in optimizer.moments for moment in pair)),
    }


def _prefill(decoder: Decoder, case: Case, device: str) -> dict[str, Any]:
    meter = Meter(device)
    tokens = drawn_tokens(case, device, case.seq_len)
    run = prefill_of(decoder, case, device, meter)

    @torch.no_grad()
    def call() -> Any:
        x, held = run(tokens)
        logits = x[:, -1] @ decoder.head.T
        return (logits, *(tensor for one in held for tensor in one.values())), ()

    return {"meter": meter, "call": call, "held": (tokens,)}


def prefill_of(
    decoder: Decoder, case: Case, device: str, meter: Meter
) -> Callable[[Tensor], tuple[Tensor, list[Held]]]:
    """From a prompt of `case.seq_len` tokens to the hidden states of its last piece, and what is held."""
    length, chunk = case.seq_len, min(case.prefill_chunk or case.seq_len, case.seq_len)
    lengths = {min(chunk, length - at) for at in range(0, length, chunk)}
    bound = {size: _bound(decoder, case, device, meter, "prefill", size) for size in lengths}

    def run(tokens: Tensor) -> tuple[Tensor, list[Held]]:
        whole = [empty_held(layer, case, device, length) for layer in decoder.model.blocks]
        x = tokens
        for at in range(0, length, chunk):
            piece = tokens[:, at : at + chunk]
            end = at + piece.shape[1]
            seen = [_first_tokens(held, end) for held in whole]
            x = decoder.hidden(piece, bound[piece.shape[1]], at, seen)
            for held, part in zip(whole, seen, strict=True):
                held.update({name: value for name, value in part.items() if name not in "kv"})
        return x, whole

    return run


def _decode(decoder: Decoder, case: Case, device: str) -> dict[str, Any]:
    meter = Meter(device)
    mixes = _bound(decoder, case, device, meter, "decode", case.seq_len)
    token = drawn_tokens(case, device, 1)
    held = [empty_held(layer, case, device, case.seq_len + 1) for layer in decoder.model.blocks]
    chance = torch.Generator(device).manual_seed(case.seed)
    for tensor in (tensor for one in held for tensor in one.values()):
        tensor.normal_(generator=chance)

    @torch.no_grad()
    def call() -> Any:
        # The state is not carried on: every call does the same work on the same numbers.
        step = [dict(one) for one in held]
        logits = decoder.hidden(token, mixes, case.seq_len, step)[:, -1] @ decoder.head.T
        return (logits, *(one["state"] for one in step if "state" in one)), ()

    tensors = [tensor for one in held for tensor in one.values()]
    return {"meter": meter, "call": call, "held": (token, *tensors), "in_graph": True}


def drawn_tokens(case: Case, device: str, count: int) -> Tensor:
    """Token numbers [B, count], drawn from the case's seed."""
    chance = torch.Generator(device).manual_seed(case.seed + 1)
    vocab = models.of_case(case).vocab
    return torch.randint(vocab, (case.batch, count), generator=chance, device=device)


def empty_held(layer: Layer, case: Case, device: str, length: int) -> Held:
    """What one block holds before the first token: a zero state, or room for `length` tokens; a zero tail."""
    from lbench import mechanisms
    from lbench.mechanisms.spec import shape
    from lbench.models.mixing import mixer_case

    of_block = mixer_case(case, layer, "decode", case.batch, length)
    dims = mechanisms.load(layer.mechanism).decode_tensors
    made: Held = {}
    if "state" in dims:
        made["state"] = torch.zeros(shape(dims["state"], of_block), device=device)
    else:
        for name, width in (("k", layer.mixed_dim), ("v", layer.head_dim_v)):
            size = (case.batch, length, layer.kv_heads, width)
            made[name] = torch.empty(size, device=device, dtype=dtype_of(case))
    if layer.conv:
        channels = sum(layer.convolved)
        made["tail"] = torch.zeros(case.batch, 3, channels, device=device, dtype=dtype_of(case))
    return made


def _first_tokens(held: Held, count: int) -> Held:
    """What a block holds, its cache cut to the first `count` tokens as views."""
    return {name: value[:, :count] if name in "kv" else value for name, value in held.items()}


def _bound(
    decoder: Decoder, case: Case, device: str, meter: Meter, pass_name: str, seq_len: int
) -> list[Mix]:
    # The mixer is built for the piece: its own case has neither chunks nor checkpoints.
    plain = dataclasses.replace(case, checkpoint="none", chunk=0, prefill_chunk=0)
    return bind(
        decoder.model, plain, device, pass_name=pass_name, batch=case.batch, seq_len=seq_len, meter=meter
    )


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
