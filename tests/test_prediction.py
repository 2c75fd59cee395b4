"""What is skipped before it is tried, and why."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import make_row

from lbench import models
from lbench.case import Case
from lbench.models.costs import memory_of
from lbench.plan import Plan
from lbench.prediction import (
    check_calls,
    continued,
    predicted_memory_bytes,
    predicted_wall_s,
    reason_to_skip,
    work,
)
from lbench.timing import Stopping

STOPPING = Stopping()


def case_at(seq_len: int, **fields) -> Case:
    return make_row(seq_len=seq_len, **fields).case


def series(exponent: float, lengths=(1024, 2048, 4096)):
    return [
        make_row(
            seq_len=length,
            time_ms=100 * (length / 1024) ** exponent,
            memory_bytes=int(2**20 * (length / 1024) ** exponent) - 2**20 + 2**20,
        )
        for length in lengths
    ]


@given(st.floats(0.0, 2.0))
def test_a_power_law_is_continued(exponent: float) -> None:
    rows = series(exponent)
    wall_s = predicted_wall_s(case_at(65536), rows, STOPPING)
    call_s = 0.1 * 64**exponent * 1.0045  # the median of a row's samples
    calls = STOPPING.calls(call_s) + check_calls(case_at(65536), call_s, STOPPING)
    assert wall_s == pytest.approx(calls * call_s + 0.1, rel=1e-6)


def test_what_the_first_case_of_a_process_spent_on_verification_is_not_taken_to_grow() -> None:
    cold = dataclasses.replace(make_row(seq_len=1024, time_ms=0.05), verify_s=0.9)
    wall_s = predicted_wall_s(case_at(65536), [cold], STOPPING)
    assert wall_s is not None
    assert wall_s < 2
    assert reason_to_skip(case_at(65536), [cold], STOPPING, 40, None, True) is None


def test_memory_counts_the_inputs() -> None:
    rows = [make_row(seq_len=1024, memory_bytes=3 * 2**20)]
    assert predicted_memory_bytes(case_at(2048), rows) == pytest.approx(8 * 2**20)


def test_what_would_take_too_long_is_skipped_with_the_prediction() -> None:
    reason = reason_to_skip(case_at(65536), series(2.0), STOPPING, 60, None, False)
    assert reason is not None
    assert "predicted to take" in reason
    assert "60 s are allowed" in reason


def test_what_fits_is_tried() -> None:
    assert reason_to_skip(case_at(8192), series(1.0), STOPPING, 60, 2**40, False) is None


def test_memory_settles_it_only_where_running_out_would_harm() -> None:
    rows = series(2.0)
    assert "memory" in (reason_to_skip(case_at(65536), rows, STOPPING, 1e9, 2**30, False) or "")
    assert reason_to_skip(case_at(65536), rows, STOPPING, 1e9, 2**30, True) is None


@pytest.mark.parametrize("verdict", ["out_of_memory", "timeout"])
def test_a_shorter_failure_settles_the_longer(verdict: str) -> None:
    rows = [*series(1.0), make_row(verdict, seq_len=8192)]
    assert f"{verdict} already at 8k" in (
        reason_to_skip(case_at(16384), rows, STOPPING, 60, None, True) or ""
    )
    assert reason_to_skip(case_at(4096), rows, STOPPING, 60, None, True) is None


@pytest.mark.parametrize(
    "other",
    [{"backend": "gla_eager"}, {"pass_name": "fwdbwd"}, {"head_dim": 64}, {"batch": 3}, {"dtype": "fp32"}],
)
def test_other_series_say_nothing(other: dict) -> None:
    rows = [make_row("out_of_memory", seq_len=8192, **other)]
    assert reason_to_skip(case_at(16384), rows, STOPPING, 60, None, True) is None


def test_constant_tokens_are_a_series() -> None:
    rows = [make_row("timeout", seq_len=8192, batch=4)]
    assert reason_to_skip(case_at(16384, batch=2), rows, STOPPING, 60, None, True)


@pytest.mark.parametrize(
    ("model", "backend", "grown"),
    [("tnl-1b", "lightning_authors", (0.99, 1.01)), ("llama-1b", "flash_attn2", (3.0, 12.0))],
)
def test_one_length_of_a_model_tells_another_by_its_work(
    model: str, backend: str, grown: tuple[float, float]
) -> None:
    """At constant tokens a recurrence is as fast at 128k as at 4k, and nothing needs more memory."""
    base = models.fields_of(model, backend, models.load(model).mechanism, "native", "", "cuda")
    base = dataclasses.replace(base, pass_name="train", checkpoint="block", dtype="bf16")
    short, long = (
        dataclasses.replace(base, seq_len=length, batch=131072 // length) for length in (4096, 131072)
    )
    row = dataclasses.replace(make_row(time_ms=2000.0), case=short)
    assert predicted_memory_bytes(long, [row]) == row.memory["inputs"] + row.memory["peak"]
    call_s = (Plan(STOPPING, 3000.0).predict(long, [row])).call_s
    assert grown[0] < call_s / 2.009 < grown[1]
    assert grown[0] < continued([(short, 1.0)], long, work) < grown[1]
    assert reason_to_skip(long, [row], STOPPING, 500, None, True) is None


def test_two_lengths_of_a_model_tell_the_next_by_its_work_too() -> None:
    """Attention's share grows with the length: the slope between two short ones would say too little."""
    base = models.fields_of("llama-385m", "flash_attn2", "softmax", "native", "", "cuda")
    base = dataclasses.replace(base, pass_name="train", checkpoint="block", compile="on")
    lengths = (1024, 4096, 16384, 65536)
    cases = [dataclasses.replace(base, seq_len=length, batch=131072 // length) for length in lengths]
    rows = [dataclasses.replace(make_row(time_ms=work(case) / 4e11), case=case) for case in cases]
    for known in range(1, 4):
        prediction = Plan(STOPPING, 3000.0).predict(cases[known], rows[:known])
        assert prediction.call_s == pytest.approx(work(cases[known]) / 4e14, rel=0.02)


def test_memory_of_models_is_continued_by_its_parts() -> None:
    """Weights do not grow: two contexts of decoding are no power law."""
    base = models.fields_of("llama-7b", "flash_attn2", "softmax", "native", "", "cuda")
    base = dataclasses.replace(base, pass_name="decode", batch=16, dtype="bf16")
    rows = []
    for length in (1024, 4096):
        case = dataclasses.replace(base, seq_len=length)
        memory = {"inputs": memory_of(case).total, "peak": 0}
        rows.append(dataclasses.replace(make_row(), case=case, memory=memory))
    longer = dataclasses.replace(base, seq_len=262144)
    assert predicted_memory_bytes(longer, rows) == pytest.approx(memory_of(longer).total)


def test_where_two_series_meet_the_one_at_the_same_batch_is_continued() -> None:
    at_batch_1 = [make_row(seq_len=length, time_ms=length / 1024) for length in (1024, 2048)]
    at_4k_tokens = [make_row(seq_len=length, batch=4096 // length, time_ms=4.0) for length in (1024, 2048)]
    alone = predicted_reason(at_batch_1)
    assert predicted_reason(at_batch_1 + at_4k_tokens) == alone
    assert "predicted to take" in (predicted_reason(at_4k_tokens) or "")


def predicted_reason(rows):
    return reason_to_skip(case_at(4096), rows, STOPPING, 0.01, None, False)
