"""Tables of models: every size and family of a setting in one, the best of each size, ratios from speeds."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from models.scripted import row_of, rows_of, write
from rows import make_row

import lbench
from lbench.errors import UsageError
from lbench.report.compared import compared_rows, compared_tables
from lbench.report.crossovers import crossovers
from lbench.report.model_tables import model_tables
from lbench.report.table_formats import to_csv, to_markdown
from lbench.report.tables import Table
from lbench.report.values import RELATIVE
from lbench.validate import problems

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the commands of a plan leave them once merged: each case once, in no order."""
    kept = rows_of("models-train", "models-train-more", "models-fast", "models-serve")
    return write(tmp_path_factory.mktemp("models") / "rows", kept[1::2] + kept[::2])


@pytest.fixture(scope="module")
def rows(folder: Path) -> pd.DataFrame:
    return lbench.load(folder)


def test_one_table_holds_all_sizes_of_a_setting(rows: pd.DataFrame) -> None:
    trained = [table for table in model_tables(rows) if table.pass_name == "train"]
    assert len(trained) == 3, "block, and none and selective at 1b"
    (table,) = (one for one in trained if "checkpoint block" in one.setting)
    assert table.metric == "tokens_per_s"
    assert list(dict.fromkeys(line.model for line in table.lines)) == [
        *("llama-385m", "tnl-385m", "llama-1b", "tnl-1b", "llama-3b", "tnl-3b")
    ]
    assert {81920, 94208, 131072} <= set(table.lengths)
    for told in (
        "131,072 tokens a step",
        "65,536 tokens a step (3b)",
        "one sequence a step at 80k, 92k, 128k",
    ):
        assert told in table.legend


def test_every_cell_is_the_row_it_names(rows: pd.DataFrame) -> None:
    """At a length of several batches the fastest; nothing is lost, nothing invented."""
    for table in model_tables(rows):
        told = [part for part in table.setting.split(", ") if part.startswith("checkpoint ")]
        checkpoint = told[0].removeprefix("checkpoint ") if told else "none"
        for line in table.lines:
            for length, cell in zip(table.lengths, line.cells, strict=True):
                of = rows[
                    (rows["model"] == line.model)
                    & (rows["backend"] == line.backend)
                    & (rows["pass"] == table.pass_name)
                    & (rows["seq_len"] == length)
                    & (rows["checkpoint"] == checkpoint)
                ]
                if table.condition:
                    of = of[of["batch"] == int(table.condition.removeprefix("batch "))]
                values = of.loc[of["verdict"] == "ok", table.metric]
                if cell.verdict == "ok":
                    assert cell.value == (values.max() if table.better == "higher" else values.min())
                else:
                    assert not len(values)
                    assert cell.verdict in (*of["verdict"], "")


@pytest.mark.parametrize(
    ("pass_name", "differs"),
    [
        ("train", {"attention": "sdpa_math"}),
        ("train", {"seed": 1}),
        ("train", {"backend": "lightning_authors"}),
        ("train", {"checkpoint": "block"}),
        ("prefill", {"attention": "sdpa_math"}),
        ("prefill", {"prefill_chunk": 512}),
        ("decode", {"attention": "sdpa_math"}),
        ("decode", {"batch": 2}),
        ("decode", {"dtype": "fp16"}),
    ],
)
def test_whatever_differs_in_a_key_has_a_cell_of_its_own(
    tmp_path: Path, pass_name: str, differs: dict[str, object]
) -> None:
    """And the quicker of both is the best of its table, whichever was measured last."""
    from lbench import models

    case = models.fields_of("minimax-tiny", "lightning_triton", "lightning", "native", "", "cuda")
    case = dataclasses.replace(case, pass_name=pass_name)
    cases = [case, dataclasses.replace(case, **differs)]
    kept = [row_of(one, times_ms=(time_ms,) * 10) for one, time_ms in zip(cases, (5.0, 50.0), strict=True)]
    kept = [dataclasses.replace(row, rounds=()) for row in kept]
    for number, order in enumerate((kept, kept[::-1])):
        rows = lbench.load(write(tmp_path / str(number), order))
        for made in (model_tables(rows, "time_ms"), compared_tables(rows, "time_ms")):
            cells = {
                (table.setting, table.condition, line.model, line.title): line.cells[0]
                for table in made
                for line in table.lines
            }
            assert sorted(cell.value for cell in cells.values()) == [5.0, 50.0]
            assert all(cell.best for cell in cells.values() if cell.value == 5.0)


def test_the_best_is_that_of_its_size(rows: pd.DataFrame) -> None:
    for table in model_tables(rows):
        for size in {line.model.rpartition("-")[2] for line in table.lines}:
            lines = [line for line in table.lines if line.model.endswith(f"-{size}")]
            for cells in zip(*(line.cells for line in lines), strict=True):
                values = [cell.value for cell in cells if not math.isnan(cell.value)]
                best = (max if table.better == "higher" else min)(values, default=math.nan)
                assert all(cell.value == best for cell in cells if cell.best)


