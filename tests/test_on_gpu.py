"""What only a GPU can show: its ledger, its poison, the kernels that ran, its energy."""

from __future__ import annotations

import pytest
import torch

from lbench import backends, energy, workload
from lbench.attest import digest, kernels_of, what_ran
from lbench.backends.spec import Unsupported
from lbench.case import Case
from lbench.memory import take_ledger
from lbench.poison import poisoned
from lbench.worker import answer

pytestmark = pytest.mark.gpu
NAMED = [name for name in backends.names() if backends.load(name).kernels]


def case_of(name: str, pass_name: str, **fields) -> Case:
    given = {"heads": 4, "head_dim": 64, "seq_len": 1024, "dtype": "bf16", "device": "cuda"}
    return Case(
        backend=name, mechanism=backends.load(name).mechanism, pass_name=pass_name, **(given | fields)
    )


def test_a_ledger_adds_up_and_lies_within_the_card() -> None:
    work = workload.build(case_of("softmax_eager", "fwdbwd"), "cuda:0")
    work.call()
    result, ledger = take_ledger(work, "cuda:0")
    del result
    scores = 4 * 1024 * 1024 * 2
    assert ledger["saved"] >= scores, "the probabilities are kept"
    assert ledger["peak"] >= ledger["workspace"] + ledger["gradients"]
    assert ledger["peak"] + ledger["inputs"] <= ledger["reserved"] <= ledger["device"]
    assert 0 <= ledger["slack"] <= ledger["reserved"]
    assert ledger["device"] <= torch.cuda.get_device_properties(0).total_memory


@pytest.mark.parametrize("pass_name", ["fwd", "bwd", "fwdbwd"])
@pytest.mark.parametrize("name", ["softmax_eager", "lightning_triton"])
def test_the_verification_of_the_first_call_leaves_nothing_in_the_ledger(name: str, pass_name: str) -> None:
    case = case_of(name, pass_name)
    verified = answer({"do": "verify", "case": case.as_dict(), "device": "cuda:0"})["memory"]
    work = workload.build(case, "cuda:0")
    work.call()
    result, bare = take_ledger(work, "cuda:0")
    del result
    for part in ("inputs", "outputs", "gradients", "saved", "peak", "workspace"):
        assert verified[part] == pytest.approx(bare[part], abs=2**20), part
    # What is reserved beyond it is libraries' own (cuBLAS keeps 32 MiB), not the reference's tensors.
    assert verified["reserved"] <= bare["reserved"] + 2**25


@pytest.mark.parametrize("size", [100, 300_000, 3_000_000, 100_000_000])
def test_blocks_that_were_freed_come_back_as_nan(size: int) -> None:
    torch.zeros(size, device="cuda")
    with poisoned("cuda:0"):
        assert torch.empty(size, device="cuda").isnan().all()


def test_a_digest_works_in_place_beyond_2_to_the_31_elements() -> None:
    if torch.cuda.mem_get_info()[0] < 20 * 2**30:
        pytest.skip("needs 20 GiB")
    tensor = torch.zeros(2, 2**30 + 64, dtype=torch.bfloat16, device="cuda")
    before = digest({"o": tensor})
    tensor[1, -1] = 1
    assert digest({"o": tensor}) != before


def test_kernels_of_a_call_are_named_and_counted() -> None:
    a = torch.randn(512, 512, device="cuda")
    kernels = kernels_of(lambda: (a @ a).add_(1).add_(1), "cuda:0")
    assert sum(kernel["count"] for kernel in kernels) >= 3
    assert max(kernel["count"] for kernel in kernels) == 2


@pytest.mark.parametrize("name", NAMED)
def test_every_backend_runs_the_kernels_it_names(name: str) -> None:
    backend = backends.load(name)
    if package := backends.missing_package(backend):
        pytest.skip(f"{package} is not installed")
    for pass_name in backend.limits.passes:
        case = case_of(name, pass_name)
        if limit := backend.limits.unmet(case, torch.cuda.get_device_capability()):
            pytest.skip(limit)
        try:
            work = workload.build(case, "cuda:0")
        except (Unsupported, ImportError) as error:
            pytest.skip(str(error))
        work.call()
        kernels, reason = what_ran(work, "cuda:0")
        assert kernels
        assert reason == ""


def test_another_implementation_behind_a_backends_name_is_wrong(monkeypatch) -> None:
    monkeypatch.setattr("lbench.backends._sdpa._pin", _unpinned)
    case = case_of("sdpa_math", "fwd")
    outcome = answer({"do": "verify", "case": case.as_dict(), "device": "cuda:0"})
    assert outcome["verdict"] == "wrong"
    assert outcome["reason"].startswith("fallback: ")


def _unpinned(_: str):
    import contextlib

    return contextlib.nullcontext()


def test_energy_lies_between_idle_and_the_cards_limit() -> None:
    a = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
    if energy.counter_of("cuda:0") is None:
        pytest.skip("the card has no energy counter")
    found = energy.per_call(lambda: a @ a, "cuda:0", 3e-4)
    power_w = found["joules_per_call"] * found["calls"] / found["window_s"]
    assert 10 < found["idle_w"] < 400
    assert 20 < power_w < 1500
    assert found["window_s"] >= energy.WINDOW_S
