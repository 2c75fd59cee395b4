"""Tables: the best among the correct is bold, failures are words, every format parses."""

from __future__ import annotations

import csv
import io
import math
import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plot.synthetic import cpu, frame, h100, row
from rich.console import Console

from lbench.errors import UsageError
from lbench.metrics import METRICS
from lbench.report.table_formats import print_rich, to_csv, to_latex, to_markdown
from lbench.report.tables import Table, number, tables
from lbench.report.ties import ties
from lbench.report.values import RELATIVE
from lbench.results import VERDICTS

ODD = "evil.py:[red]a_b|c&d%$x^2~{}\\"
LENGTHS = (1024, 2048, 4096)
cells = st.lists(st.tuples(st.sampled_from(VERDICTS), st.floats(1e-3, 1e6)), min_size=3, max_size=18)


def made(some: list[tuple[str, float]]) -> pd.DataFrame:
    return frame(
        [
            row(
                backend=f"b{index // 3}",
                mechanism="gla",
                seq_len=LENGTHS[index % 3],
                tokens=LENGTHS[index % 3],
                verdict=verdict,
                # A row that is wrong has no time; should one have, it must not win.
                time_ms=time_ms if verdict in ("ok", "wrong") else math.nan,
            )
            for index, (verdict, time_ms) in enumerate(some)
        ]
    )


@given(cells, st.sampled_from(["time_ms", "tokens_per_s"]))
@settings(max_examples=20, deadline=None)
def test_bold_is_the_best_of_each_length_among_ok(some: list[tuple[str, float]], metric: str) -> None:
    rows = made(some)
    if not (rows["verdict"] == "ok").any():
        return
    (table,) = tables(rows, metric)
    ok = rows[rows["verdict"] == "ok"]
    best = ok.groupby("seq_len")[metric].agg("min" if METRICS[metric].better == "lower" else "max")
    undecided = ties(rows, metric)  # what cannot be told from the best: then nobody is crowned
    for column, length in enumerate(table.lengths):
        bold = {line.cells[column].value for line in table.lines if line.cells[column].best}
        tied = any(index in undecided for index in ok.index[ok["seq_len"] == length])
        crowned = {best[length]} if length in best.index and not tied else set()
        assert bold == crowned
    for line in table.lines:
        for cell in line.cells:
            assert math.isnan(cell.value) == (cell.verdict != "ok")


def test_lengths_go_across_and_backends_down_grouped_by_mechanism() -> None:
    forward, backward, *constant = tables(h100("1k..256k"))
    assert forward.lengths == tuple(1024 * 2**n for n in range(9))
    assert (forward.pass_name, backward.pass_name, len(constant)) == ("fwd", "fwdbwd", 2)
    mechanisms = [line.mechanism for line in forward.lines]
    assert len(set(mechanisms)) == sum(a != b for a, b in zip([None, *mechanisms], mechanisms, strict=False))
    eager = next(line for line in forward.lines if line.backend == "softmax_eager")
    assert [cell.text for cell in eager.cells[-4:]] == ["OOM", "skip", "skip", "skip"]


@given(st.floats(1e-12, 1e14))
@settings(deadline=None)
def test_numbers_are_short_and_right_to_three_digits(value: float) -> None:
    text = number(value)
    assert len(text) <= 7
    mantissa, suffix = re.fullmatch(r"([\d.]+(?:e-?\d+)?)([kMGT]?)", text).groups()  # type: ignore[union-attr]
    read = float(mantissa) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[suffix]
    assert read == pytest.approx(value, rel=0.0051 if value >= 1e-3 else 0.051)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.02664, "0.0266"), (9.238, "9.24"), (999.7, "1000"), (1536.4, "1536"), (12345, "12.3k"), (0.0, "0")],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def hostile() -> list[Table]:
    return tables(frame([row(time_ms=1.5, backend=ODD, mechanism="odd"), row(time_ms=2.5)]))


@pytest.mark.parametrize("width", [80, 120, 200])
def test_rich_fits_the_console_and_shows_every_length(width: int) -> None:
    file = io.StringIO()
    print_rich(tables(h100()), Console(file=file, width=width))
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "\u2026" not in text
    for length in ("1k", "16k", "256k"):
        assert len(re.findall(rf"\s{length}\b", text)) >= 4
    assert "*: best" in text


def test_rich_shows_names_as_they_are_and_the_best_in_bold() -> None:
    file = io.StringIO()
    print_rich(hostile(), Console(file=file, width=100, force_terminal=True, color_system="standard"))
    assert "[red]a_b|c&d%$x^2~{}\\" in file.getvalue()
    assert "\x1b[1m1.50" in file.getvalue()


