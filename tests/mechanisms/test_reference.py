"""Every reference equals the plain definition, and cutting it up changes nothing."""

from __future__ import annotations

import gc
import importlib.util
from pathlib import Path

import pytest
import torch

from lbench import mechanisms
from lbench.case import Case
from lbench.mechanisms import draws, segments, softmax_truth
from lbench.mechanisms.spec import shape

_spec = importlib.util.spec_from_file_location("plain", Path(__file__).with_name("plain.py"))
assert _spec is not None
assert _spec.loader is not None
plain = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plain)

RECURRENT = ("lightning", "linear", "retention", "gla", "deltanet", "gated_deltanet", "mamba1", "mamba2")
NAMES = ("softmax", *RECURRENT)


def make_case(mechanism: str, seq_len: int, **fields) -> Case:
    given = {"batch": 2, "heads": 3, "head_dim": 8, "head_dim_v": 6, "dtype": "fp32", "device": "cpu"}
    given |= {"pass_name": "fwdbwd"} | fields
    return Case(backend="x", mechanism=mechanism, seq_len=seq_len, **given)


def assembled(case: Case, inputs, output_gradient):
    """The parts put together; NaN where none came."""
    mechanism = mechanisms.load(case.mechanism)
    dims = {"o": "bthe", **{f"d{name}": dims for name, dims in mechanism.tensors.items()}}
    if "state" in mechanism.decode_tensors:
        dims["state"] = mechanism.decode_tensors["state"]
    whole: dict[str, torch.Tensor] = {}
    for part in mechanism.reference(case, inputs, output_gradient):
        size = shape(dims[part.name], case)
        whole.setdefault(part.name, torch.full(size, torch.nan, dtype=torch.float64))[part.index] = (
            part.values
        )
    return whole


def by_definition(case: Case, inputs, output_gradient):
    """Output and gradients of the plain definition in float64, by autograd."""
    tensors = {name: tensor.double() for name, tensor in inputs.tensors.items()}
    constants = {name: tensor.double() for name, tensor in inputs.constants.items()}
    leaves = [tensors[name].requires_grad_() for name in mechanisms.load(case.mechanism).gradients]
    if case.mechanism == "softmax":
        o = plain.softmax(tensors)
    else:
        state = plain.zero_state(case.mechanism, tensors)
        o, _ = plain.step(case.mechanism, tensors, constants, state)
    gradients = torch.autograd.grad(o, leaves, output_gradient.double())
    names = [f"d{name}" for name in mechanisms.load(case.mechanism).gradients]
    return {"o": o.detach(), **dict(zip(names, gradients, strict=True))}


def drawn(case: Case):
    mechanism = mechanisms.load(case.mechanism)
    inputs = mechanism.make_inputs(case, "cpu")
    return inputs, draws.output_gradient(case, shape("bthe", case), "cpu", draws.dtype_of(case))


def assert_same(given, expected):
    assert given.keys() == expected.keys()
    for name, tensor in expected.items():
        # A gradient that is zero (of decay at the first token) is so to rounding only.
        scale = max(tensor.abs().max().item(), 1e-6 * expected["o"].abs().max().item())
        assert (given[name] - tensor).abs().max().item() <= 1e-10 * scale, name


@pytest.mark.parametrize("mechanism", NAMES)
@pytest.mark.parametrize("seq_len", [1, 63, 100])
def test_reference_is_the_definition(mechanism, seq_len):
    case = make_case(mechanism, seq_len)
    inputs, output_gradient = drawn(case)
    assert_same(assembled(case, inputs, output_gradient), by_definition(case, inputs, output_gradient))


@pytest.mark.parametrize("mechanism", NAMES)
@pytest.mark.parametrize("kind", ["outlier", "mean"])
def test_reference_is_the_definition_on_hard_inputs(mechanism, kind):
    case = make_case(mechanism, 100, inputs=kind, dtype="fp16")
    inputs, output_gradient = drawn(case)
    assert_same(assembled(case, inputs, output_gradient), by_definition(case, inputs, output_gradient))


@pytest.mark.parametrize("decay", ["zero", "deep", "steep"])
def test_every_decay(decay):
    case = make_case("lightning", 150, decay=decay)
    inputs, output_gradient = drawn(case)
    assert_same(assembled(case, inputs, output_gradient), by_definition(case, inputs, output_gradient))


def test_grouped_heads():
    case = make_case("softmax", 70, heads=6, kv_heads=2)
    inputs, output_gradient = drawn(case)
    assert_same(assembled(case, inputs, output_gradient), by_definition(case, inputs, output_gradient))


@pytest.mark.parametrize("mechanism", RECURRENT)
@pytest.mark.parametrize(("most_blocks", "budget"), [(1, 1), (2, 1 << 30)])
def test_segments_and_batch_slices_change_nothing(mechanism, most_blocks, budget, monkeypatch):
    case = make_case(mechanism, 150, batch=3)
    inputs, output_gradient = drawn(case)
    whole = assembled(case, inputs, output_gradient)
    monkeypatch.setattr(segments, "MOST_BLOCKS", most_blocks)
    monkeypatch.setattr(segments, "CPU_BUDGET", budget)
    assert_same(assembled(case, inputs, output_gradient), whole)


