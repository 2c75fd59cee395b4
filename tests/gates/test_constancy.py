"""`lbench check constancy`: laws of the fit, and verdicts on recorded H100 rows that nobody altered."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from excerpt import DIGESTS, EXCERPT, GATE, GATE_DIGESTS, digests
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import make_row

from lbench import results
from lbench.gates import constancy
from lbench.gates.fit import fit_bytes, fit_times
from lbench.gates.series import series_of
from lbench.gates.verdict import Finding
from lbench.limits import Limits
from lbench.results import Results, Row
from lbench.suite import load

Cli = Callable[..., tuple[int, str, str]]
LENGTHS = (1024, 4096, 16384, 65536)
TOKENS = LENGTHS[-1]
FAST = {"r1": {"copy_bandwidth_gb_s": 0.001}}
"""A bandwidth so low that every call is at its floor and fills the card."""


def sweep(alpha: float, noise: float = 0.001, seed: int = 0, **fields: object) -> list[Row]:
    """Rows at constant tokens whose time a token grows with that power of length."""
    generator = np.random.default_rng(seed)
    made = []
    for length in LENGTHS:
        row = make_row(batch=TOKENS // length, seq_len=length, memory_bytes=2**24)
        memory = {**row.memory, "inputs": 2**24}
        times = (length / 1024) ** alpha * np.exp(generator.normal(0, noise, 50))
        rounds = tuple(range(0, 50, 10))
        made.append(
            dataclasses.replace(row, times_ms=tuple(times), rounds=rounds, memory=memory, **fields)  # type: ignore[arg-type]
        )
    return made


def judged(rows: list[Row], **limits: float) -> Finding:
    (series,) = [one for one in series_of(rows) if one.held == "constant tokens"]
    return constancy.judge(series, FAST, Limits(**limits))


@given(alpha=st.floats(-1, 2), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_fit_finds_the_power_it_was_given(alpha: float, seed: int) -> None:
    fit = fit_times(sweep(alpha, seed=seed))
    assert fit is not None
    assert fit.alpha.value == pytest.approx(alpha, abs=0.001)
    assert fit.alpha.low <= fit.alpha.value <= fit.alpha.high
    assert fit.worst_over_best.value == pytest.approx(64 ** abs(alpha), rel=0.01)
    assert fit.samples == 200


def test_the_interval_of_alpha_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        fit = fit_times(sweep(0.01, noise=0.02, seed=seed))
        assert fit is not None
        held += fit.alpha.low <= 0.01 <= fit.alpha.high
    assert held >= 182  # 190 expected of 95 %; fewer than 182 have a chance of 1 %


def test_drift_between_rounds_widens_the_interval() -> None:
    still = sweep(0.0)
    drift = np.repeat([0.97, 1.03, 0.99, 1.02, 0.98], 10)
    drifting = [dataclasses.replace(row, times_ms=tuple(np.array(row.times_ms) * drift)) for row in still]
    one, other = fit_times(still), fit_times(drifting)
    assert one is not None
    assert other is not None
    assert other.alpha.high - other.alpha.low > 5 * (one.alpha.high - one.alpha.low)


def test_scaling_all_times_changes_nothing() -> None:
    rows = sweep(0.01, noise=0.01)
    scaled = [dataclasses.replace(row, times_ms=tuple(8 * time for time in row.times_ms)) for row in rows]
    one, other = fit_times(rows), fit_times(scaled)
    assert one is not None
    assert other is not None
    assert str(one.alpha) == str(other.alpha)
    assert str(one.worst_over_best) == str(other.worst_over_best)


def test_flat_passes_growing_fails_and_noise_is_undecided_with_a_number_of_samples() -> None:
    assert judged(sweep(0.0)).outcome == "pass"
    assert judged(sweep(0.05)).outcome == "fail"
    assert judged(sweep(-0.05)).outcome == "fail"
    noisy = judged(sweep(0.01, noise=0.1))
    assert noisy.outcome == "undecided"
    assert "more samples decide it" in noisy.reason


def test_one_slow_length_in_the_middle_fails_by_worst_over_best_alone() -> None:
    rows = sweep(0.0)
    middle = dataclasses.replace(rows[1], times_ms=tuple(1.15 * time for time in rows[1].times_ms))
    found = judged([rows[0], middle, *rows[2:]])
    assert found.outcome == "fail"
    assert "worst over best" in found.reason
    assert "alpha" not in found.reason


def test_flat_because_slow_fails() -> None:
    (series,) = [one for one in series_of(sweep(0.0)) if one.held == "constant tokens"]
    floor_ms = constancy.judge(series, FAST, Limits()).figures["floor_share"]
    share = min(floor_ms.values())
    slow = {"r1": {"copy_bandwidth_gb_s": 0.001 * share / 0.4}}
    found = constancy.judge(series, slow, Limits(fills_ms=0.1))
    assert found.outcome == "fail"
    assert "floor share 0.4" in found.reason
    assert constancy.judge(series, slow, Limits(fills_ms=0.1, floor_share=0.3)).outcome == "pass"
    assert constancy.judge(series, slow, Limits()).outcome == "undecided"  # too small a call to say so


def test_without_a_bandwidth_it_is_undecided() -> None:
    (series,) = [one for one in series_of(sweep(0.0)) if one.held == "constant tokens"]
    assert constancy.judge(series, {}, Limits()).outcome == "undecided"


def test_memory_that_grows_fails_though_time_is_flat() -> None:
    rows = [
        dataclasses.replace(row, memory={**row.memory, "peak": row.case.seq_len * 2**12})
        for row in sweep(0.0)
    ]
    fit = fit_bytes(rows)
    assert fit is not None
    assert fit.worst_over_best.value > 1.1
    found = judged(rows)
    assert found.outcome == "fail"
    assert found.reason.startswith("memory")


@pytest.mark.parametrize("verdict", ["out_of_memory", "wrong", "crashed", "timeout", "failed"])
def test_a_length_that_broke_fails(verdict: str) -> None:
    rows = sweep(0.0)
    rows[2] = make_row(verdict, batch=rows[2].case.batch, seq_len=rows[2].case.seq_len)
    assert f"16k is {verdict}" in judged(rows).reason


def test_two_lengths_can_fail_and_not_pass() -> None:
    assert judged(sweep(0.0)[:2]).outcome == "undecided"
    assert judged(sweep(0.3)[:2]).outcome == "fail"


def test_at_batch_1_lengths_count_from_the_one_that_fills_the_card() -> None:
    rows = [make_row(seq_len=length, time_ms=length / 1024 + 3, batch=1) for length in LENGTHS]
    (series,) = series_of(rows)
    floor_ms = {length: length / 1024 for length in LENGTHS}
    bandwidth = rows_floor_bytes(rows[0]) / 1e9 / 1e-3  # 1 ms at 1k
    runs = {"r1": {"copy_bandwidth_gb_s": bandwidth}}
    found = constancy.judge(series, runs, Limits(fills_ms=floor_ms[4096]))
    assert found.figures["lengths"] == [4096, 16384, 65536]


def test_an_empty_card_excuses_what_falls_and_not_what_grows(recorded: Results) -> None:
    for backend, outcome in (("flash_attn2", "fail"), ("lightning_triton", "undecided")):
        short = [
            row
            for row in recorded.rows.values()
            if row.case.backend == backend and row.case.batch == 1 and row.case.seq_len <= 16384
        ]
        found = constancy.check(recorded, short).findings
        assert {one.outcome for one in found} == {outcome}
        assert all(("grows to" in one.reason) == (outcome == "fail") for one in found)


def rows_floor_bytes(row: Row) -> int:
    from lbench import mechanisms

    return mechanisms.load(row.case.mechanism).floor_bytes(row.case)


def test_decoding_is_judged_over_contexts_of_one_batch() -> None:
    rows = [make_row(seq_len=length, pass_name="decode", batch=64) for length in LENGTHS]
    (series,) = series_of(rows)
    assert series.held == "context"
    assert constancy.judge(series, {"r1": {"copy_bandwidth_gb_s": 3000.0}}, Limits()).outcome == "pass"
    growing = [
        make_row(seq_len=length, pass_name="decode", batch=64, time_ms=length / 1024) for length in LENGTHS
    ]
    assert constancy.judge(series_of(growing)[0], FAST, Limits()).outcome == "fail"


# Recorded H100 rows.


@pytest.fixture(scope="module")
def recorded() -> Results:
    assert digests(EXCERPT) == DIGESTS.read_text(), "the recorded rows were altered"
    return results.read(EXCERPT)


def found_for(recorded: Results, backend: str) -> dict[str, Finding]:
    rows = [row for row in recorded.rows.values() if row.case.backend == backend]
    return {one.subject: one for one in constancy.check(recorded, rows).findings}


def test_our_kernels_pass_at_constant_tokens(recorded: Results) -> None:
    found = found_for(recorded, "lightning_triton")
    at_tokens = [one for name, one in found.items() if "262,144 tokens" in name]
    assert [one.outcome for one in at_tokens] == ["pass", "pass"]
    assert max(one.figures["time"]["worst_over_best"]["high"] for one in at_tokens) < 1.07


def test_our_kernels_are_undecided_at_batch_1_where_too_few_recorded_lengths_fill_the_card(
    recorded: Results,
) -> None:
    found = found_for(recorded, "lightning_triton")
    at_batch = [one for name, one in found.items() if "batch 1" in name]
    assert [one.outcome for one in at_batch] == ["undecided", "undecided"]
    assert "lengths that count: 256k" in at_batch[0].reason
    assert "lengths that count: 128k, 256k" in at_batch[1].reason


def test_the_authors_kernel_fails_at_constant_tokens(recorded: Results) -> None:
    found = found_for(recorded, "lightning_authors")
    for name, one in found.items():
        if "262,144 tokens" in name:
            assert one.outcome == "fail"
            assert one.figures["time"]["worst_over_best"]["low"] > 1.5
            assert one.figures["time"]["alpha"]["low"] > 0.02


@pytest.mark.parametrize("backend", ["flash_attn2", "flash_attn3", "softmax_eager"])
def test_softmax_fails_anywhere(recorded: Results, backend: str) -> None:
    found = found_for(recorded, backend)
    assert {one.outcome for one in found.values()} == {"fail"}
    assert len(found) == (2 if backend == "flash_attn3" else 4)  # FlashAttention-3 has no gradients here


def test_exit_codes(cli: Cli) -> None:
    check = ("check", "constancy", EXCERPT, "--backend")
    assert cli(*check, "lightning_triton")[0] == 3
    assert cli(*check, "lightning_authors", "--pass", "fwd")[0] == 1
    assert cli(*check, "nobody")[0] == 2
    assert cli(*check, "lightning_triton", "--pass", "forward")[0] == 2
    assert cli(*check, "lightning_triton", "--worst-over-best", "0.5")[0] == 2


def test_the_gates_own_suite_passes_whole_on_our_kernels(cli: Cli) -> None:
    assert digests(GATE) == GATE_DIGESTS.read_text(), "the recorded rows were altered"
    code, out, err = cli("check", "constancy", GATE, "--json")
    assert (code, err) == (0, "")
    found = {one["subject"].partition(" ")[2]: one for one in json.loads(out)["findings"]}
    assert {one["state"] for one in found.values()} == {"pass"}
    assert {subject.partition(", h16")[0] for subject in found} == {
        *(f"{name}, {held}" for name in ("fwd", "fwdbwd") for held in ("262,144 tokens", "batch 1")),
        "decode, batch 64",
    }


def test_a_folder_at_constant_tokens_alone_passes_with_exit_code_0(
    cli: Cli, recorded: Results, tmp_path: Path
) -> None:
    from lbench import folders

    def ours(row: Row) -> bool:
        return row.case.backend == "lightning_triton" and row.case.tokens == 262144

    folders.cut(EXCERPT, tmp_path / "ours", ours)
    code, out, err = cli("check", "constancy", tmp_path / "ours", "--json")
    # The longest of them is a sequence alone; one length is no sweep at batch 1.
    assert (code, err) == (0, "")
    assert [one["state"] for one in json.loads(out)["findings"]] == ["pass", "pass"]


def test_limits_come_from_the_suite_and_options_stand_over_them(cli: Cli, tmp_path: Path) -> None:
    writer = results.Writer(tmp_path / "run")
    run = {"copy_bandwidth_gb_s": 0.001, "suite": {"constancy": {"alpha": 0.2, "worst_over_best": 2.0}}}
    writer.document("runs", "r1", run)
    for row in sweep(0.1):
        writer.append(row)
    writer.close()
    check = ("check", "constancy", tmp_path / "run")
    assert cli(*check)[0] == 0
    assert cli(*check, "--alpha", "0.05")[0] == 1


def test_a_suite_names_its_limits_and_a_typo_is_refused(tmp_path: Path) -> None:
    from lbench.errors import UsageError

    suite = tmp_path / "mine.toml"
    suite.write_text('[constancy]\nalpha = 0.05\n[[sweep]]\nbackend = "lightning_eager"\n')
    assert load(str(suite)).as_dict()["constancy"] == {"alpha": 0.05}
    suite.write_text('[constancy]\nalhpa = 0.05\n[[sweep]]\nbackend = "lightning_eager"\n')
    with pytest.raises(UsageError, match="did you mean alpha"):
        load(str(suite))
