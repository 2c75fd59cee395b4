"""Is a model's row right? Its mixers at that very shape, and the whole of it at tiny size.

The tiny model has the row's backend, kinds of blocks, checkpoints, chunks and compilation. What it returns is
compared with the eager mixer's in fp32 on the same weights; it may be four times as far from it as the eager
mixer in the row's dtype.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lbench import attest, models, repeats, workload
from lbench.case import Case
from lbench.comparison import Error
from lbench.models.operators import operator_case
from lbench.models.spec import Model
from lbench.verify import ALLOWED, Verification

if TYPE_CHECKING:
    from torch import Tensor

    from lbench.models.decoder import Decoder, Held, Mix

LENGTH = 168
"""Tokens of the tiny check: prefill takes two pieces of a prompt, decoding what is left of it."""
PROMPT, PIECE = 160, 96
BATCH = 2
CHUNK = 64
"""Tokens at once where the row works in chunks: its last one is shorter."""
FEW_ULPS = 8.0
"""Times half an epsilon that anything may be off: logits come through a dozen roundings."""

_found: dict[str, Verification] = {}
"""Checks of mixers by the key of their case: settings of a model share them."""
_whole: dict[tuple[object, ...], dict[str, tuple[Error, Error]]] = {}
"""Checks of whole models by what they are in little, mixer, pass and setting: lengths, batches and most sizes
share them."""


def check(case: Case, device: str) -> Verification:
    """All checks of a model's case as one; the first that fails ends them."""
    model = models.of_case(case)
    errors: dict[str, Error] = {}
    limits: dict[str, Error] = {}
    coverage: list[str] = []
    for layer in dict.fromkeys(model.blocks):
        found = _of_mixer(operator_case(case, layer), device)
        prefix = "" if layer.mechanism == case.mechanism else "attention "
        for name, error in found.errors.items():
            _keep_worst(errors, limits, prefix + name, error, found.limits[name])
        coverage.append(found.coverage)
        if found.verdict != "ok":
            return dataclasses.replace(found, errors=errors, limits=limits)
    tiny = _of_whole(case, model, device)
    for name, (error, limit) in tiny.items():
        errors[name], limits[name] = error, limit
    wrong = [
        f"{name} of the whole model at tiny size: relative RMS error {error.rms:.2e}, allowed {limit.rms:.2e}"
        for name, (error, limit) in tiny.items()
        if not error.rms <= limit.rms
    ]
    return Verification(
        errors=errors,
        limits=limits,
        coverage="; ".join(dict.fromkeys(coverage)),
        verdict="wrong" if wrong else "ok",
        reason=wrong[0] if wrong else "",
    )


def _of_mixer(case: Case, device: str) -> Verification:
    if case.key not in _found:
        work = workload.build_mixer(case, device)
        first = repeats.first_call(work, work.outputs(work.call()))
        again = attest.call_again(work, first.digest, device)
        _found[case.key] = first.with_later(work, again)
    return _found[case.key]


def _of_whole(case: Case, model: Model, device: str) -> dict[str, tuple[Error, Error]]:
    key = (
        repr(dataclasses.replace(tiny(model), name="", source="", max_length=0)),
        *(case.backend, case.attention, case.mechanism, case.pass_name, case.dtype, case.decay, case.seed),
        *(case.checkpoint, bool(case.chunk), case.compile, device),
    )
    if key not in _whole:
        _whole[key] = _tiny_errors(case, model, device)
    return _whole[key]


def _keep_worst(
    errors: dict[str, Error], limits: dict[str, Error], name: str, error: Error, limit: Error
) -> None:
    """Of several kinds of blocks the one that is nearest its limit."""
    known = errors.get(name)
    if known is None or error.rms / limit.rms > known.rms / limits[name].rms:
        errors[name], limits[name] = error, limit


def tiny(model: Model) -> Model:
    """The model in little: its kinds of blocks with their head dims, two heads, a small vocabulary."""
    heads = 2
    return dataclasses.replace(
        model,
        layers=2 * max(model.rotary_layers, 1),
        attention_every=min(model.attention_every, 2),
        attention_kv_heads=min(model.attention_kv_heads, 1),
        width=heads * model.head_dim_v,
        heads=heads,
        kv_heads=heads if model.kv_heads == model.heads else 1,
        mlp_width=2 * heads * model.head_dim_v if model.mlp_width else 0,
        vocab=256,
        published=0,
    )


