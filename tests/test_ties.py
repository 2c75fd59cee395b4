"""Tables crown nobody who cannot be told from another."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from rows import make_row

import lbench
from lbench import ratios
from lbench.report.tables import Table, tables
from lbench.report.ties import noise_of, ratio_of, ties
from lbench.results import Row, Writer

ROUNDS = (0, 2, 4, 6, 8)
DRIFT = (1.0, 1.1, 1.2, 1.05, 0.95)
LUCK = (1.001, 0.999, 1.0005, 1.0, 0.9995)


def row(backend: str, time_ms: float, luck: tuple[float, ...] = LUCK, twin: float | None = None) -> Row:
    """A row of five rounds that drift, each with some luck of its own."""
    mechanism = "softmax" if backend.startswith("sd") else "lightning"
    rounds = [time_ms * drift * own for drift, own in zip(DRIFT, luck, strict=True)]
    times_ms = tuple(time for one in rounds for time in (one, one))
    second = (
        {"times_ms": [twin * drift * 2 for drift in DRIFT for _ in "ab"], "rounds": list(ROUNDS)}
        if twin
        else {}
    )
    plain = make_row(backend=backend, mechanism=mechanism)
    return dataclasses.replace(plain, times_ms=times_ms, rounds=ROUNDS, twin=second)


def tabled(folder: Path, *rows: Row) -> Table:
    writer = Writer(folder)
    for one in rows:
        writer.append(one)
    writer.close()
    (table,) = tables(lbench.load(folder))
    return table


def texts(table: Table) -> dict[str, tuple[str, bool]]:
    return {line.backend: (line.cells[0].text, line.cells[0].best) for line in table.lines}


def test_a_difference_smaller_than_the_drift_is_seen_where_it_is_paired(tmp_path: Path) -> None:
    table = tabled(tmp_path, row("lightning_eager", 1.0), row("sdpa_flash", 1.03, (1.0,) * 5))
    assert [best for _, best in texts(table).values()].count(True) == 1
    assert texts(table)["lightning_eager"][1]
    assert "~" not in table.legend


def test_equal_ones_are_marked_and_neither_is_crowned(tmp_path: Path) -> None:
    unlucky = (0.9995, 1.001, 1.0, 0.999, 1.0005)
    table = tabled(
        tmp_path,
        row("lightning_eager", 1.0),
        row("sdpa_flash", 1.0005, unlucky),
        row("lightning_triton", 2.0),
    )
    found = texts(table)
    assert not any(best for _, best in found.values())
    assert found["lightning_eager"][0].endswith("~")
    assert found["sdpa_flash"][0].endswith("~")
    assert not found["lightning_triton"][0].endswith("~")
    assert "~: no difference seen from the best (could see " in table.legend
    assert " %)" in table.legend


def test_the_twin_of_the_group_sets_the_noise_floor(tmp_path: Path) -> None:
    quiet = tabled(tmp_path / "quiet", row("lightning_eager", 1.0), row("sdpa_flash", 1.03))
    # A twin that came out 6 % slower each time: nothing below that can be told apart.
    loud = tabled(
        tmp_path / "loud", row("lightning_eager", 1.0, twin=0.53), row("sdpa_flash", 1.03, LUCK[::-1])
    )
    assert texts(quiet)["lightning_eager"][1]
    assert not texts(loud)["lightning_eager"][1]
    frame = lbench.load(tmp_path / "loud")
    assert noise_of(frame).spread == pytest.approx(0.058, abs=0.002)
    first, second = (frame.iloc[index] for index in (0, 1))
    assert not ratio_of(first, second, noise_of(frame)).differs


@pytest.mark.parametrize("rounds", [(), (0, 1)])
@pytest.mark.parametrize("count", [1, 2])
def test_few_samples_crown_nobody(tmp_path: Path, count: int, rounds: tuple[int, ...]) -> None:
    few = [
        dataclasses.replace(row(name, 1.0), times_ms=(time_ms,) * count, rounds=rounds[:count])
        for name, time_ms in (("lightning_eager", 6000.0), ("sdpa_flash", 9000.0))
    ]
    table = tabled(tmp_path, *few)
    assert not any(best for _, best in texts(table).values())
    assert "~: no difference seen from the best (could see nothing: too few samples)" in table.legend
    frame = lbench.load(tmp_path)
    assert frame[["time_ms_low", "time_ms_high"]].isna().all(axis=None)


def test_rows_of_two_runs_are_not_paired(tmp_path: Path) -> None:
    other = dataclasses.replace(row("sdpa_flash", 1.03), run="r2")
    table = tabled(tmp_path, row("lightning_eager", 1.0), other)
    assert texts(table)["sdpa_flash"][0].endswith("~")


def test_a_metric_that_is_no_time_knows_no_ties(tmp_path: Path) -> None:
    tabled(tmp_path, row("lightning_eager", 1.0), row("sdpa_flash", 1.0))
    assert ties(lbench.load(tmp_path), "peak_mib") == {}


def test_a_ratio_reads_as_a_sentence() -> None:
    assert str(ratios.unpaired((1.0, 0.98, 1.02), (1.0, 0.98, 1.02))).startswith(
        "no difference seen (could see "
    )
    assert "times (95 %: " in str(ratios.unpaired((2.0, 1.98, 2.02), (1.0, 0.98, 1.02)))


def test_a_row_with_a_twin_reads_back(tmp_path: Path) -> None:
    one = row("lightning_eager", 1.0, twin=0.5)
    assert Row.from_line(one.to_line()) == one
    assert json.loads(one.to_line())["twin"]["rounds"] == list(ROUNDS)
