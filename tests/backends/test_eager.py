"""The eager forms are right in every dtype, on every kind of inputs and decay, and at odd lengths."""

from __future__ import annotations

import importlib

import pytest
import torch

from lbench import backends, mechanisms, verify
from lbench.case import Case
from lbench.mechanisms import draws
from lbench.mechanisms.spec import shape

NAMES = (
    "softmax",
    "lightning",
    "linear",
    "retention",
    "gla",
    "deltanet",
    "gated_deltanet",
    "mamba1",
    "mamba2",
)
STRICT = {"bf16": 2e-2, "fp16": 2.5e-3, "fp32": 2e-5}
"""Most relative RMS error of a sound form in each dtype, whatever verify allows it."""


def errors(mechanism: str, seq_len: int, **fields):
    given = {"batch": 2, "heads": 2, "head_dim": 16, "head_dim_v": 24, "device": "cpu", "pass_name": "fwdbwd"}
    case = Case(backend=f"{mechanism}_eager", mechanism=mechanism, seq_len=seq_len, **(given | fields))
    assert backends.load(case.backend).limits.unmet(case) is None
    loaded = mechanisms.load(mechanism)
    inputs = loaded.make_inputs(case, "cpu")
    gradient = None
    if case.pass_name == "fwdbwd":
        gradient = draws.output_gradient(case, shape("bthe", case), "cpu", draws.dtype_of(case))
    outputs = verify.eager_outputs(case, inputs, gradient, loaded)
    for name, tensor in outputs.items():
        wide = tensor.dtype == torch.float32
        assert tensor.dtype == draws.dtype_of(case) or (wide and name in ("state", "dA", "ddt", "dg")), name
    verification = verify.verify(case, inputs, outputs, gradient)
    assert verification.verdict == "ok", verification.reason
    return {name: error.rms for name, error in verification.errors.items()}


@pytest.mark.parametrize("mechanism", NAMES)
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kind", ["model", "outlier", "mean"])
def test_every_dtype_and_kind_of_inputs(mechanism, dtype, kind):
    found = errors(mechanism, 150, dtype=dtype, inputs=kind)
    # Where keys and values share a mean, a delta rule's gradient of beta is a difference of large terms.
    allowed = STRICT[dtype] * (2 if "deltanet" in mechanism and kind == "mean" else 1)
    assert max(found.values()) < allowed, found


@pytest.mark.parametrize("decay", ["zero", "deep", "steep"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kind", ["model", "outlier", "mean"])
def test_every_decay(decay, dtype, kind):
    found = errors("lightning", 200, dtype=dtype, decay=decay, inputs=kind, heads=3)
    assert max(found.values()) < STRICT[dtype], found


@pytest.mark.parametrize("mechanism", NAMES)
@pytest.mark.parametrize("seq_len", [1, 63, 100, 1000])
def test_odd_lengths(mechanism, seq_len):
    assert max(errors(mechanism, seq_len, dtype="fp32").values()) < STRICT["fp32"]


@pytest.mark.parametrize("mechanism", NAMES)
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_decoding_step(mechanism, dtype):
    assert max(errors(mechanism, 30, dtype=dtype, pass_name="decode").values()) < STRICT[dtype]


def test_grouped_heads():
    assert max(errors("softmax", 100, dtype="fp32", heads=6, kv_heads=2).values()) < STRICT["fp32"]
    found = errors("softmax", 100, dtype="fp32", heads=6, kv_heads=2, pass_name="decode")
    assert found["o"] < STRICT["fp32"]


def test_softmax_decoding_writes_the_token_into_the_cache():
    case = Case(
        backend="softmax_eager", mechanism="softmax", pass_name="decode", seq_len=9, heads=2, head_dim=4,
        device="cpu", dtype="fp32",
    )  # fmt: skip
    inputs = mechanisms.load("softmax").make_inputs(case, "cpu")
    backends.load("softmax_eager").build(case, {})(**inputs.tensors)
    for name in ("k", "v"):
        assert torch.equal(inputs.tensors[f"{name}_cache"][:, -1:], inputs.tensors[name])


@pytest.mark.parametrize("mechanism", NAMES)
def test_batch_slots_do_not_matter(mechanism):
    """Swapping two sequences swaps their outputs and changes nothing else."""
    case = Case(
        backend=f"{mechanism}_eager", mechanism=mechanism, seq_len=70, batch=2, heads=2, head_dim=8,
        device="cpu", dtype="fp32",
    )  # fmt: skip
    loaded = mechanisms.load(mechanism)
    inputs = loaded.make_inputs(case, "cpu")
    forward = backends.load(case.backend).build(case, inputs.constants)
    swapped = {
        name: tensor.flip(0) if loaded.tensors[name].startswith("b") else tensor
        for name, tensor in inputs.tensors.items()
    }
    torch.testing.assert_close(forward(**swapped).flip(0), forward(**inputs.tensors), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mechanism", ["lightning", "gla", "gated_deltanet", "mamba1", "mamba2"])
def test_segments_change_nothing(mechanism, monkeypatch):
    """One block a segment gives what one segment gives."""
    file = "_delta" if "deltanet" in mechanism else f"{mechanism}_eager"
    module = importlib.import_module(f"lbench.backends.{file}")
    sizes = module.STATE_NUMBERS if mechanism == "mamba1" else module.SEGMENT_ELEMENTS
    case = Case(
        backend=f"{mechanism}_eager", mechanism=mechanism, seq_len=300, batch=2, heads=2, head_dim=8,
        device="cpu", dtype="fp32",
    )  # fmt: skip
    loaded = mechanisms.load(mechanism)
    inputs = loaded.make_inputs(case, "cpu")
    gradient = draws.output_gradient(case, shape("bthe", case), "cpu", torch.float32)
    whole = verify.eager_outputs(case, inputs, gradient, loaded)
    monkeypatch.setitem(sizes, "cpu", 1)
    torch.testing.assert_close(
        verify.eager_outputs(case, inputs, gradient, loaded), whole, rtol=1e-4, atol=1e-5
    )