def test_markdown_has_as_many_cells_in_every_line() -> None:
    for tabled in (hostile(), tables(h100())):
        for block in to_markdown(tabled).split("\n\n"):
            lines = [line for line in block.splitlines() if line.startswith("|")]
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) <= 1
    assert "**1.50**" in to_markdown(hostile())
    assert r"\[red\]a\_b\|c" in to_markdown(hostile())


def test_csv_parses_to_the_values_in_full() -> None:
    rows = h100("1k..64k")
    read = pd.read_csv(io.StringIO(to_csv(tables(rows))))
    ours = read[(read["backend"] == "lightning_triton") & (read["condition"] == "batch 1")]
    times = rows[(rows["backend"] == "lightning_triton") & (rows["batch"] == 1)].set_index(
        ["pass", "seq_len"]
    )
    for _, line in ours.iterrows():
        assert float(line["4096"]) == times.loc[(line["pass"], 4096), "time_ms"]
    assert "out_of_memory" in set(read["65536"])
    odd = list(csv.DictReader(io.StringIO(to_csv(hostile()))))
    assert ODD in [line["backend"] for line in odd]
    assert not any(None in line for line in odd)


def test_latex_is_balanced_and_escaped() -> None:
    text = to_latex([*hostile(), *tables(cpu(), "ns_per_token")])
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert r"{[}red]a\_b" in text or r"[red]a\_b" in text
    assert r"\textbf{1.50}" in text
    body = re.sub(r"\\[&%$#_{}]|\\textbackslash\{\}|\\text\w+\{\}|\$\\times\$", "", text)
    assert not re.search(r"[_#$^~]", body)
    assert body.count("{") == body.count("}")
    for line in text.splitlines():
        if line.endswith(r"\\"):
            assert len(re.findall(r"(?<!\\)&", line)) in (1, 5)


def test_doubts_are_marked_and_the_marks_explained() -> None:
    (table,) = tables(frame([row(time_ms=1.0, doubts="noisy; close other programs")]))
    assert table.lines[0].cells[0].text == "1.00?"
    assert "?: a row with a doubt" in table.legend


@pytest.mark.parametrize("metric", [*METRICS, RELATIVE])
def test_every_metric_has_a_table(metric: str) -> None:
    assert tables(h100("1k,2k", ("fwdbwd",)), metric)


def test_what_cannot_be_shown_is_an_error_in_one_line() -> None:
    with pytest.raises(UsageError, match="did you mean peak_mib"):
        tables(cpu(), "peak_mb")
    with pytest.raises(UsageError, match="no row has a peak_mib"):
        tables(cpu(), "peak_mib")


def test_rows_that_all_failed_still_give_a_table_of_verdicts() -> None:
    (table,) = tables(frame([row(verdict="out_of_memory"), row(verdict="wrong", backend="sdpa_flash")]))
    assert sorted(line.cells[0].text for line in table.lines) == ["OOM", "wrong"]


def test_failures_are_listed_below_with_the_command_that_runs_them_again() -> None:
    rows = made([("ok", 1.0), ("crashed", 1.0), ("crashed", 1.0), ("wrong", 1.0), ("unsupported", 1.0)])
    rows["reason"] = ["", "signal SIGSEGV", "signal SIGSEGV", "o is wrong", "no"]
    (table,) = tables(rows)
    wrong, crashed = table.failures
    assert crashed == ("b0, fwd, 1 x 2k (and 1 more): crashed: signal SIGSEGV", rows["reproduce"][1])
    assert wrong == ("b1, fwd, 1 x 1k: wrong: o is wrong", rows["reproduce"][3])
    text = io.StringIO()
    print_rich([table], Console(file=text, width=300))
    for shown in (text.getvalue(), to_markdown([table])):
        assert crashed[1] in shown
        assert "signal SIGSEGV" in shown


def test_backends_that_were_not_there_are_named_below_instead_of_given_a_line() -> None:
    there = row(time_ms=1.0)
    gone = row(backend="flash_attn3", mechanism="softmax", verdict="unsupported")
    (table,) = tables(frame([there, gone]))
    assert [line.backend for line in table.shown] == ["lightning_triton"]
    assert table.legend == "unsupported: FlashAttention-3"
    (alone,) = tables(frame([gone]))
    assert [line.backend for line in alone.shown] == ["flash_attn3"]
