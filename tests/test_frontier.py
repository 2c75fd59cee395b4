"""The frontier is found by bisection, whatever ends it, with few lengths tried."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import make_row

from lbench.frontier import STEP, frontiers, over_lengths, search
from lbench.plot.frontier import HIGHEST, figures_of, frontier_files
from lbench.report.frontier import to_text

LARGEST = 2**24


def searched(limit: int, verdict: str = "out_of_memory", largest: int = LARGEST, **options):
    """Rows of a search on a backend that fits up to `limit` tokens."""

    def measure(case):
        return make_row("ok" if case.seq_len <= limit else verdict, seq_len=case.seq_len)

    return list(search(make_row().case, measure, largest=largest, **options))


@given(st.integers(1, LARGEST - 1))
def test_it_is_found_to_its_resolution(limit: int) -> None:
    rows = searched(limit)
    lengths = [row.case.seq_len for row in rows]
    assert len(set(lengths)) == len(lengths), "no length twice"
    assert len(rows) <= math.log2(LARGEST) + 6
    (found,) = frontiers(rows) or [None]
    if found is None:
        return
    assert found.longest <= limit < found.beyond
    assert found.beyond - found.longest <= max(STEP, found.beyond / 16)


def test_nothing_refused_is_no_end() -> None:
    rows = searched(LARGEST, largest=5000)
    assert [row.case.seq_len for row in rows] == [1024, 2048, 4096, 5000]
    (found,) = frontiers(rows)
    assert (found.longest, found.beyond, found.verdict) == (5000, None, "")


@pytest.mark.parametrize("verdict", ["timeout", "wrong", "crashed", "skipped"])
def test_what_else_ended_it_is_said(verdict: str) -> None:
    (found,) = frontiers(searched(10_000, verdict))
    assert found.verdict == verdict
    assert not found.is_memory


@pytest.mark.parametrize("verdict", ["unsupported", "unavailable"])
def test_a_backend_that_is_not_there_is_asked_once(verdict: str) -> None:
    rows = searched(0, verdict)
    assert len(rows) == 1
    assert frontiers(rows) == []


def test_a_backend_that_fits_nowhere_is_told() -> None:
    (found,) = frontiers(searched(0))
    assert (found.longest, found.verdict) == (0, "out_of_memory")
    assert "none" in to_text([found])


def test_a_sweep_over_lengths_has_frontiers_too() -> None:
    rows = [
        make_row(seq_len=2**n, backend=name) for name in ("lightning_eager", "gla_eager") for n in (10, 11)
    ]
    rows += [make_row("out_of_memory", seq_len=4096, backend="gla_eager")]
    rows += [make_row("skipped", seq_len=8192, backend="gla_eager")]
    endless, ended = frontiers(rows)
    assert (endless.longest, endless.beyond) == (2048, None)
    assert (ended.longest, ended.beyond, ended.verdict) == (2048, 4096, "out_of_memory")
    text = to_text([endless, ended])
    assert ">= 2k" in text
    assert "out of memory at 4k" in text


def test_the_figure_has_a_bar_a_backend_and_says_what_ended_it(tmp_path) -> None:
    found = frontiers(searched(10_000)) + frontiers(searched(0))
    assert frontier_files(found) == frontier_files(found)
    (figure,) = figures_of(found)
    (ax,) = figure.axes
    assert next(bar.get_width() + bar.get_x() for bar in ax.patches) == found[0].longest
    assert "OOM at" in ax.texts[0].get_text()


@pytest.mark.parametrize(("settings", "backends"), [(1, 200), (60, 3), (5, 26)])
def test_figures_of_many_backends_stay_readable_and_leave_none_out(settings: int, backends: int) -> None:
    rows = [
        make_row(backend=f"mine.py:f{number}", batch=batch)
        for batch in range(1, settings + 1)
        for number in range(backends)
    ]
    figures = figures_of(frontiers(rows))
    assert all(figure.get_figheight() <= HIGHEST for figure in figures)
    bars = [bar for figure in figures for ax in figure.axes for bar in ax.patches]
    assert len(bars) == settings * backends


def test_a_setting_of_one_length_alone_has_no_frontier() -> None:
    swept = [make_row(seq_len=length, backend="gla_eager") for length in (1024, 2048)]
    alone = [make_row(seq_len=1024, batch=256, backend=name) for name in ("gla_eager", "lightning_eager")]
    once = make_row("out_of_memory", seq_len=1024)
    assert over_lengths([*swept, *alone, once]) == [*swept, once]
