"""Predictions and the budget: what fits is run, what does not is skipped with its prediction."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import make_row

from lbench import models, rotation
from lbench.durations import format_duration, parse_duration
from lbench.errors import UsageError
from lbench.plan import (
    FOUND_S,
    MARGIN,
    MODEL_CASE_S,
    MODEL_CHECKED_S,
    MODEL_COMPILED_S,
    ROUND_S,
    START_UP_S,
    Plan,
)
from lbench.protocol import Stopping
from lbench.results import Row

STOPPING = Stopping(budget_s=1.0)
KEPT = Path(__file__).parent.parent / "results"


class Time:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def plan_of(budget_s: float | None = None, time: Time | None = None) -> Plan:
    return Plan(STOPPING, 20.0, budget_s, now=time or Time())


def case_at(seq_len: int, **fields):
    return make_row(seq_len=seq_len, **fields).case


def rows_at(*lengths: int, exponent: float = 1.0, **fields):
    return [
        make_row(
            seq_len=length, time_ms=10 * (length / 1024) ** exponent, memory_bytes=length * 1024, **fields
        )
        for length in lengths
    ]


def test_shorter_lengths_of_the_series_are_continued() -> None:
    prediction = plan_of().predict(case_at(8192), rows_at(1024, 2048, exponent=2.0))
    assert prediction.call_s == pytest.approx(0.64, rel=0.02)
    assert prediction.basis == "from 2 shorter lengths"
    assert plan_of().predict(case_at(8192), rows_at(1024)).basis == "from 1 shorter length"


def test_what_a_backend_took_elsewhere_scales_the_guess() -> None:
    bare = plan_of().predict(case_at(8192), [])
    assert bare.basis == "a first guess"
    others = plan_of().predict(case_at(8192), rows_at(4096, heads=8))
    assert others.basis == "from other shapes of the backend"
    slower = plan_of().predict(case_at(8192), [*rows_at(4096, exponent=3.0, heads=8)])
    assert slower.call_s > 5 * others.call_s
    assert plan_of().predict(case_at(8192), rows_at(4096, backend="gla_eager")).basis == "from other backends"


@given(st.floats(0.1, 1e4))
def test_mixers_say_nothing_of_a_models_calls_and_memory(time_ms: float) -> None:
    """A short call is many times above its floor for its launch alone, and a step is not a row of those."""
    mixer = make_row(backend="lightning_triton", device="cuda", time_ms=time_ms)
    mixer = dataclasses.replace(mixer, spent={"start_up": START_UP_S["cuda"], "sampling": 1.0})
    step = dataclasses.replace(make_row(time_ms=time_ms), case=step_at(1024), spent=mixer.spent)
    told = [plan_of().predict(step_at(2048), rows) for rows in ([], [mixer])]
    assert told[0] == told[1]
    other = dataclasses.replace(mixer.case, seq_len=4096)
    told = [plan_of().predict(other, rows) for rows in ([], [step])]
    assert told[0] == told[1]


def test_predictions_get_better_as_rows_land() -> None:
    """Wherever the truth lies, two rows of the series tell it better than the guess."""
    for factor in (0.01, 100.0):
        rows = [make_row(seq_len=length, time_ms=factor * length / 1024) for length in (1024, 2048)]
        truth = factor * 8e-3
        guessed, told = (plan_of().predict(case_at(8192), known).call_s for known in ([], rows))
        assert abs(told / truth - 1) < 0.02 < abs(guessed / truth - 1)


@given(st.integers(0, 12), st.integers(0, 2))
def test_longer_is_never_predicted_to_take_less(power: int, known: int) -> None:
    rows = rows_at(*[256 << i for i in range(known)])
    shorter, longer = (plan_of().predict(case_at(1024 << p), rows) for p in (power, power + 1))
    assert shorter.wall_s <= longer.wall_s
    assert shorter.memory_bytes <= longer.memory_bytes


@pytest.mark.parametrize(("pass_name", "times"), [("train", 2), ("prefill", 3)])
def test_a_long_call_is_predicted_to_be_made_for_its_samples_and_its_checks(
    pass_name: str, times: int
) -> None:
    """Twice where the memory pass of a training step is all that its first one is compared with."""
    case = models.fields_of("tnl-1b", "lightning_triton", "lightning", "native", "", "cuda")
    tokens = {"train": 65536, "prefill": 131072}[pass_name]
    case = dataclasses.replace(case, pass_name=pass_name, seq_len=tokens, batch=2)
    for long_s, beside in ((100.0, 4 + Stopping().slow_rounds), (1.0, times)):
        stopping = Stopping(long_s=long_s)
        prediction = Plan(stopping, 3000.0).predict(case, [])
        assert 1.0 < prediction.call_s < stopping.very_slow_s
        once_s = START_UP_S["cuda"] + MODEL_CHECKED_S["cuda"]
        beside_s = once_s + MODEL_CASE_S + stopping.slow_rounds * ROUND_S
        calls = (prediction.wall_s / MARGIN - beside_s) / prediction.call_s
        assert calls == pytest.approx(stopping.slow_least + beside)


def step_at(seq_len: int, tokens: int = 32768, **fields):
    step = models.fields_of("tnl-1b", "lightning_triton", "lightning", "native", "", "cuda")
    step = dataclasses.replace(step, pass_name="train", compile="on", **fields)
    return dataclasses.replace(step, seq_len=seq_len, batch=tokens // seq_len)


def row_of(case, once_s: float = 0.0, compile_s: float = 0.0, call_s: float = 0.5):
    """The row of a case that paid so much for later ones too."""
    spent = {"start_up": 5.0, "compile": call_s + compile_s, "verify": 1.0 + once_s, "sampling": 6 * call_s}
    compiled = {"cold_s" if once_s else "length_s": compile_s}
    row = make_row(time_ms=call_s * 1e3)
    return dataclasses.replace(row, case=case, spent=spent, compile=compiled, wall_s=sum(spent.values()) - 5)


def test_what_a_worker_and_its_steps_pay_once_is_predicted_once() -> None:
    plan = plan_of()
    before = plan.predict(step_at(2048), []).wall_s
    plan.reason_to_skip(step_at(1024), [])
    once_s = START_UP_S["cuda"] + MODEL_CHECKED_S["cuda"] + MODEL_COMPILED_S
    assert before - plan.predict(step_at(2048), []).wall_s == pytest.approx(MARGIN * once_s)
    step_s = plan.predict(step_at(2048, 2**18), []).call_s
    longer_s = plan.predict(step_at(2048, 2**18), []).wall_s
    assert longer_s > MARGIN * (MODEL_COMPILED_S + 5 * step_s), "other tokens are compiled for again"


@given(st.floats(0.0, 100.0), st.floats(0.0, 100.0))
def test_what_the_first_case_paid_once_is_not_carried_over(once_s: float, compile_s: float) -> None:
    """Another length of as much work takes no more than the first did without that, nor than a guess."""
    first, other = step_at(1024), step_at(2048)
    row = row_of(first, once_s, compile_s)
    plan = plan_of()
    plan.reason_to_skip(first, [])
    told = plan.predict(other, [row])
    assert told.wall_s < 1.01 * MARGIN * (row.wall_s - compile_s)
    assert told.wall_s < MARGIN * (MODEL_CASE_S + STOPPING.slow_rounds * ROUND_S + 14 * told.call_s)


def test_what_each_case_took_is_carried_over_from_the_second() -> None:
    """The first says nothing of it; what a later one took longer, the next will take longer too."""
    first, second, third = (step_at(length) for length in (1024, 2048, 4096))
    plan = plan_of()
    plan.reason_to_skip(first, [])
    rows = [row_of(first, 40.0, 20.0), row_of(second)]
    quick = plan.predict(third, rows).wall_s
    rows[1] = dataclasses.replace(rows[1], spent={**rows[1].spent, "memory": 30.0})
    assert plan.predict(third, rows).wall_s - quick == pytest.approx(MARGIN * 30.0, rel=0.1)


def test_another_setting_of_a_backend_is_predicted_to_compile_as_its_first_one_did() -> None:
    """A kernel that searches its tiles does so for each shape."""
    known, new = case_at(16384, head_dim=128), case_at(16384, head_dim=64)
    told = []
    for compile_s in (0.0, 40.0):
        plan = plan_of()
        plan.reason_to_skip(known, [])
        told.append(plan.predict(new, [row_of(known, 1.0, compile_s, 0.01)]).wall_s)
    assert told[1] - told[0] == pytest.approx(MARGIN * 40.0)


def test_a_run_that_goes_on_pays_again_for_its_workers() -> None:
    """Rows of an earlier run say how much; their processes have ended."""
    rows = [row_of(step_at(1024), 40.0, 20.0), row_of(step_at(2048))]
    resumed, running = plan_of(), plan_of()
    running.reason_to_skip(step_at(1024), [])
    told = [plan.predict(step_at(4096), rows).wall_s for plan in (resumed, running)]
    assert told[0] - told[1] > 40.0 + 20.0


def test_rows_that_kept_no_account_say_nothing_of_a_workers_start() -> None:
    """As those of an older lbench are: else a resume would count it for nothing."""
    old = dataclasses.replace(make_row(heads=8), spent={}, wall_s=1.0)
    known = dataclasses.replace(old, spent={"start_up": 3.0, "sampling": 1.0})
    told = [plan_of().predict(case_at(1024, backend="gla_eager"), [row]).wall_s for row in (old, known)]
    assert told[0] - told[1] == pytest.approx(MARGIN * (START_UP_S["cpu"] - 3.0))


@given(st.sampled_from(["lightning_triton", "lightning_plain"]))
def test_a_worker_that_was_lost_is_paid_for_again(lost: str) -> None:
    """Other workers go on; what the next case takes is what it took before any was let in."""
    fresh, plan = plan_of(), plan_of()
    plan.reason_to_skip(step_at(1024), [])
    paid = plan.predict(step_at(2048), []).wall_s
    plan.ended([lost])
    told = plan.predict(step_at(2048), []).wall_s
    first = fresh.predict(step_at(2048), []).wall_s
    assert paid < first
    assert told == pytest.approx(first if lost == "lightning_triton" else paid)


def test_workers_of_a_group_are_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They begin side by side, so many at once as there are cores."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    plan = plan_of()
    told = []
    for backend in ("lightning_eager", "lightning_plain", "lightning_triton", "lightning_authors"):
        told.append(plan.predict(case_at(1024, backend=backend), []).wall_s)
        plan.reason_to_skip(case_at(1024, backend=backend), [])
    assert told[0] == pytest.approx(told[3] + MARGIN * START_UP_S["cpu"])
    assert told[2] == pytest.approx(told[0])


@pytest.mark.parametrize(
    ("call_s", "has_pair", "pairs"), [(0.01, True, 1), (2.0, False, 1), (2.0, True, 0), (9.0, False, 0)]
)
def test_a_group_of_two_is_predicted_to_take_an_a_a_pair(call_s: float, has_pair: bool, pairs: int) -> None:
    """With the second of its cases; a third adds none. Of long calls the first group of a sweep has one."""
    row = row_of(case_at(1024, batch=2), call_s=call_s)
    row = dataclasses.replace(row, twin={"times_ms": [1.0], "rounds": [0]} if has_pair else {})
    plan = plan_of()
    told = []
    for backend in ("lightning_authors", "lightning_plain", "lightning_triton"):
        plan.reason_to_skip(case_at(1024, batch=4, backend=backend), [row])
        told.append(plan.predict(case_at(1024, batch=2, backend=backend, seed=1), [row]).wall_s)
        plan.reason_to_skip(case_at(1024, batch=2, backend=backend, seed=1), [row])
    pair_s = max(STOPPING.calls(call_s) * call_s, STOPPING.budget_s) + STOPPING.rounds_of(call_s) * ROUND_S
    assert told[1] - told[0] == pytest.approx(pairs * MARGIN * pair_s, rel=0.02)
    assert told[2] == pytest.approx(told[0])


def test_what_one_backend_compiled_another_is_predicted_to_find_on_the_disk() -> None:
    """Blocks of one model are the same code around any mixer of a mechanism, another model's are not."""
    ours = dataclasses.replace(
        models.fields_of("tnl-1b", "lightning_triton", "lightning", "native", "", "cuda"), compile="on"
    )
    theirs, off = (
        dataclasses.replace(ours, backend="lightning_authors", compile=how) for how in ("on", "off")
    )
    plain, other = dataclasses.replace(ours, compile="off"), dataclasses.replace(ours, model="tnl-3b")
    for let_in, found in ((ours, True), (plain, False), (other, False)):
        plan = plan_of()
        plan.reason_to_skip(let_in, [])
        spent = [plan.predict(case, []).wall_s for case in (theirs, off)]
        assert spent[0] - spent[1] == pytest.approx(MARGIN * (FOUND_S if found else MODEL_COMPILED_S))


