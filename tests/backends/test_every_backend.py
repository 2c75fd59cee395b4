"""Every discovered backend, built, called and verified as a sweep would: a new file is tested at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lbench import backends
from lbench.case import DECAYS, INPUTS, Case
from lbench.timing import Stopping
from lbench.worker import measure_case

BRIEF = Stopping(budget_s=0.0, least=2, slow_least=2, warm_up_s=0.0)
OURS = [name for name in backends.names() if name.endswith(("_eager", "_triton", "_plain"))]
DECAYED = [name for name in OURS if name.startswith("lightning")]
PASSES = ("fwd", "bwd", "fwdbwd", "decode")


def outcome_of(name: str, device: str, **fields: Any) -> dict[str, Any]:
    backend = backends.load(name)
    sizes = {"heads": 2, "head_dim": 16, "dtype": "fp32", "seq_len": 100}
    if device == "cuda":
        # The dims of the headline sweep: peers that autotune do so once.
        sizes = {"heads": 16, "head_dim": 128, "dtype": "bf16", "seq_len": 1000}
    case = Case(backend=name, mechanism=backend.mechanism, device=device, **{**sizes, **fields})
    capability = torch.cuda.get_device_capability() if device == "cuda" else None
    if limit := backend.limits.unmet(case, capability):
        pytest.skip(limit)
    if package := backends.missing_package(backend):
        pytest.skip(f"{package} is not installed")
    outcome = measure_case(case, f"{device}:0" if device == "cuda" else device, BRIEF)
    if outcome["verdict"] in ("unsupported", "unavailable"):
        pytest.skip(outcome["reason"])
    return outcome


def assert_right(outcome: dict[str, Any]) -> None:
    assert outcome["verdict"] == "ok", outcome["reason"]
    assert outcome["times_ms"]
    assert outcome["memory"]["peak"] > 0


@pytest.mark.parametrize("pass_name", PASSES)
@pytest.mark.parametrize("name", backends.names())
def test_on_the_cpu(name: str, pass_name: str) -> None:
    assert_right(outcome_of(name, "cpu", pass_name=pass_name))


@pytest.mark.gpu
@pytest.mark.parametrize("name", backends.names())
def test_on_the_gpu(name: str) -> None:
    verdicts = {
        pass_name: outcome_of(name, "cuda", pass_name=pass_name)
        for pass_name in backends.load(name).limits.passes
    }
    for outcome in verdicts.values():
        assert_right(outcome)


@pytest.mark.gpu
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("name", OURS)
def test_ours_on_hard_inputs(name: str, dtype: str, inputs: str) -> None:
    assert_right(outcome_of(name, "cuda", pass_name="fwdbwd", dtype=dtype, inputs=inputs))


@pytest.mark.gpu
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("name", DECAYED)
def test_ours_with_every_decay(name: str, decay: str) -> None:
    assert_right(outcome_of(name, "cuda", pass_name="fwdbwd", decay=decay))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["softmax_eager", "sdpa_flash", "flash_attn2", "flex_attention"])
def test_grouped_heads(name: str) -> None:
    assert_right(outcome_of(name, "cuda", pass_name="fwdbwd", kv_heads=4))