@pytest.mark.parametrize("mechanism", RECURRENT)
def test_what_is_kept_of_a_segment_is_its_state_alone(mechanism, monkeypatch):
    monkeypatch.setattr(segments, "MOST_BLOCKS", 1)
    case = make_case(mechanism, 64 * 6)
    inputs, output_gradient = drawn(case)
    held = [
        held_bytes()
        for part in mechanisms.load(mechanism).reference(case, inputs, output_gradient)
        if part.name == "o"
    ]
    numbers = inputs.tensors["B"].shape[-1] if mechanism == "mamba1" else case.head_dim
    state_bytes = 8 * case.batch * case.heads * case.head_dim_v * numbers
    assert held[-1] - held[1] == (len(held) - 2) * state_bytes


def held_bytes() -> int:
    """Memory of all living tensors in float64, whole where a view of it lives."""
    gc.collect()
    living = (tensor for tensor in gc.get_objects() if issubclass(type(tensor), torch.Tensor))
    doubles = (tensor.untyped_storage() for tensor in living if tensor.dtype == torch.float64)
    return sum({storage.data_ptr(): storage.nbytes() for storage in doubles}.values())


@pytest.mark.parametrize("mechanism", NAMES)
def test_outputs_come_before_gradients(mechanism):
    case = make_case(mechanism, 130, batch=3)
    inputs, output_gradient = drawn(case)
    reference = mechanisms.load(mechanism).reference
    kinds = [part.name == "o" for part in reference(case, inputs, output_gradient)]
    assert kinds == sorted(kinds, reverse=True)
    assert {part.name for part in reference(case, inputs, None)} == {"o"}


@pytest.mark.parametrize("mechanism", RECURRENT)
def test_decoding_step_is_the_definition(mechanism):
    case = make_case(mechanism, 50, pass_name="decode")
    inputs = mechanisms.load(mechanism).make_inputs(case, "cpu")
    tensors = {name: tensor.double() for name, tensor in inputs.tensors.items()}
    constants = {name: tensor.double() for name, tensor in inputs.constants.items()}
    o, state = plain.step(mechanism, tensors, constants, tensors.pop("state"))
    assert_same(assembled(case, inputs, None), {"o": o, "state": state})


@pytest.mark.parametrize("seq_len", [1, 50])
def test_softmax_decoding_step_attends_to_cache_and_token(seq_len):
    case = make_case("softmax", seq_len, heads=6, kv_heads=2, pass_name="decode")
    inputs = mechanisms.load("softmax").make_inputs(case, "cpu")
    tensors = {name: tensor.double() for name, tensor in inputs.tensors.items()}
    assert tensors["k_cache"][:, -1].abs().max() == 0
    for name in ("k", "v"):
        tensors[name] = torch.cat([tensors[f"{name}_cache"][:, :-1], tensors[name]], 1)
    assert_same(assembled(case, inputs, None), {"o": plain.softmax(tensors)})


@pytest.mark.parametrize("seq_len", [500, 448])
def test_sampled_softmax_is_the_definition_where_it_covers(seq_len, monkeypatch):
    case = make_case("softmax", seq_len, heads=8, kv_heads=4, batch=3)
    inputs, output_gradient = drawn(case)
    monkeypatch.setitem(softmax_truth.FULL_SCORES, "cpu", 1)
    monkeypatch.setitem(softmax_truth.SWEPT_SCORES, "cpu", 8 * seq_len**2)
    given = assembled(case, inputs, output_gradient)
    again = assembled(case, inputs, output_gradient)
    expected = by_definition(case, inputs, output_gradient)
    assert softmax_truth.coverage(case) == "6 blocks of 64 tokens in 4 of 8 heads, 2 of 3 batch elements"
    for name, tensor in expected.items():
        covered = ~given[name].isnan()
        rms = tensor.square().mean().sqrt()
        assert covered[0, 0].any()
        assert covered[-1, -1].any()
        assert not covered.all()
        assert (given[name] - tensor)[covered].abs().max() < 1e-5 * rms, name
        assert torch.equal(given[name][covered], again[name][covered])
    other = assembled(case, inputs, output_gradient * 2)
    assert not torch.equal(other["dq"].nan_to_num(), given["dq"].nan_to_num())


@pytest.mark.parametrize("mechanism", NAMES)
def test_inputs_that_require_gradients_are_no_different(mechanism):
    case = make_case(mechanism, 20)
    inputs, output_gradient = drawn(case)
    expected = assembled(case, inputs, output_gradient)
    for name in mechanisms.load(mechanism).gradients:
        inputs.tensors[name].requires_grad_()
    assert not any(
        part.values.requires_grad for part in mechanisms.load(mechanism).reference(case, inputs, None)
    )
    assert_same(assembled(case, inputs, output_gradient), expected)
