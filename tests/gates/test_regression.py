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
from hypothesis import given
from hypothesis import strategies as st
from processes import H100, jitter, keep, keep_two
from rows import make_row

from lbench import results
from lbench.errors import UsageError
from lbench.gates import regression
from lbench.gates.evidence import FALSE_ALARMS, SPENT, Table, difference, pooled
from lbench.gates.moderation import NOTHING, digamma, prior_of, trigamma
from lbench.gates.regression import Options, state_of
from lbench.gates.sessions import Layout, share_of
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
    same = check(keep(tmp_path / "same", "n", jitter(100)), tmp_path / "b")
    assert not same.notes
    later = keep(tmp_path / "new", "n", jitter(100), started_at="2026-03-01T00:00:00Z")
    report = check(later, tmp_path / "b")
    assert report.findings[0].figures["could_see"] > 2 * same.findings[0].figures["could_see"]
    assert "one session" in report.notes[0]


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


def test_a_case_too_noisy_for_the_margin_is_guarded_at_what_it_can_hold(tmp_path: Path) -> None:
    for number in range(6):
        keep(tmp_path / "noisy" / str(number), f"b{number}", jitter(number, sd=0.08))
    clean, slow = keep_two(tmp_path / "clean"), keep_two(tmp_path / "slow", 2.0)
    reasons = [finding.reason for finding in check(clean, tmp_path / "noisy", widest=0.03).findings]
    assert any("add to it, or allow more" in reason for reason in reasons)
    report = check(clean, tmp_path / "noisy", widest=0.5)
    assert report.outcome == "pass"
    assert "guarded at" in report.findings[0].reason
    assert check(slow, tmp_path / "noisy", widest=0.5).outcome == "fail"


def test_the_wide_margin_excuses_no_slowdown_that_was_seen() -> None:
    seen = difference([0.05, 0.051], [0.001, -0.001, 0.0, 0.001, -0.001], 0.0)
    assert state_of(seen, 20, (math.log1p(0.03), math.log1p(0.10)))[0] == "slower"


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
    source: random.Random,
    cases: int,
    new: int,
    sessions: Sequence[int],
    session_sd: float = 0.0,
    episodes: float = 0.0,
) -> bool:
    """Whether a table without any change has a case called slower; noise differs from case to case.

    `sessions` says how many processes of the baseline each has; those under test share one of their own.
    With a probability of `episodes` a process is slower by some percent as a whole, or a case in it.
    """
    sds = [0.004 * math.exp(source.gauss(0, 0.7)) for _ in range(cases)]

    def slow() -> float:
        return abs(source.gauss(0, 0.05)) if source.random() < episodes else 0.0

    def session(processes: int) -> list[list[float]]:
        shared = source.gauss(0, session_sd)
        shifts = [shared + source.gauss(0, session_sd) for _ in range(cases)]
        return [
            [shift + whole + slow() + source.gauss(0, sd) for shift, sd in zip(shifts, sds, strict=True)]
            for whole in (slow() for _ in range(processes))
        ]

    old = [process for count in sessions for process in session(count)]
    under_test = session(new)
    layout = Layout(
        new=(99,) * new, old=tuple(number for number, count in enumerate(sessions) for _ in range(count))
    )
    tables = [([one[case] for one in under_test], [one[case] for one in old]) for case in range(cases)]
    table = Table(
        prior=prior_of(*zip(*(pooled(*sides) for sides in tables), strict=True)),
        share=share_of((logs, layout.old) for _, logs in tables),
    )
    edges = Options().edges(0.0)
    seen = [difference(*sides, 0.0, table, layout) for sides in tables]
    return any(state_of(one, cases, edges)[0] == "slower" for one in seen)


@pytest.mark.parametrize("sessions", [(1,) * 5, (2, 2, 1)])
@pytest.mark.parametrize("noise", [{}, {"session_sd": 0.006}, {"episodes": 0.03}])
def test_at_most_one_in_a_hundred_clean_tables_fails(
    noise: dict[str, float], sessions: Sequence[int]
) -> None:
    source = random.Random(5)
    failed = sum(clean_table_fails(source, 10, 2, sessions, **noise) for _ in range(400))
    assert failed <= 8  # 4 are allowed on average; more than 8 have a chance of 2 %
    assert SPENT < FALSE_ALARMS


