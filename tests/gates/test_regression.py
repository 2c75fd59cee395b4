"""`lbench check regression` and `lbench compare`: verdicts, guards, and false alarms over whole tables."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import H100, jitter, keep, keep_two
from rows import make_row

from lbench import results
from lbench.errors import UsageError
from lbench.gates import regression
from lbench.gates.evidence import FALSE_ALARMS, SPENT, difference, pooled
from lbench.gates.moderation import NOTHING, digamma, prior_of, trigamma
from lbench.gates.regression import Options, state_of
from lbench.gates.verdict import Report

Cli = Callable[..., tuple[int, str, str]]


def check(new: Path, old: Path, **options: Any) -> Report:
    return regression.check(regression.read(new), regression.read(old), Options(**options))


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
    report = check(keep_two(tmp_path / "new", 1 + share, only=2), baseline)
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
    same_time = keep_two(tmp_path / "same", environment=h200, bandwidth=4800.0)
    assert states(check(same_time, baseline, across_machines=True)) == ["slower"] * 4


def test_another_torch_is_told_and_compared(baseline: Path, tmp_path: Path) -> None:
    report = check(keep(tmp_path / "new", "n", jitter(100), {**H100, "torch": "2.12"}), baseline)
    assert report.notes == ("torch differs: 2.11 / 2.12",)


def test_a_baseline_of_one_session_is_told(tmp_path: Path) -> None:
    for number in range(5):
        keep(tmp_path / "b" / str(number), f"b{number}", jitter(number))
    report = check(keep(tmp_path / "new", "n", jitter(100)), tmp_path / "b")
    assert "within an hour" in report.notes[0]


def test_one_process_cannot_fail_and_a_second_confirms_or_clears(baseline: Path, tmp_path: Path) -> None:
    slow = check(keep(tmp_path / "slow", "n100", jitter(100, 1.1)), baseline)
    assert states(slow) == ["undecided"] * 4
    assert "a second one must confirm" in slow.findings[0].reason
    assert [one.figures["more"] for one in slow.findings] == [1] * 4
    assert states(check(keep(tmp_path / "slow", "n101", jitter(101, 1.1)), baseline)) == ["slower"] * 4
    keep(tmp_path / "episode", "n100", jitter(100, 1.1))
    cleared = check(keep(tmp_path / "episode", "n101", jitter(101)), baseline)
    assert "slower" not in states(cleared)


def test_no_slower_passes_though_it_may_be_faster(baseline: Path, tmp_path: Path) -> None:
    for number in range(6):
        keep(tmp_path / "noisy" / str(number), f"b{number}", jitter(number, sd=0.02))
    new = keep(tmp_path / "new", "n", jitter(100, 0.93))
    report = check(new, tmp_path / "noisy")
    assert {"no slower", "faster"} >= set(states(report))
    assert report.outcome == "pass"


def test_a_case_too_noisy_for_the_margin_is_guarded_at_what_it_can_hold_if_asked(tmp_path: Path) -> None:
    for number in range(6):
        keep(tmp_path / "noisy" / str(number), f"b{number}", jitter(number, sd=0.08))
    clean, slow = keep_two(tmp_path / "clean"), keep_two(tmp_path / "slow", 2.0)
    reasons = [finding.reason for finding in check(clean, tmp_path / "noisy").findings]
    assert any("add to it, or use --widen" in reason for reason in reasons)
    report = check(clean, tmp_path / "noisy", widen=True)
    assert report.outcome == "pass"
    assert "guarded at" in report.findings[0].reason
    assert check(slow, tmp_path / "noisy", widen=True).outcome == "fail"


def test_looking_again_after_each_process_spends_no_more_than_looking_once() -> None:
    levels = [difference([0.0] * count, [0.0, 0.1], 0.0).level(1) for count in range(2, 100)]
    assert levels[0] == SPENT / 2
    assert math.fsum(levels) < SPENT


def test_undecided_names_the_processes_that_would_decide_it() -> None:
    seen = difference([0.01, 0.0], [0.012, -0.012, 0.0, 0.012, -0.012], 0.0)
    more = seen.needed(math.log1p(0.03))
    assert more is not None
    decided = difference([0.005] * more, [0.012, -0.012, 0.0, 0.012, -0.012], seen.sd**2)
    assert seen.new < more < 20
    assert decided.log + decided.half(0.05) <= math.log1p(0.03) * 1.02
    assert difference([0.04, 0.04], [0.01, -0.01], 0.0).needed(math.log1p(0.03)) is None


def clean_table_fails(
    source: random.Random, cases: int, new: int, shared_sd: float = 0.0, episodes: float = 0.0
) -> bool:
    """Whether a table without any change has a case called slower; noise differs from case to case.

    With a probability of `episodes` a process is slower by some percent as a whole, or a case in it.
    """
    sds = [0.004 * math.exp(source.gauss(0, 0.7)) for _ in range(cases)]

    def slow() -> float:
        return abs(source.gauss(0, 0.05)) if source.random() < episodes else 0.0

    def process() -> list[float]:
        shift = source.gauss(0, shared_sd) + slow()
        return [shift + slow() + source.gauss(0, sd) for sd in sds]

    old, under_test = [process() for _ in range(5)], [process() for _ in range(new)]
    tables = [([one[case] for one in under_test], [one[case] for one in old]) for case in range(cases)]
    variances = [pooled(*sides) for sides in tables]
    prior = prior_of(*zip(*variances, strict=True))
    edge = math.log1p(0.03)
    return any(state_of(difference(*sides, 0.0, prior), cases, edge)[0] == "slower" for sides in tables)


@pytest.mark.parametrize("new", [2, 3])
@pytest.mark.parametrize("noise", [{}, {"shared_sd": 0.003}, {"episodes": 0.03}])
def test_at_most_one_in_a_hundred_clean_tables_fails(noise: dict[str, float], new: int) -> None:
    source = random.Random(5)
    failed = sum(clean_table_fails(source, 10, new, **noise) for _ in range(400))
    assert failed <= 8  # 4 are allowed on average; more than 8 have a chance of 2 %
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
    slow = keep_two(tmp_path / "slow", 1.1)
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
    slow = keep_two(tmp_path / "slow", 1.1)
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
