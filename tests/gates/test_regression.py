"""`lbench check regression` and `lbench compare`: verdicts, guards, and false alarms over whole tables."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rows import make_row

from lbench import results
from lbench.errors import UsageError
from lbench.gates import regression
from lbench.gates.moderation import NOTHING, digamma, prior_of, trigamma
from lbench.gates.regression import FALSE_ALARMS, SPENT, difference, pooled
from lbench.gates.verdict import Report

Cli = Callable[..., tuple[int, str, str]]
H100 = {"device": "cuda", "gpu": "H100", "driver": "580.1", "torch": "2.11"}
LENGTHS = (1024, 2048, 4096, 8192)


def keep(
    place: Path,
    run: str,
    times_ms: Sequence[float],
    environment: dict[str, Any] | None = None,
    suite: dict[str, Any] | None = None,
    verdicts: Sequence[str] = (),
    bandwidth: float = 3000.0,
    started_at: str = "2026-01-01T00:00:00Z",
) -> Path:
    """A result folder of one process: one case a time."""
    writer = results.Writer(place)
    environment = environment or H100
    name = results.content_id(environment)
    document = {"environment": name, "suite": suite or {}, "copy_bandwidth_gb_s": bandwidth}
    writer.document("runs", run, document)
    writer.document("environments", name, environment)
    for length, time_ms, verdict in zip(LENGTHS, times_ms, [*verdicts, *["ok"] * 4], strict=False):
        row = make_row(verdict, time_ms=time_ms, seq_len=length, device="cuda")
        times = tuple(time_ms * (1 + 0.0002 * index) for index in range(-5, 6)) if verdict == "ok" else ()
        row = dataclasses.replace(row, run=run, times_ms=times, started_at=started_at)
        writer.append(row)
    writer.close()
    return place


def jitter(run: int, scale: float = 1.0, sd: float = 0.003) -> list[float]:
    source = random.Random(run)
    return [scale * 2**number * math.exp(source.gauss(0, sd)) for number in range(4)]


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    for number in range(6):
        started = f"2026-01-0{1 + number // 2}T0{number}:00:00Z"
        keep(tmp_path / "baseline" / str(number), f"b{number}", jitter(number), started_at=started)
    return tmp_path / "baseline"


def check(new: Path, old: Path, **options: Any) -> Report:
    return regression.check(regression.read(new), regression.read(old), **options)


def states(report: Report) -> list[str]:
    return [finding.state for finding in report.findings]


def test_a_clean_run_is_the_same(baseline: Path, tmp_path: Path) -> None:
    report = check(keep(tmp_path / "new", "n", jitter(100)), baseline)
    assert states(report) == ["same"] * 4
    assert report.exit_code == 0
    assert not report.notes


@pytest.mark.parametrize(("share", "state"), [(0.10, "slower"), (-0.10, "faster")])
def test_a_case_that_moved_is_found_and_the_others_are_not(
    baseline: Path, tmp_path: Path, share: float, state: str
) -> None:
    times = jitter(100)
    times[2] *= 1 + share
    report = check(keep(tmp_path / "new", "n", times), baseline)
    assert states(report) == ["same", "same", state, "same"]
    assert report.exit_code == (1 if share > 0 else 0)
    figures = report.findings[2].figures
    assert figures["low"] < 1 + share < figures["high"]
    assert figures["could_see"] < 0.1


def test_a_change_that_cannot_be_seen_is_undecided(baseline: Path, tmp_path: Path) -> None:
    for number in range(6):
        keep(tmp_path / "noisy" / str(number), f"b{number}", jitter(number, sd=0.05))
    report = check(keep(tmp_path / "new", "n", jitter(100, 1.04)), tmp_path / "noisy")
    assert "undecided" in states(report)
    assert report.exit_code == 3
    assert min(one.figures["could_see"] for one in report.findings) > 0.05


def test_fewer_than_five_processes_are_undecided(tmp_path: Path) -> None:
    for number in range(4):
        keep(tmp_path / "few" / str(number), f"b{number}", jitter(number))
    report = check(keep(tmp_path / "new", "n", jitter(100)), tmp_path / "few")
    assert states(report) == ["undecided"] * 4
    assert "4 of 5 processes" in report.findings[0].reason


def test_a_process_that_was_copied_counts_once(baseline: Path, tmp_path: Path) -> None:
    for number in range(5):
        keep(tmp_path / "copies" / str(number), "the same", jitter(0))
    report = check(keep(tmp_path / "new", "n", jitter(100)), tmp_path / "copies")
    assert "1 of 5 processes" in report.findings[0].reason


def test_processes_may_lie_in_one_merged_folder(baseline: Path, tmp_path: Path) -> None:
    from lbench import folders

    folders.merge(sorted(baseline.iterdir()), tmp_path / "merged")
    new = keep(tmp_path / "new", "n", jitter(100))
    assert check(new, tmp_path / "merged").findings == check(new, baseline).findings


@pytest.mark.parametrize("verdict", ["wrong", "out_of_memory", "crashed"])
def test_a_case_that_broke_fails(baseline: Path, tmp_path: Path, verdict: str) -> None:
    report = check(keep(tmp_path / "new", "n", jitter(100), verdicts=["ok", verdict]), baseline)
    assert "broken" in states(report)
    assert report.exit_code == 1


def test_a_case_that_could_not_be_measured_is_not_passed_over(baseline: Path, tmp_path: Path) -> None:
    report = check(keep(tmp_path / "new", "n", jitter(100), verdicts=["unavailable"]), baseline)
    assert report.exit_code == 3


def test_new_and_missing_cases_are_told_and_do_not_fail(baseline: Path, tmp_path: Path) -> None:
    new = keep(tmp_path / "new", "n", jitter(100)[:3])
    writer = results.Writer(new)
    writer.append(make_row(seq_len=512, device="cuda"))
    writer.close()
    report = check(new, baseline)
    assert sorted(states(report)) == ["missing", "new", "same", "same", "same"]
    assert report.exit_code == 0


@pytest.mark.parametrize(
    ("environment", "suite", "said"),
    [
        ({**H100, "gpu": "H200"}, {}, "gpu: H100 / H200"),
        ({**H100, "driver": "590.0"}, {}, "driver: 580.1 / 590.0"),
        (H100, {"l2": "warm"}, "l2: None / warm"),
    ],
)
def test_another_gpu_driver_or_protocol_is_refused_with_the_reason(
    baseline: Path, tmp_path: Path, environment: dict[str, Any], suite: dict[str, Any], said: str
) -> None:
    new = keep(tmp_path / "new", "n", jitter(100), environment, suite)
    with pytest.raises(UsageError, match=said):
        check(new, baseline)
    if suite:  # floor shares of another protocol say nothing either
        with pytest.raises(UsageError, match=said):
            check(new, baseline, across_machines=True)


def test_across_machines_compares_floor_shares(baseline: Path, tmp_path: Path) -> None:
    h200 = {**H100, "gpu": "H200"}
    faster_card = keep(tmp_path / "new", "n", jitter(100, 0.625), h200, bandwidth=4800.0)
    report = check(faster_card, baseline, across_machines=True)
    assert states(report) == ["same"] * 4
    same_time = keep(tmp_path / "same", "n", jitter(100), h200, bandwidth=4800.0)
    assert states(check(same_time, baseline, across_machines=True)) == ["slower"] * 4


def test_another_torch_is_told_and_compared(baseline: Path, tmp_path: Path) -> None:
    report = check(keep(tmp_path / "new", "n", jitter(100), {**H100, "torch": "2.12"}), baseline)
    assert report.notes == ("torch differs: 2.11 / 2.12",)


def test_a_baseline_of_one_session_is_told(tmp_path: Path) -> None:
    for number in range(5):
        keep(tmp_path / "b" / str(number), f"b{number}", jitter(number))
    report = check(keep(tmp_path / "new", "n", jitter(100)), tmp_path / "b")
    assert "within an hour" in report.notes[0]


def clean_table_fails(source: random.Random, cases: int, shared_sd: float) -> bool:
    """Whether a table without any change has a case called slower; noise differs from case to case."""
    sds = [0.004 * math.exp(source.gauss(0, 0.7)) for _ in range(cases)]

    def process() -> list[float]:
        shift = source.gauss(0, shared_sd)
        return [shift + source.gauss(0, sd) for sd in sds]

    old, new = [process() for _ in range(5)], process()
    tables = [([new[case]], [one[case] for one in old]) for case in range(cases)]
    variances = [pooled(*sides) for sides in tables]
    prior = prior_of(*zip(*variances, strict=True))
    seen = [difference(*sides, 0.0, prior) for sides in tables]
    return any(one.log > one.half(SPENT / cases) for one in seen)


@pytest.mark.parametrize("shared_sd", [0.0, 0.003])
def test_at_most_one_in_a_hundred_clean_tables_fails(shared_sd: float) -> None:
    source = random.Random(5)
    failed = sum(clean_table_fails(source, 10, shared_sd) for _ in range(600))
    assert failed <= 11  # 6 are allowed on average; more than 11 have a chance of 2 %
    assert SPENT < FALSE_ALARMS


def test_variances_are_lent_where_they_agree_and_a_noisy_case_keeps_its_own() -> None:
    prior = prior_of([1.0, 1.1, 0.9, 1.0], [4] * 4)
    moderated, freedom = prior.moderated(0.01, 4)
    assert 0.5 < moderated < 1
    assert 4 < freedom <= 12
    assert prior.moderated(100.0, 4)[0] == 100.0
    assert prior_of([1.0, 2.0], [4, 4]) == NOTHING
    assert NOTHING.moderated(2.0, 4) == (2.0, 4)


def test_digamma_and_trigamma() -> None:
    assert digamma(1.0) == pytest.approx(-0.5772156649, abs=1e-7)
    assert trigamma(1.0) == pytest.approx(math.pi**2 / 6, abs=1e-7)
    for x in (0.5, 2.0, 7.5):
        assert digamma(x + 1) == pytest.approx(digamma(x) + 1 / x, abs=1e-7)
        assert trigamma(x + 1) == pytest.approx(trigamma(x) - 1 / x**2, abs=1e-7)


# The command line and what it writes.


def test_exit_codes(cli: Cli, baseline: Path, tmp_path: Path) -> None:
    clean = keep(tmp_path / "clean", "n", jitter(100))
    slow = keep(tmp_path / "slow", "n", jitter(100, 1.1))
    other = keep(tmp_path / "other", "n", jitter(100), {**H100, "gpu": "H200"})
    assert cli("check", "regression", clean, "--baseline", baseline)[0] == 0
    assert cli("check", "regression", slow, "--baseline", baseline)[0] == 1
    code, out, err = cli("check", "regression", other, "--baseline", baseline)
    assert (code, out) == (2, "")
    assert "gpu: H100 / H200" in err
    assert cli("check", "regression", clean, "--baseline", baseline / "0")[0] == 3
    assert cli("check", "regression", clean, "--baseline", tmp_path / "nowhere")[0] == 2
    assert cli("check", "regression", clean, "--baseline", baseline, "--margin", "3")[0] == 2


def test_json_is_the_whole_report_and_nothing_else(cli: Cli, baseline: Path, tmp_path: Path) -> None:
    slow = keep(tmp_path / "slow", "n", jitter(100, 1.1))
    code, out, _ = cli("check", "regression", slow, "--baseline", baseline, "--json", "--github")
    report = json.loads(out)
    assert (report["exit_code"], report["outcome"]) == (code, "fail")
    assert {one["state"] for one in report["findings"]} == {"slower"}


def test_compare_shows_every_case_and_judges_none(cli: Cli, baseline: Path, tmp_path: Path) -> None:
    slow = keep(tmp_path / "slow", "n", jitter(100, 1.1), verdicts=["crashed"])
    code, out, err = cli("compare", baseline, slow)
    lines = out.splitlines()
    assert (code, err, len(lines)) == (0, "", 5)
    assert "crashed" in lines[1]
    assert all("1.1" in line.split("ms")[-1] for line in lines[2:])
    pairs = json.loads(cli("compare", slow, baseline, "--json")[1])
    assert pairs[1]["ratio"]["ratio"] == pytest.approx(1 / 1.1, rel=0.02)
    assert cli("compare", baseline, tmp_path / "nowhere")[0] == 2