def _tiny_errors(case: Case, model: Model, device: str) -> dict[str, tuple[Error, Error]]:
    """Name -> error of the row's backend and what it may be."""
    import torch

    from lbench.mechanisms.draws import dtype_of
    from lbench.models.decoder import Decoder
    from lbench.models.drawing import draw

    small, dtype = tiny(model), dtype_of(case)
    # Weights that the row's dtype holds: all three models then have the very same.
    top, blocks = draw(small, case.seed, device, dtype)
    eager = dataclasses.replace(
        case,
        backend=f"{case.mechanism}_eager",
        attention="softmax_eager" if case.attention else "",
        batch=BATCH,
        seq_len=LENGTH,
    )

    def answer(
        how: Callable[..., dict[str, Tensor]], asked: Case, wanted: torch.dtype, **settings: Any
    ) -> dict[str, Tensor]:
        cast = [{name: tensor.to(wanted) for name, tensor in one.items()} for one in (top, *blocks)]
        asked = dataclasses.replace(asked, dtype="fp32" if wanted == torch.float32 else case.dtype)
        return how(Decoder(model=small, top=cast[0], blocks=cast[1:], **settings), asked, device)

    # Truth and loss are the parallel forward's: what goes wrong between pieces must not widen the limit.
    train = case.pass_name == "train"
    whole, own = (_trained, _trained) if train else (_parallel, _generated)
    exact = answer(whole, eager, torch.float32)
    lost = _distances(answer(whole, eager, dtype), exact)
    asked = dataclasses.replace(eager, backend=case.backend, attention=case.attention)
    settings = {"checkpoint": case.checkpoint, "compiled": case.compile == "on"}
    settings["chunk"] = CHUNK if case.chunk else 0
    given = _distances(answer(own, asked, dtype, **settings), exact)
    least = max(FEW_ULPS * torch.finfo(dtype).eps / 2, 64 * torch.finfo(torch.float32).eps)
    return {name: (_error(value), _error(max(ALLOWED * lost[name], least))) for name, value in given.items()}


def _error(value: float) -> Error:
    return Error(rms=value, block=value)


def _distances(given: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> dict[str, float]:
    """Relative RMS errors, infinite where a number is not finite."""
    made = {}
    for name, wanted in exact.items():
        gap = (given[name].double() - wanted.double()).square().mean() / wanted.double().square().mean()
        made[name] = float(gap.sqrt()) if bool(gap.isfinite()) else math.inf
    return made


def _trained(decoder: Decoder, case: Case, device: str) -> dict[str, Tensor]:
    """Logits, and the gradients of all weights as one tensor."""
    import torch

    from lbench.models.loss import cross_entropy

    mixes = _mixes(decoder, case, device, "fwdbwd", LENGTH)
    tokens = _tokens(case, device, LENGTH + 1)
    leaves = [parameter.requires_grad_() for parameter in decoder.parameters]
    x = decoder.hidden(tokens[:, :-1], mixes)
    loss = cross_entropy(x.flatten(0, 1), decoder.head, tokens[:, 1:].flatten())
    gradients = torch.autograd.grad(loss, leaves)
    logits = (x @ decoder.head.T).detach()
    return {"logits": logits, "weights": torch.cat([one.flatten().float() for one in gradients])}


def _parallel(decoder: Decoder, case: Case, device: str) -> dict[str, Tensor]:
    import torch

    mixes = _mixes(decoder, case, device, "fwdbwd", LENGTH)
    with torch.no_grad():
        x = decoder.hidden(_tokens(case, device, LENGTH), mixes)
        return {"logits": (x[:, PROMPT - 1 :] @ decoder.head.T).detach()}


def _generated(decoder: Decoder, case: Case, device: str) -> dict[str, Tensor]:
    """Logits of the last token of a prompt, and of those after it, each from a step of decoding.

    Of prefill and decode only the pass of the case is the backend's; the other one is the eager mixer's.
    """
    import torch

    from lbench import backends
    from lbench.models.meter import Meter
    from lbench.models.workload import prefill_of

    eager = dataclasses.replace(
        case, backend=f"{case.mechanism}_eager", attention="softmax_eager" if case.attention else ""
    )
    prefills = case if case.pass_name == "prefill" else eager
    decodes = case if case.pass_name == "decode" else eager
    carries = backends.load(prefills.backend, prefills.mechanism).limits.carries
    carries &= not case.attention or backends.load(prefills.attention).limits.carries
    chunked = dataclasses.replace(prefills, seq_len=PROMPT, prefill_chunk=PIECE if carries else 0)
    tokens, meter = _tokens(case, device, LENGTH), Meter(device)
    with torch.no_grad():
        x, held = prefill_of(decoder, chunked, device, meter)(tokens[:, :PROMPT])
        logits = [x[:, -1] @ decoder.head.T]
        for at in range(PROMPT, LENGTH):
            logits.append(_step(decoder, decodes, device, tokens, held, at))
    return {"logits": torch.stack(logits, 1)}


def _step(decoder: Decoder, case: Case, device: str, tokens: Tensor, held: list[Held], at: int) -> Tensor:
    """Logits of the token after `tokens[at]`; `held` grows by it."""
    import torch

    from lbench.models.workload import empty_held

    for layer, one in zip(decoder.model.blocks, held, strict=True):
        room = empty_held(layer, case, device, 1)
        one |= {key: torch.cat((one[key], room[key]), 1) for key in "kv" if key in one}
    mixes = _mixes(decoder, case, device, "decode", at)
    return decoder.hidden(tokens[:, at : at + 1], mixes, at, held)[:, -1] @ decoder.head.T


def _mixes(decoder: Decoder, case: Case, device: str, pass_name: str, seq_len: int) -> list[Mix]:
    from lbench.models.meter import Meter
    from lbench.models.mixing import bind

    meter = Meter(device)
    return bind(decoder.model, case, device, pass_name=pass_name, batch=BATCH, seq_len=seq_len, meter=meter)


def _tokens(case: Case, device: str, count: int) -> Tensor:
    import torch

    chance = torch.Generator(device).manual_seed(case.seed + 1)
    return torch.randint(256, (BATCH, count), generator=chance, device=device)
