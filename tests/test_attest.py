"""What ran, and whether it runs the same twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lbench import backends, results, workload
from lbench.attest import call_again, digest, inputs_id, kernels_of, strangers, unexpected, what_ran
from lbench.backends.spec import Backend
from lbench.case import Case
from lbench.measurement import Process, attest_and_weigh

KEPT = Path(__file__).parent.parent / "results" / "headline-h100-2026-11-22"
FLASH = "void flash::flash_fwd_kernel<Flash_fwd_kernel_traits<128, 128, 64, 4, false>>(Flash_fwd_params)"
TORCHS_FLASH = "void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<128, 128>>()"
FILL = "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>(int)"


def ran(*names: str) -> list[dict[str, object]]:
    return [{"name": name, "count": 1} for name in names]


def test_the_named_kernel_may_run_among_others() -> None:
    assert unexpected(backends.load("flash_attn2"), ran(FILL, FLASH), "fwd") == ""
    assert unexpected(backends.load("sdpa_flash"), ran(TORCHS_FLASH), "fwd") == ""


def test_another_implementation_is_a_fallback_that_names_what_ran() -> None:
    reason = unexpected(backends.load("flash_attn2"), ran(TORCHS_FLASH, FILL), "fwd")
    assert reason.startswith("fallback: no kernel is named like '^void flash::flash_fwd_'; ran ")
    assert "pytorch_flash::flash_fwd_kernel" in reason
    assert unexpected(backends.load("sdpa_cudnn"), ran(TORCHS_FLASH), "fwd").startswith("fallback")


def test_a_fallback_is_told_only_if_a_second_look_confirms_it(monkeypatch) -> None:
    work = SimpleNamespace(
        backend=backends.load("flash_attn2"), case=Case(backend="flash_attn2", mechanism="softmax"), call=None
    )
    for seen, fallback in (
        ([ran(FILL), ran(FLASH)], False),
        ([ran(FILL), ran(FILL)], True),
        ([ran(FLASH)], False),
    ):
        looks = iter(seen)
        monkeypatch.setattr("lbench.attest.kernels_of", lambda *_, looks=looks: next(looks))
        kernels, reason = what_ran(work, "cuda")
        assert bool(reason) == fallback
        assert kernels == seen[-1]


def test_a_kernel_that_another_backend_names_is_told_and_helpers_are_not() -> None:
    ours = backends.load("flash_attn2")
    assert strangers(ours, ran(FLASH, FILL)) == ""
    assert strangers(ours, ran(FLASH, TORCHS_FLASH)).endswith("ran too, a kernel of sdpa_flash")
    assert strangers(backends.load("softmax_eager"), ran(TORCHS_FLASH)) == "", "it names no kernel of its own"


@pytest.mark.parametrize(("seen", "doubts"), [((FLASH,), 0), ((FLASH, TORCHS_FLASH), 1)])
def test_a_stranger_beside_the_named_kernel_is_a_doubt_of_the_row(seen: tuple[str, ...], doubts: int) -> None:
    case = Case(backend="flash_attn2", mechanism="softmax")
    work = SimpleNamespace(backend=backends.load("flash_attn2"), case=case)
    outcome: dict[str, Any] = {"verdict": "ok"}
    attest_and_weigh(work, "cuda", None, Process(), outcome, tuple(ran(*seen)))
    assert outcome["verdict"] == "ok"
    assert [doubt.partition(":")[0] for doubt in outcome.get("doubts", ())] == ["unexpected kernel"] * doubts


def test_both_halves_of_a_training_pass_are_looked_for() -> None:
    mamba = backends.load("mamba1_ssm")
    forward = ran("void selective_scan_fwd_kernel<Selective_Scan_fwd_kernel_traits<32>>(SSMParamsBase)")
    assert unexpected(mamba, forward, "fwd") == ""
    assert "selective_scan_bwd_kernel" in unexpected(mamba, forward, "fwdbwd")


def test_nothing_seen_or_nothing_named_says_nothing() -> None:
    silent = dataclasses.replace(backends.load("lightning_eager"), name="x")
    assert unexpected(backends.load("flash_attn2"), [], "fwd") == ""
    assert unexpected(silent, ran(FILL), "fwd") == ""


@pytest.mark.parametrize("name", backends.names())
def test_backends_name_kernels_for_their_passes_alone(name: str) -> None:
    backend: Backend = backends.load(name)
    assert set(backend.kernels) <= {"fwd", "bwd", "decode"}
    if "cuda" in backend.limits.devices and backend.packages and not name.endswith("_eager"):
        assert all(backend.expected_kernels(pass_name) for pass_name in backend.limits.passes), name


def test_a_cpu_has_no_gpu_kernels() -> None:
    assert kernels_of(lambda: torch.ones(1) + 1, "cpu") == ()


@given(st.integers(0, 10_000), st.sampled_from([torch.bfloat16, torch.float32, torch.float64]))
def test_one_bit_or_two_places_exchanged_change_the_digest(where: int, dtype: torch.dtype) -> None:
    tensor = torch.arange(10_001, dtype=torch.float32).add(1).to(dtype)
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    same, flipped, turned = tensor.clone(), tensor.clone(), tensor.clone()
    flipped.view(integer)[where] ^= 1
    turned[[where, 0]] = turned[[0, where]]
    assert digest({"o": same}) == digest({"o": tensor})
    assert digest({"o": flipped}) != digest({"o": tensor})
    assert (digest({"o": turned}) == digest({"o": tensor})) == torch.equal(turned, tensor)


def test_a_digest_in_pieces_is_that_of_the_content(monkeypatch) -> None:
    tensor = torch.randn(3, 400, 2, 5)
    whole = digest({"o": tensor})
    view = tensor.transpose(1, 2).contiguous().transpose(1, 2)
    assert digest({"o": view}) == whole
    monkeypatch.setattr("lbench.attest.PIECE", 999)
    assert digest({"o": view}) == digest({"o": tensor})


def test_nan_equals_itself() -> None:
    tensor = torch.tensor([1.0, torch.nan])
    assert digest({"o": tensor}) == digest({"o": tensor.clone()})


def test_backends_of_one_mechanism_get_the_same_inputs_and_seeds_others() -> None:
    fields = {"mechanism": "lightning", "heads": 2, "head_dim": 16, "seq_len": 64, "device": "cpu"}
    cases = [Case(backend=name, dtype="fp32", **fields) for name in ("lightning_eager", "lightning_eager")]
    cases += [dataclasses.replace(cases[0], **other) for other in ({"seed": 1}, {"decay": "zero"})]
    first, second, seeded, undecayed = (inputs_id(workload.build(case, "cpu")) for case in cases)
    assert first == second
    assert len({first, seeded, undecayed}) == 3


def test_results_that_differ_from_call_to_call_are_seen(cli, tmp_path) -> None:
    path = tmp_path / "noisy.py"
    path.write_text(
        "import torch\n"
        "def noisy(q, k, v):\n"
        "    o = torch.nn.functional.scaled_dot_product_attention(\n"
        "        *(x.transpose(1, 2) for x in (q, k, v)), is_causal=True).transpose(1, 2)\n"
        "    return o + 1e-8 * torch.randn_like(o)\n"
    )
    out = tmp_path / "out"
    code, text, _ = cli(
        *("verify", "--backend", f"{path}:noisy", "--mechanism", "softmax", "--seq", 64, "--heads", 1),
        *("--pass", "fwd", "--head-dim", 16, "--dtype", "fp32", "--device", "cpu"),
        *("--in-process", "--out", out),
    )
    assert code == 0, text
    assert "differs" in text


def test_a_second_call_is_measured_and_compared() -> None:
    case = Case(
        backend="lightning_eager", mechanism="lightning", heads=1, head_dim=16, seq_len=64, dtype="fp32",
        device="cpu", pass_name="fwdbwd",
    )  # fmt: skip
    work = workload.build(case, "cpu")
    first = digest(work.outputs(work.call()))
    again = call_again(work, first, "cpu")
    assert again.deterministic
    assert again.call_s > 0
    assert not call_again(work, {**first, "dq": "0" * 32}, "cpu").deterministic


def test_no_kept_row_ran_another_backends_kernel() -> None:
    for row in results.read(KEPT).rows.values():
        if row.verdict == "ok" and row.kernels:
            backend = backends.load(row.case.backend, row.case.mechanism)
            assert strangers(backend, row.kernels) == "", row.case.key
