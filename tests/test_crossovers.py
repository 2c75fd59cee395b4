"""Crossovers: found where the order of two mechanisms turns round, and nowhere else."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plot.synthetic import frame, h100, row

from lbench.report.crossovers import Crossover, crossovers
from lbench.report.tables import tables

LENGTHS = (1024, 2048, 4096, 8192, 16384)


def found(times: dict[str, list[float | None]], **fields: object) -> list[Crossover]:
    """Crossovers of series of times; None was not tried."""
    rows = [
        row(backend=name, mechanism=name[0], seq_len=length, tokens=length, time_ms=time, **fields)
        for name, series in times.items()
        for length, time in zip(LENGTHS, series, strict=True)
        if time is not None
    ]
    (table,) = tables(frame(rows), "ns_per_token")
    return crossovers(table)


def test_where_lines_meet_is_told() -> None:
    (one,) = found({"a": [1.0, 4.0, 16.0, 64.0, 256.0], "b": [2.0, 5.0, 8.0, 16.0, 32.0]})
    assert (one.slower, one.faster, one.before, one.after) == ("a", "b", 2048, 4096)
    assert one.about == pytest.approx(2048 * 2 ** (math.log(5 / 4) / math.log(5 / 4 * 2)))
    assert str(one) == "b overtakes a between 2k and 4k, at about 2.4k"


@settings(deadline=None, max_examples=10)
@given(st.lists(st.floats(0.1, 10), min_size=5, max_size=5), st.floats(0.1, 1e3))
def test_the_unit_of_time_and_the_order_of_rows_do_not_matter(factors: list[float], scale: float) -> None:
    series = {"a": [1.0, 2.0, 4.0, 8.0, 16.0]}
    other = [factor * time for factor, time in zip(factors, series["a"], strict=True)]
    made = found({**series, "b": other})
    scaled = found({"b": [time * scale for time in other], "a": [time * scale for time in series["a"]]})
    assert [(one.faster, one.before, one.after) for one in scaled] == [
        (one.faster, one.before, one.after) for one in made
    ]
    signs = [math.copysign(1, math.log(f)) for f in factors if f > 1.1 or f < 0.9]
    least = sum(one != other for one, other in itertools.pairwise(signs))
    assert len(made) >= least


def test_noise_is_no_crossover() -> None:
    close = {"time_ms_low": 0.5, "time_ms_high": 2.0}
    assert found({"a": [1.0] * 5, "b": [0.9, 1.1, 0.9, 1.1, 0.9]}, **close) == []


def test_a_length_at_which_the_quickest_was_not_tried_does_not_count() -> None:
    # a1 is slow and a2 quick, but a2 was not tried at 2k and 8k.
    made = found({"a1": [9.0] * 5, "a2": [1.0, None, 1.0, None, 1.0], "b": [3.0] * 5})
    assert made == []


def test_within_one_mechanism_backends_cross() -> None:
    (one,) = found({"a1": [1.0, 2.0, 4.0, 8.0, 16.0], "a2": [4.0] * 5})
    assert (one.slower, one.faster) == ("a1", "a2")


def test_those_of_a_whole_sweep_are_borne_out_by_its_rows() -> None:
    rows = h100("1k..64k")
    for table in tables(rows, "ns_per_token"):
        made = crossovers(table)
        assert made
        for one in made:
            assert one.before < one.about < one.after
            timed = {
                (line.mechanism, length): cell.value
                for line in table.lines
                for length, cell in zip(table.lengths, line.cells, strict=True)
                if line.title in one.backends
            }
            assert timed[one.slower, one.before] > 0
            assert timed[one.faster, one.after] > 0
