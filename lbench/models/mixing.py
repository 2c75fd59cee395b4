"""A backend's function as a model's blocks call it: laid out, with the layer's constants, state or cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor

from lbench import backends, mechanisms
from lbench.backends.spec import Backend, Unsupported
from lbench.case import Case
from lbench.models.decoder import Held, Mix
from lbench.models.meter import Meter
from lbench.models.spec import Layer, Model

Function = Callable[..., Any]


def mixer_case(case: Case, layer: Layer, pass_name: str, batch: int, seq_len: int) -> Case:
    """The mixer of one kind of block as a case of its own; `pass_name` may be `prefill`."""
    own = layer.mechanism == case.mechanism
    return dataclasses.replace(
        case,
        backend=case.backend if own else case.attention,
        mechanism=layer.mechanism,
        pass_name=pass_name,
        batch=batch,
        seq_len=seq_len,
        heads=layer.heads,
        kv_heads=layer.kv_heads,
        head_dim=layer.mixed_dim,
        head_dim_v=layer.head_dim_v,
    )


def bind(
    model: Model, case: Case, device: str, *, pass_name: str, batch: int, seq_len: int, meter: Meter
) -> list[Mix]:
    """A mixer for every block. `pass_name` is fwdbwd, prefill or decode.

    `seq_len` is the length of the piece, or for decode the context held. Raises what backends raise.
    """
    built: dict[tuple[int, int], Mix] = {}
    mixes = []
    for index, layer in enumerate(model.blocks):
        # Only a decay that depends on the depth tells layers of one kind apart.
        key = (id(layer), index if layer.mechanism == "lightning" else 0)
        if key not in built:
            mixing = mixer_case(case, layer, pass_name, batch, seq_len)
            built[key] = _mix(mixing, device, meter, _depth(model, index))
        mixes.append(built[key])
    return mixes


def _depth(model: Model, index: int) -> float:
    """Factor of a layer's slopes: 1 at the first, nearly 0 at the last."""
    return 1 - index / max(model.layers - 1, 1) + 1e-5


def _mix(case: Case, device: str, meter: Meter, depth: float) -> Mix:
    mechanism, backend = mechanisms.load(case.mechanism), backends.load(case.backend, case.mechanism)
    constants = dict(
        mechanism.make_inputs(
            dataclasses.replace(case, pass_name="fwd", batch=1, seq_len=1), device
        ).constants
    )
    if case.mechanism == "lightning":
        constants["slopes"] = constants["slopes"] * depth
    kept = "state" in mechanism.decode_tensors
    if case.pass_name == "prefill" and not backend.limits.carries:
        if kept:
            raise Unsupported("pass prefill (its forward does not return the state)")
        case = dataclasses.replace(case, pass_name="fwd")
    function = backend.build(case, {name: _arranged(backend, name, t) for name, t in constants.items()})
    call = _canonical(backend, function)
    if case.pass_name == "fwdbwd":
        return lambda tensors, _: meter.around(tensors, lambda given: call(given)[0])
    if kept:
        return lambda tensors, held: _recurrent(call, tensors, held, meter)
    step = case.pass_name == "decode"
    return lambda tensors, held: _cached(call, tensors, held, meter, step)


def _arranged(backend: Backend, name: str, tensor: Tensor) -> Tensor:
    return (backend.layout.view or backend.layout.arrange)(name, tensor)


def _canonical(backend: Backend, function: Function) -> Callable[[dict[str, Tensor]], tuple[Tensor, ...]]:
    """`function` on canonical tensors: o, and the new state where it has one."""
    restore = backend.layout.restore

    def call(tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
        given = {name: _arranged(backend, name, tensor) for name, tensor in tensors.items()}
        result = function(**given)
        values = result if isinstance(result, tuple) else (result,)
        return tuple(restore(name, value) for name, value in zip(("o", "state"), values, strict=False))

    return call


def _recurrent(call: Any, tensors: dict[str, Tensor], held: Held | None, meter: Meter) -> Tensor:
    assert held is not None

    def run(given: dict[str, Tensor]) -> Tensor:
        o, held["state"] = call({**given, "state": held["state"]})
        return o

    return meter.around(tensors, run)


def _cached(call: Any, tensors: dict[str, Tensor], held: Held | None, meter: Meter, step: bool) -> Tensor:
    """Attention over a cache k, v [B, S, G, D]: a step writes its token into the last slot itself."""
    assert held is not None
    if step:
        cache = {"k_cache": held["k"], "v_cache": held["v"]}
        return meter.around(tensors, lambda given: call({**given, **cache})[0])
    count = tensors["q"].shape[1]
    for name in ("k", "v"):
        held[name][:, held["k"].shape[1] - count :] = tensors[name]
    if count == held["k"].shape[1]:
        return meter.around(tensors, lambda given: call(given)[0])
    return meter.around({"q": tensors["q"], "k": held["k"], "v": held["v"]}, lambda given: call(given)[0])
