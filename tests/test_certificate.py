"""Certificates: every case counts under its own verdict, and none is told for another of its length."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from rows import make_row

from lbench.lengths import parse_length
from lbench.report.certificate import certificates, to_text
from lbench.results import Row

VERDICTS = {"ok": "right at", "wrong": "WRONG at", "skipped": "not judged at"}
points = st.tuples(
    st.sampled_from((1, 4)), st.sampled_from((1024, 2048, 4096)), st.sampled_from(("fwd", "bwd"))
)
sweeps = st.dictionaries(points, st.sampled_from(tuple(VERDICTS)), min_size=1)


def rows_of(sweep: dict[tuple[int, int, str], str]) -> list[Row]:
    return [
        make_row(verdict, batch=batch, seq_len=seq_len, pass_name=pass_name)
        for (batch, seq_len, pass_name), verdict in sweep.items()
    ]


def told(text: str, verdict: str, sweep: dict[tuple[int, int, str], str]) -> set[tuple[int, int, str]]:
    """The cases of a sweep that a certificate puts under a verdict."""
    found = re.search(f"{VERDICTS[verdict]} ([^;]*)", text)
    named = set()
    for part in found[1].split(", ") if found else ():
        batch, lengths, pass_name = re.fullmatch(r"(?:(\d+) x )?([^ ]+)(?: \((\w+)\))?", part).groups()
        spans = [(span.partition("..")[0], span.rpartition("..")[2]) for span in lengths.split(",")]
        named |= {
            point
            for point in sweep
            if any(parse_length(first) <= point[1] <= parse_length(last) for first, last in spans)
            and batch in (None, str(point[0]))
            and pass_name in (None, point[2])
        }
    return named


@given(sweeps)
def test_every_case_is_told_under_its_own_verdict_and_no_other(
    sweep: dict[tuple[int, int, str], str],
) -> None:
    (made,) = certificates(rows_of(sweep))
    text = " ".join(to_text(made, 10_000).split())
    for verdict in VERDICTS:
        assert told(text, verdict, sweep) == {point for point, one in sweep.items() if one == verdict}


@given(sweeps, st.integers(60, 120))
def test_a_certificate_keeps_to_the_terminal(sweep: dict[tuple[int, int, str], str], columns: int) -> None:
    (made,) = certificates(rows_of(sweep))
    text = to_text(made, columns)
    assert max(map(len, text.splitlines())) <= columns
    assert text.split() == to_text(made, 10_000).split()


def test_a_larger_batch_that_was_skipped_takes_nothing_from_batch_1() -> None:
    sweep = {(1, 4096, "fwd"): "ok", (64, 4096, "fwd"): "skipped", (1, 8192, "fwd"): "ok"}
    (made,) = certificates(rows_of(sweep))
    assert "right at 8k, 1 x 4k; not judged at 64 x 4k" in " ".join(to_text(made).split())