def told_of_kept_sweeps() -> list[float]:
    """What cases of kept sweeps are predicted to take when their turn comes, over what they took."""
    found = []
    for path in sorted(KEPT.glob("*-h100*/rows.jsonl")):
        runs: dict[str, list[Row]] = {}
        for row in map(Row.from_line, path.read_text().splitlines()):
            if row.times_ms and row.spent:
                runs.setdefault(row.run, []).append(row)
        for run, rows in runs.items():
            document = json.loads((path.parent / "runs" / f"{run}.json").read_text())
            stopping = Stopping(**document["suite"]["stopping"])
            plan = Plan(stopping, document["copy_bandwidth_gb_s"])
            by_case = {row.case: row for row in rows}
            landed: list[Row] = []
            for group in rotation.groups(by_case):
                for case in group:
                    foretold = plan.predict(case, landed).wall_s
                    plan.reason_to_skip(case, landed)
                    spent = by_case[case].spent
                    pair_s = spent["sampling"] + spent["warm_up"] if by_case[case].twin else 0.0
                    found.append(foretold / (sum(spent.values()) + pair_s))
                landed += [by_case[case] for case in group]
    return sorted(found)


def test_kept_sweeps_are_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a slight bias upwards, and seldom by half or twice."""
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    told = told_of_kept_sweeps()
    assert len(told) > 500
    assert 1.0 < told[len(told) // 2] < 1.2
    assert told[len(told) * 9 // 10] < 1.8
    assert sum(ratio < 0.5 for ratio in told) < 0.05 * len(told)
    # Parts of a sweep that found what others had compiled are told as if they had not.
    assert sum(ratio > 2.0 for ratio in told) < 0.06 * len(told)


def test_without_a_budget_everything_fits() -> None:
    assert plan_of().reason_to_skip(case_at(2**30), []) is None


def test_a_case_that_does_not_fit_is_skipped_with_its_prediction() -> None:
    time = Time()
    plan = plan_of(60.0, time)
    assert plan.reason_to_skip(case_at(1024), rows_at(512)) is None
    plan.landed(case_at(1024))
    time.now_s += 55.0
    reason = plan.reason_to_skip(case_at(65536), rows_at(512, 1024))
    assert reason is not None
    assert reason.startswith("predicted to take ")
    assert "(from 2 shorter lengths); 5.0s of the 1m00s are left" in reason
    assert plan.reason_to_skip(case_at(2048), rows_at(512, 1024)) is None, "a shorter one still fits"


def test_cases_that_were_let_in_have_their_time_set_aside() -> None:
    plan = plan_of(10.0)
    rows = rows_at(512, 1024)
    let_in = [
        length
        for length in (2048, 4096, 8192, 16384, 32768)
        if not plan.reason_to_skip(case_at(length), rows)
    ]
    assert let_in, "one alone fits"
    assert len(let_in) < 5
    assert plan.reason_to_skip(case_at(let_in[0]), rows) is None, (
        "asked again, a case does not stand in its own way"
    )
    refused = next(length for length in (2048, 4096, 8192, 16384, 32768) if length not in let_in)
    for length in let_in:
        plan.landed(case_at(length))
    assert plan.reason_to_skip(case_at(refused), rows) is None, "no time has passed"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("1h30m", 5400), ("1.5h", 5400)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "m", "-5m", "5m3h", "1.2.3s", "0s", "ten minutes"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="write 90s, 20m or 1h30m"):
        parse_duration(text)


@given(st.integers(1, 10**6))
def test_a_written_duration_is_near_what_it_says(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=max(1.0, 0.01 * seconds))