def test_processes_of_one_session_do_not_count_as_draws_of_their_own() -> None:
    logs = [0.0, 0.0001, 0.02, 0.0201, -0.02, -0.0199]
    spread = Layout(new=(9, 9), old=(0, 0, 1, 1, 2, 2))
    share = share_of([(logs, spread.old)])
    assert share == pytest.approx(1.0, abs=0.01)
    one = difference([0.03, 0.03], logs, 0.0, Table(share=share), spread)
    many = difference([0.03] * 10, logs, 0.0, Table(share=share), dataclasses.replace(spread, new=(9,) * 10))
    assert many.error == pytest.approx(one.error, rel=0.05)
    assert one.error > 0.02
    blind = difference([0.03, 0.03], logs, 0.0)
    assert blind.half(0.005) < one.half(0.005) / 2


@given(st.lists(st.floats(-0.1, 0.1), min_size=4, max_size=12), st.data())
def test_the_share_of_sessions_is_one_and_does_not_depend_on_units(
    logs: list[float], data: st.DataObject
) -> None:
    sessions = data.draw(st.lists(st.integers(0, 3), min_size=len(logs), max_size=len(logs)))
    share = share_of([(logs, sessions)])
    assert share is None or 0 <= share <= 1
    if len(set(sessions)) == len(sessions) and max(logs) - min(logs) > 1e-6:
        assert share == 1
    wider = share_of([([3 * log + 1 for log in logs], sessions)])
    if max(logs) - min(logs) > 1e-6:
        assert wider == pytest.approx(share, abs=1e-6)


def test_a_session_is_a_stretch_without_a_gap_of_an_hour() -> None:
    new = ["2026-01-02T00:00:00Z"]
    old = [f"2026-01-01T0{hour}:{minute}:00Z" for hour, minute in ((0, 10), (0, 50), (1, 40), (5, 10))]
    layout = Layout.of(new, old)
    assert layout == Layout(new=(2,), old=(0, 0, 0, 1))
    assert not layout.same
    assert Layout.of(old[:1], old[1:3]).same


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


def not_json(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


@pytest.mark.parametrize("one", ["ok", "untimed", "wrong", "crashed"])
@pytest.mark.parametrize("other", ["ok", "untimed", "wrong", "crashed"])
def test_compare_gives_a_ratio_where_both_standing_rows_are_ok_and_no_other_time(
    cli: Cli, tmp_path: Path, one: str, other: str
) -> None:
    """The last row of a case stands; one that was only verified leaves the times before it as they are."""
    for side, verdict in (("a", one), ("b", other)):
        writer = results.Writer(tmp_path / side)
        writer.append(make_row())
        row = make_row("ok" if verdict == "untimed" else verdict)
        times = () if verdict == "untimed" else row.times_ms
        writer.append(dataclasses.replace(row, run="r2", times_ms=times, started_at="2026-01-02T00:00:00Z"))
        writer.close()
    code, out, _ = cli("compare", tmp_path / "a", tmp_path / "b")
    assert code == 0
    assert "nan" not in out
    text = cli("compare", tmp_path / "a", tmp_path / "b", "--json")[1]
    (pair,) = json.loads(text, parse_constant=not_json)
    stand = [verdict in ("ok", "untimed") for verdict in (one, other)]
    assert (pair["ratio"] is not None) == all(stand)
    assert [time is not None for time in pair["times_ms"]] == stand


def test_compare_of_rows_that_were_only_verified_has_no_times(cli: Cli, tmp_path: Path) -> None:
    writer = results.Writer(tmp_path / "verified")
    writer.append(dataclasses.replace(make_row(), times_ms=(), enqueue_us=()))
    writer.close()
    out = cli("compare", tmp_path / "verified", tmp_path / "verified")[1]
    assert out.count("ok, not timed") == 2
    (pair,) = json.loads(
        cli("compare", tmp_path / "verified", tmp_path / "verified", "--json")[1], parse_constant=not_json
    )
    assert pair["times_ms"] == [None, None]
    assert pair["ratio"] is None
