"""What every mechanism file declares: inputs of the right shape and size, and costs."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import pytest
import torch

from lbench import mechanisms
from lbench.case import Case
from lbench.mechanisms import draws
from lbench.mechanisms.lightning import alibi_slopes, slopes_of
from lbench.mechanisms.retention import slopes_of as retention_slopes
from lbench.mechanisms.spec import shape

NAMES = (
    "deltanet",
    "gated_deltanet",
    "gla",
    "lightning",
    "linear",
    "mamba1",
    "mamba2",
    "retention",
    "softmax",
)


def make_case(mechanism: str, **fields) -> Case:
    given = {"seq_len": 64, "heads": 4, "head_dim": 16, "head_dim_v": 8, "device": "cpu", "dtype": "bf16"}
    return Case(backend="x", mechanism=mechanism, **(given | fields))


def test_all_are_listed_without_torch():
    code = (
        "import sys; from lbench import mechanisms, backends; print(*mechanisms.names());"
        "[mechanisms.load(n) for n in mechanisms.names()];"
        "[backends.load(n + '_eager') for n in mechanisms.names()]; assert 'torch' not in sys.modules"
    )
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert tuple(listed.split()) == NAMES == tuple(mechanisms.names())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pass_name", ["fwd", "decode"])
def test_inputs_have_the_declared_shapes_and_come_from_the_seed(name, pass_name):
    mechanism, case = mechanisms.load(name), make_case(name, pass_name=pass_name)
    inputs, again = mechanism.make_inputs(case, "cpu"), mechanism.make_inputs(case, "cpu")
    other = mechanism.make_inputs(dataclasses.replace(case, seed=1), "cpu")
    dims = mechanism.decode_tensors if pass_name == "decode" else mechanism.tensors
    assert list(inputs.tensors) == list(dims)
    assert set(inputs.constants) == set(mechanism.constants)
    for tensor_name, tensor in inputs.tensors.items():
        assert tuple(tensor.shape) == shape(dims[tensor_name], case)
        assert tensor.isfinite().all()
        assert tensor.is_contiguous()
        assert not tensor.requires_grad
        assert torch.equal(tensor, again.tensors[tensor_name])
        assert not torch.equal(tensor, other.tensors[tensor_name])
    for constant, tensor in inputs.constants.items():
        assert tuple(tensor.shape) == shape(mechanism.constants[constant], case)
        assert tensor.dtype == torch.float32
    assert set(mechanism.gradients) <= set(mechanism.tensors)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["model", "outlier", "mean"])
def test_answers_stay_within_fp16_without_decay(name, kind):
    """Model-like sums walk randomly: a short one needs room for 1,048,576; hard ones shrink with length."""
    case = make_case(name, seq_len=4096, heads=1, inputs=kind, decay="zero", dtype="fp16")
    if name == "softmax":
        case = dataclasses.replace(case, seq_len=1024)
    room = math.sqrt(2**20 / case.seq_len) if kind == "model" else 1.3
    mechanism = mechanisms.load(name)
    gradient = draws.output_gradient(case, shape("bthe", case), "cpu", torch.float16)
    for part in mechanism.reference(case, mechanism.make_inputs(case, "cpu"), gradient):
        assert part.values.abs().max() * room < 65504, part.name


@pytest.mark.parametrize("name", NAMES)
def test_hard_inputs_are_hard(name):
    value = {"mamba1": "x", "mamba2": "x"}.get(name, "v")
    key = {"mamba1": "B", "mamba2": "B"}.get(name, "k")
    outlier = mechanisms.load(name).make_inputs(make_case(name, inputs="outlier"), "cpu").tensors[value]
    sizes = outlier.float().square().mean((0, 2, 3)).sqrt()
    assert sizes.argmax() < 16
    assert sizes.max() > 3000 * sizes.median()
    tensors = mechanisms.load(name).make_inputs(make_case(name, inputs="mean"), "cpu").tensors
    for tensor in (tensors[key].float(), tensors[value].float()):
        assert tensor.mean() > 3 * tensor.std(1).mean()


def test_decays():
    assert alibi_slopes(8) == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(12) == alibi_slopes(8) + [2 ** (-8 * (2 * i + 1) / 16) for i in range(4)]
    assert slopes_of("zero", 3) == [0, 0, 0]
    assert slopes_of("deep", 8)[0] == pytest.approx(0.5e-5)
    assert slopes_of("steep", 8)[0] == 4
    assert [math.exp(-slope) for slope in retention_slopes(2)] == pytest.approx([1 - 1 / 32, 1 - 1 / 64])


@pytest.mark.parametrize(("pass_name", "tensors"), [("fwd", 4), ("bwd", 7), ("fwdbwd", 11)])
def test_floor_of_lightning(pass_name, tensors):
    case = make_case("lightning", seq_len=131072, heads=16, head_dim=128, head_dim_v=128, pass_name=pass_name)
    assert mechanisms.load("lightning").floor_bytes(case) == tensors * 131072 * 16 * 128 * 2


def test_floor_of_a_decoding_step():
    case = make_case("lightning", pass_name="decode", head_dim=128, head_dim_v=128, batch=3)
    assert mechanisms.load("lightning").floor_bytes(case) == 3 * 4 * (2 * 128 * 128 * 4 + 4 * 128 * 2)
    case = make_case("softmax", pass_name="decode", seq_len=1000, head_dim_v=16, kv_heads=2)
    cache, token = 2 * 1000 * 2 * 16 * 2, 2 * 2 * 16 * 2
    assert mechanisms.load("softmax").floor_bytes(case) == cache + 2 * token + 2 * 4 * 16 * 2


def test_floors_of_state_space_models():
    case = make_case("mamba1")
    x, b, a = 64 * 32 * 2, 64 * 16 * 2, 32 * 16 * 4
    assert mechanisms.load("mamba1").floor_bytes(case) == 2 * x + 2 * b + a + x
    case = make_case("mamba2", pass_name="fwdbwd")
    x, dt, a, b = 64 * 4 * 8 * 2, 64 * 4 * 4, 4 * 4, 64 * 16 * 2
    assert mechanisms.load("mamba2").floor_bytes(case) == 2 * (2 * x + dt + a + 2 * b) + (x + dt + a + 2 * b)


@pytest.mark.parametrize("name", NAMES)
def test_flops_of_the_passes_add_up(name):
    flops = mechanisms.load(name).useful_flops
    forward, backward, both = (flops(make_case(name, pass_name=p)) for p in ("fwd", "bwd", "fwdbwd"))
    assert forward + backward == both
    assert backward == forward * (2.5 if name == "softmax" else 2)


def test_flops_by_hand():
    flops = {name: mechanisms.load(name).useful_flops for name in NAMES}
    assert flops["lightning"](make_case("lightning")) == 64 * 4 * 4 * 16 * 8
    assert flops["softmax"](make_case("softmax")) == 4 * 2 * 64 * 64 / 2 * (16 + 8)
    assert flops["softmax"](make_case("softmax", pass_name="decode")) == 4 * 65 * 2 * (16 + 8)
