"""Export: one line a row, the documented columns first, nothing lost on the way."""

from __future__ import annotations

import importlib.util
import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from plot.synthetic import h100
from rows import make_row

import lbench
from lbench import export
from lbench.errors import UsageError
from lbench.results import Writer

DOCUMENTED = re.findall(
    r"\w+",
    """
    suite backend mechanism pass device gpu dtype batch seq_len tokens heads head_dim head_dim_v decay
    verdict reason time_ms time_ms_low time_ms_high samples ns_per_token tokens_per_s enqueue_us compile_s
    peak_mib workspace_mib error_out error_grad error_block floor_ms floor_share lbench_commit torch triton
    driver started_at reproduce
    """,
)
"""What programs that read exports rely on."""


@pytest.fixture
def rows() -> pd.DataFrame:
    made = h100("1k..64k", ("fwd",))
    made.loc[0, "reason"] = 'a "quoted", multi\nline reason'
    return made


def test_documented_columns_are_there_in_the_order_of_the_frame(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.append(make_row())
    writer.close()
    frame = lbench.load(tmp_path)
    header = export.to_csv(frame).splitlines()[0].split(",")
    assert header == list(frame.columns)
    assert set(DOCUMENTED) <= set(header)
    assert header[:4] == ["suite", "backend", "mechanism", "pass"]


def test_csv_reads_back_to_the_same_numbers(rows: pd.DataFrame) -> None:
    read = pd.read_csv(io.StringIO(export.to_csv(rows)), keep_default_na=False, na_values=[""])
    assert len(read) == len(rows)
    for column in ("time_ms", "peak_mib", "seq_len"):
        pd.testing.assert_series_equal(read[column], rows[column], check_exact=True)
    assert read.loc[0, "reason"] == rows.loc[0, "reason"]


def test_json_is_strict_and_one_row_a_line(rows: pd.DataFrame) -> None:
    text = export.to_json(rows)
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert len(read) == len(rows) == len(text.splitlines()) - 2
    failed = next(row for row in read if row["verdict"] == "out_of_memory")
    assert failed["time_ms"] is None
    assert isinstance(failed["seq_len"], int)
    assert [row["time_ms"] for row in read if row["verdict"] == "ok"] == rows["time_ms"].dropna().tolist()


def test_an_empty_frame_is_still_json(rows: pd.DataFrame) -> None:
    assert json.loads(export.to_json(rows.iloc[:0])) == []


def test_parquet_without_pyarrow_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, rows: pd.DataFrame
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'lbench\[parquet\]'"):
        export.to_parquet(rows)


def test_parquet_reads_back(rows: pd.DataFrame) -> None:
    pytest.importorskip("pyarrow")
    read = pd.read_parquet(io.BytesIO(export.to_parquet(rows)))
    assert list(read.columns) == list(rows.columns)
    assert read["time_ms"].tolist() == pytest.approx(rows["time_ms"].tolist(), nan_ok=True)


def test_a_file_that_cannot_be_written_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose another --out"):
        export.write("text", tmp_path / "missing" / "rows.csv")