def test_speed_over_the_baseline_is_a_ratio_of_tokens_a_second(rows: pd.DataFrame) -> None:
    """Also where a step of one has other tokens than that of the other."""
    made = model_tables(rows, RELATIVE, "flash_attn2")
    speeds = {(one.setting, one.condition, one.pass_name): one for one in model_tables(rows, "tokens_per_s")}
    compared = 0
    for table in made:
        named = {
            (line.model, line.backend): line.cells
            for line in speeds[table.setting, table.condition, table.pass_name].lines
        }
        for line in table.lines:
            base = named[f"llama-{line.model.partition('-')[2]}", "flash_attn2"]
            for cell, own, other in zip(line.cells, named[line.model, line.backend], base, strict=True):
                wanted = own.value / other.value
                assert math.isnan(cell.value) == math.isnan(wanted)
                assert math.isnan(wanted) or cell.value == pytest.approx(wanted)
                compared += not math.isnan(wanted)
    assert compared > 100


def test_unlike_batches_are_no_tie(tmp_path: Path) -> None:
    """A step of twice the tokens takes twice the time: who is faster a token is not told by times."""
    kept = [
        row for row in rows_of("models-fast") if row.case.checkpoint == "none" and row.case.seq_len == 1024
    ]
    twice = [
        row_of(dataclasses.replace(row.case, batch=2 * row.case.batch))
        if row.case.model == "llama-1b"
        else row
        for row in kept
    ]
    (table,) = model_tables(lbench.load(write(tmp_path / "rows", twice)))
    (best,) = (line for line in table.lines if line.cells[0].best)
    assert best.model == "tnl-1b"
    assert all(math.isnan(line.cells[0].could_see) for line in table.lines)


def test_formats_name_the_model(rows: pd.DataFrame) -> None:
    table = model_tables(rows)[0]
    assert "| model | backend | 1k |" in to_markdown([table])
    lines = list(csv.DictReader(io.StringIO(to_csv([table]))))
    assert {(line["model"], line["mechanism"]) for line in lines} >= {("tnl-1b", "lightning")}


def test_a_speed_on_a_cpu_is_none_of_a_gpu(tmp_path: Path) -> None:
    from lbench import models

    case = models.fields_of("tnl-tiny", "lightning_eager", "lightning", "native", "", "cpu")
    (table,) = model_tables(lbench.load(write(tmp_path / "rows", [row_of(case)])))
    assert table.title == "Training step: tokens/s, higher is better"


def test_no_row_with_the_metric_is_one_line(rows: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="shows another quantity"):
        model_tables(rows[rows["pass"] == "decode"], "optimizer_mib")


def test_the_command_prints_it_and_validate_recomputes_it(
    folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = cli("table", folder, "--pass", "train")
    assert code == 0
    assert "Training step: tokens a GPU and second, higher is better" in out
    assert max(len(line) for line in out.splitlines() if "lbench run" not in line) <= 80
    code, out, _ = cli("table", folder, "--pass", "train", "--format", "markdown")
    notes = folder / "NOTES.md"
    notes.write_text(out)
    report = folder / "report.md"
    assert cli("report", folder, "--format", "markdown", "--out", report)[0] == 0
    assert problems(folder) == []
    report.unlink()
    notes.write_text(out.replace("| tnl-1b | Lightning", "| tnl-3b | Lightning", 1))
    assert any("is not what the samples give" in one for one in problems(folder))
    notes.unlink()


def test_models_of_one_size_are_set_against_each_other(rows: pd.DataFrame) -> None:
    made = compared_tables(rows, "ns_per_token")
    assert all({line.model.rpartition("-")[2] for line in table.lines} == {size_in(table)} for table in made)
    (block,) = (
        table
        for table in made
        if (table.pass_name, table.condition) == ("train", "1b") and "checkpoint block" in table.setting
    )
    assert {line.model for line in block.lines} == {"tnl-1b", "llama-1b"}
    assert len({line.title for line in block.lines}) == len(block.lines)
    assert {one.faster for one in crossovers(block)} <= {"tnl-1b", "llama-1b"}
    swept = list(compared_rows(rows))
    assert sorted(condition.title for condition in swept) == sorted(table.condition for table in made)


def size_in(table: Table) -> str:
    return table.condition.partition(",")[0]


def test_only_the_models_asked_for(folder: Path, tmp_path: Path, cli: Cli) -> None:
    code, out, _ = cli(
        "table", folder, "--pass", "train", "--model", "tnl-1b,llama-1b", "--format", "markdown"
    )
    assert code == 0
    assert {line.split(" | ")[0] for line in out.splitlines() if "-1b" in line} == {"| tnl-1b", "| llama-1b"}
    assert not any(name in out for name in ("tnl-385m", "llama-3b"))
    part = tmp_path / "part"
    assert cli("filter", folder, "--model", "tnl-1b", "--out", part)[0] == 0
    assert set(lbench.load(part).model) == {"tnl-1b"}
    assert cli("plot", folder, "--model", "tnl-1b", "--pass", "train", "--out", part / "figures")[0] == 0
    assert cli("plot", part, "--model", "tnl-1b", "--pass", "train", "--metric", "tokens_per_s")[0] == 0
    assert problems(part, figures=True) == []


@pytest.mark.parametrize("command", ["table", "plot", "filter"])
def test_a_model_that_is_not_there_is_told(command: str, folder: Path, tmp_path: Path, cli: Cli) -> None:
    out = ["--out", tmp_path / "part"] if command != "table" else []
    code, _, error = cli(command, folder, "--model", "tnl-2b", *out)
    assert (code, "did you mean tnl-" in error) == (2, True)
    kernels = write(tmp_path / "kernels", [make_row(time_ms=2.0)])
    code, _, error = cli(command, kernels, "--model", "tnl-1b", *out)
    assert code == 2
    assert "no row of a model" in error
