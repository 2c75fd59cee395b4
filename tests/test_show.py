"""`lbench show`: sparklines and the overview, in narrow, plain and non-UTF-8 terminals."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plot.synthetic import frame, h100, row
from rich.console import Console

import lbench
from lbench.report.overview import print_overview
from lbench.report.sources import Source
from lbench.report.sparklines import ASCII_BARS, BARS, bars_for, sparkline
from lbench.report.summary import counts, fastest, in_words, reaches
from lbench.report.tables import tables
from lbench.results import Results


def shown(rows: pd.DataFrame, width: int = 100, encoding: str = "utf-8", **options: bool) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    source = Source(label="card @ abc", results=Results(Path("."), {}, {}, {}, []), rows=rows)
    print_overview(source, Console(file=file, width=width, highlight=False, **options))
    file.seek(0)
    return file.read()


@given(st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=20))
def test_higher_values_have_no_lower_bars(values: list[float]) -> None:
    drawn = sparkline(values, min(values), max(values))
    assert len(drawn) == len(values)
    heights = [BARS.index(bar) for bar in drawn]
    pairs = sorted(zip(values, heights, strict=True))
    assert [height for _, height in pairs] == sorted(heights)
    if max(values) > min(values):
        assert (min(heights), max(heights)) == (0, len(BARS) - 1)


def test_gaps_and_cases_without_a_value_differ() -> None:
    assert sparkline([1.0, None, math.nan, 2.0], 1.0, 2.0) == f"{BARS[0]} x{BARS[-1]}"


@pytest.mark.parametrize(
    ("encoding", "bars"),
    [("utf-8", BARS), ("ascii", ASCII_BARS), ("latin-1", ASCII_BARS), (None, ASCII_BARS)],
)
def test_bars_fit_the_encoding(encoding: str | None, bars: str) -> None:
    assert bars_for(encoding) == bars
    assert len(BARS) == len(ASCII_BARS) == len(set(ASCII_BARS))


@pytest.mark.parametrize("width", [40, 60, 100])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_it_fits_the_terminal(width: int, encoding: str) -> None:
    text = shown(h100("1k..256k:x4"), width, encoding)
    lines = [line for line in text.splitlines() if not line.startswith("    lbench ")]  # to be copied
    assert max(map(len, lines)) <= width


def test_no_color_means_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*3\d", shown(h100("1k,4k"), force_terminal=True))
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert re.search(r"\x1b\[[\d;]*3\d", shown(h100("1k,4k"), force_terminal=True))


def test_labels_are_neither_markup_nor_control_characters() -> None:
    rows = frame(
        [
            row(backend="[red]odd[/red]\x1b[2J", time_ms=1.0),
            row(backend="b", verdict="failed", reason="[/x] \x1b]0;t\x07", seq_len=2048),
        ]
    )
    text = shown(rows)
    assert "[red]odd[/red]" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_failures_and_counts_are_told() -> None:
    rows = h100("1k..64k")
    text = shown(rows, 200)
    for verdict, count in rows["verdict"].value_counts().items():
        assert f"{count} {str(verdict).replace('_', ' ')}" in text
    wrong = rows[rows["verdict"].isin(["out_of_memory", "timeout", "wrong"])]
    assert wrong["reproduce"].iloc[0] in text
    assert counts(rows).doubted == (rows["doubts"] != "").sum()


def test_the_fastest_is_the_quickest_of_its_length() -> None:
    rows = h100("1k..64k")
    for table in tables(rows, "ns_per_token"):
        mine = rows[(rows["pass"] == table.pass_name) & (rows["verdict"] == "ok")]
        held = mine[mine["batch"] == 1] if table.condition == "batch 1" else mine[mine["batch"] > 1]
        if table.condition != "batch 1":
            held = mine[mine["batch"] * mine["seq_len"] == 262_144]
        for one in fastest(table):
            of_length = held[held["seq_len"] == one.length]
            assert one.time == of_length["ns_per_token"].min()
            assert one.timed == len(of_length)
        for reach in reaches(table):
            done = held[held["backend"] == reach.backend]
            assert reach.longest == done["seq_len"].max()
            by_length = done.set_index("seq_len")["ns_per_token"].sort_index()
            assert reach.growth == pytest.approx(by_length.iloc[-1] / by_length.min())


def test_a_token_that_grows_cheaper_with_length_does_not_grow() -> None:
    (table,) = tables(
        frame([row(seq_len=1024 * 2**n, tokens=1024 * 2**n, time_ms=9.0 * 1.5**n) for n in range(4)]),
        "ns_per_token",
    )
    (reach,) = reaches(table)
    assert reach.growth == 1.0


def test_a_length_that_a_winner_was_not_tried_at_crowns_nobody() -> None:
    rows = frame(
        [row(backend="slow", seq_len=length, tokens=length, time_ms=9.0) for length in (1024, 2048, 4096)]
        + [row(backend="quick", seq_len=length, tokens=length, time_ms=1.0) for length in (1024, 4096)]
    )
    (table,) = tables(rows, "ns_per_token")
    found = fastest(table)
    assert [one.without for one in found] == [(), ("quick",), ()]
    assert in_words(found) == [("quick", "1k to 4k")]


def test_who_cannot_be_told_apart_is_not_crowned_alone() -> None:
    even = {"time_ms_low": 0.9, "time_ms_high": 1.2}
    rows = frame([row(backend="a", time_ms=1.0, **even), row(backend="b", time_ms=1.01, **even)])
    (table,) = tables(rows, "ns_per_token")
    assert in_words(fastest(table)) == [("a", "1k (not told from b)")]


def test_json_says_the_same(cli: Any) -> None:
    folder = Path(__file__).parent / "gates" / "h100"
    code, out, _ = cli("show", folder, "--json")
    assert code == 0
    (told,) = json.loads(out, parse_constant=pytest.fail)
    assert told["counts"]["rows"] == len(lbench.load(folder))
    for part, table in zip(told["parts"], tables(lbench.load(folder), "ns_per_token"), strict=True):
        shown = [[cell["value"] for cell in line["cells"]] for line in part["table"]["lines"]]
        kept = [
            [None if math.isnan(cell.value) else cell.value for cell in line.cells] for line in table.lines
        ]
        assert shown == kept
