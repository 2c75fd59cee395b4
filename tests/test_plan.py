"""Predictions and the budget: what fits is run, what does not is skipped with its prediction."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import make_row

from lbench import models
from lbench.durations import format_duration, parse_duration
from lbench.errors import UsageError
from lbench.plan import COMPILED_S, FOUND_S, MODEL_CASE_S, START_UP_S, Plan
from lbench.protocol import Stopping

STOPPING = Stopping(budget_s=1.0)


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
        calls = (prediction.wall_s - START_UP_S["cuda"] - MODEL_CASE_S) / prediction.call_s
        assert calls == pytest.approx(stopping.slow_least + beside)


def test_compilation_is_predicted_once_a_backend_and_step() -> None:
    first, other = (
        dataclasses.replace(
            models.fields_of("tnl-1b", "lightning_triton", "lightning", "native", "", "cuda"),
            seq_len=length,
            batch=32768 // length,
            compile="on",
        )
        for length in (1024, 2048)
    )
    plan = plan_of()
    before = plan.predict(other, []).wall_s
    plan.reason_to_skip(first, [])
    assert before - plan.predict(other, []).wall_s == pytest.approx(COMPILED_S + START_UP_S["cuda"])
    longer = dataclasses.replace(other, batch=64)
    assert plan.predict(longer, []).wall_s > COMPILED_S


def test_what_one_backend_compiled_another_is_predicted_to_find_on_the_disk() -> None:
    """Blocks of one model are the same code around any mixer of a mechanism, another model's are not."""
    ours = dataclasses.replace(
        models.fields_of("tnl-1b", "lightning_triton", "lightning", "native", "", "cuda"), compile="on"
    )
    theirs, off = (
        dataclasses.replace(ours, backend="lightning_authors", compile=how) for how in ("on", "off")
    )
    other = dataclasses.replace(theirs, model="tnl-3b")
    for let_in, found in ((ours, True), (off, False), (other, False)):
        plan = plan_of()
        plan.reason_to_skip(let_in, [])
        spent = [plan.predict(case, []).wall_s for case in (theirs, off)]
        assert spent[0] - spent[1] == pytest.approx(FOUND_S if found else COMPILED_S)


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
