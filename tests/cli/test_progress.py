"""What the display says of a row."""

from __future__ import annotations

import dataclasses
import re

from hypothesis import given
from hypothesis import strategies as st
from rows import make_row

from lbench.cli.progress import summary

UNITS_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}


@given(st.floats(1e-3, 1e6))
def test_a_time_reads_without_powers_of_ten(time_ms: float) -> None:
    text = summary(make_row(time_ms=time_ms, seq_len=1024))
    assert "e+" not in text
    value, unit = re.match(r"([\d.]+) (\w+) ", text).groups()
    shown_ms = float(value) * UNITS_MS[unit]
    assert abs(shown_ms / (time_ms * 1.0045) - 1) < 0.0061


@given(st.integers(1, 10))
def test_an_interval_that_is_not_known_is_not_told(count: int) -> None:
    row = make_row(time_ms=1.0, seq_len=1024)
    text = summary(dataclasses.replace(row, times_ms=row.times_ms[:count]))
    assert ("\u00b1?" in text) == (count < 3)
    assert "nan" not in text


def test_what_was_only_verified_has_no_time() -> None:
    assert summary(dataclasses.replace(make_row(), times_ms=(), enqueue_us=())) == "ok, not timed"


def test_a_failure_says_why() -> None:
    assert summary(make_row("crashed")) == "crashed: because"
