"""Result folders: nothing written is lost, nothing broken is believed."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import make_row

import lbench
from lbench import frame
from lbench.errors import UsageError
from lbench.metrics import METRICS
from lbench.results import Row, Writer, read
from lbench.row import checksum


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = Writer(tmp_path / "out")
    for seq_len in (1024, 2048, 4096):
        writer.append(make_row(seq_len=seq_len))
    writer.append(make_row("out_of_memory", seq_len=8192))
    writer.document("environments", "e1", {"gpu": "a GPU", "torch": "2.13.0"})
    writer.document("runs", "r1", {"environment": "e1", "copy_bandwidth_gb_s": 100.0, "lbench_commit": "abc"})
    writer.close()
    return tmp_path / "out"


def test_what_is_written_is_read(folder: Path) -> None:
    results = read(folder)
    assert [row.verdict for row in results.rows.values()] == ["ok", "ok", "ok", "out_of_memory"]
    assert next(iter(results.rows.values())) == make_row(seq_len=1024)
    assert not results.problems


@given(st.floats(1e-9, 1e9), st.sampled_from(["ok", "wrong", "crashed"]), st.text(max_size=50))
def test_a_row_survives_its_line(time_ms: float, verdict: str, reason: str) -> None:
    row = make_row(verdict, time_ms)
    row = Row(**{**row.__dict__, "reason": reason})
    assert "\n" not in row.to_line()
    assert Row.from_line(row.to_line()) == row


def test_a_cut_off_last_line_is_told_and_the_rest_used(folder: Path) -> None:
    path = folder / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    results = read(folder)
    assert len(results.rows) == 3
    assert "line 4 is cut off" in results.problems[0]


def test_a_writer_cuts_the_torn_line_so_that_the_next_row_stands_alone(folder: Path) -> None:
    path = folder / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    writer = Writer(folder)
    writer.append(make_row(seq_len=16384))
    writer.close()
    results = read(folder)
    assert len(results.rows) == 4
    assert not results.problems


@pytest.mark.parametrize("position", [0.1, 0.5, 0.9])
def test_a_flipped_bit_is_found(folder: Path, position: float) -> None:
    path = folder / "rows.jsonl"
    data = bytearray(path.read_bytes())
    first_end = data.index(b"\n")
    data[int(first_end * position)] ^= 1
    path.write_bytes(bytes(data))
    results = read(folder)
    assert len(results.rows) == 3
    assert len(results.problems) == 1


def test_the_last_row_of_a_key_stands(folder: Path) -> None:
    writer = Writer(folder)
    writer.append(make_row("crashed", seq_len=1024))
    writer.close()
    assert read(folder).rows[make_row(seq_len=1024).case.key].verdict == "crashed"


def test_a_row_that_lacks_its_newline_alone_is_kept(folder: Path) -> None:
    path = folder / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    writer = Writer(folder)
    writer.append(make_row(seq_len=16384))
    writer.close()
    results = read(folder)
    assert len(results.rows) == 5
    assert not results.problems


def test_a_whole_line_of_a_newer_schema_outlives_a_writer(folder: Path) -> None:
    """It may be that only its newline was lost."""
    path = folder / "rows.jsonl"
    lines = path.read_text().splitlines()
    newer = json.dumps({**json.loads(lines[-1]), "schema": 99, "unheard_of": [1]})
    path.write_text("\n".join([*lines[:-1], newer]))
    Writer(folder).close()
    assert path.read_text().splitlines() == [*lines[:-1], newer]
    assert path.read_text().endswith("\n")


def test_a_folder_has_one_writer_at_a_time(folder: Path) -> None:
    writer = Writer(folder)
    with pytest.raises(UsageError, match="another run writes"):
        Writer(folder)
    writer.close()
    Writer(folder).close()


def test_a_row_that_the_disk_does_not_take_is_told_and_leaves_no_trace(folder: Path) -> None:
    before = (folder / "rows.jsonl").read_bytes()
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from rows import make_row\n"
        "from lbench.errors import WriteFailed; from lbench.results import Writer\n"
        f"writer = Writer(Path({str(folder)!r}))\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 100}, resource.RLIM_INFINITY))\n"
        "row = make_row(seq_len=16384)\n"
        "try: writer.append(row)\n"
        "except WriteFailed as error: sys.exit(0 if error.line == row.to_line() else 'another line')\n"
        "sys.exit('no error')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "rows.jsonl").read_bytes() == before


@given(st.data())
def test_whatever_happens_to_a_file_the_whole_rows_before_it_are_used(data: st.DataObject) -> None:
    rows = [make_row(seq_len=2**power) for power in range(4)]
    lines = [f"{row.to_line()}\n".encode() for row in rows]
    content = bytearray(b"".join(lines))
    where = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans(), label="flip rather than cut"):
        content[where] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[where:]
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "rows.jsonl").write_bytes(content)
        results = read(Path(name))
    whole = [row for row in rows if sum(map(len, lines[: rows.index(row) + 1])) <= where]
    assert [row for row in rows if row.case.key in results.rows][: len(whole)] == whole
    assert all(row == rows[row.case.seq_len.bit_length() - 1] for row in results.rows.values())


def test_a_damaged_document_is_told_and_the_rows_used(folder: Path) -> None:
    (folder / "environments" / "e1.json").write_bytes(b'{"gpu": "a G\xff')
    run = json.loads((folder / "runs" / "r1.json").read_text())
    (folder / "runs" / "r1.json").write_text(json.dumps({**run, "copy_bandwidth_gb_s": 900.0}))
    results = read(folder)
    assert len(results.rows) == 4
    assert len(results.problems) == 2
    assert not results.runs
    assert not results.environments


def test_a_cut_off_gzip_is_read_as_far_as_it_goes(folder: Path) -> None:
    path = folder / "rows.jsonl"
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(path.read_bytes() * 50)[:-200])
    path.unlink()
    results = read(folder)
    assert results.rows
    assert results.problems


def test_rows_of_the_first_schema_are_read(folder: Path) -> None:
    fields = json.loads(make_row().to_line())
    new = {
        "rounds",
        "blocks",
        "discarded",
        "protocol",
        "compile",
        "kernels",
        "deterministic",
        "energy",
        "spent",
    }
    old = {name: value for name, value in fields.items() if name not in {*new, "inputs_id", "checksum"}}
    old["schema"] = 1
    assert Row.from_line(json.dumps({**old, "checksum": checksum(old)})) == make_row()


def test_gzipped_rows_are_read(folder: Path) -> None:
    path = folder / "rows.jsonl"
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert len(read(folder).rows) == 4
    assert len(read(folder / "rows.jsonl.gz").rows) == 4


def test_a_folder_without_rows_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no rows\.jsonl"):
        read(tmp_path)


def test_only_an_ok_row_has_times() -> None:
    with pytest.raises(ValueError, match="has no times"):
        Row(**{**make_row().__dict__, "verdict": "wrong"})


def test_an_unknown_schema_is_told(folder: Path) -> None:
    path = folder / "rows.jsonl"
    line = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps({**line, "schema": 99}) + "\n")
    assert "schema 99" in read(folder).problems[0]


@pytest.mark.parametrize("l2", ["cold", "warm", None])
def test_a_frame_tells_how_samples_were_taken_and_how_many_do_not_count(folder: Path, l2: str | None) -> None:
    kept = read(folder)
    key, row = next(iter(kept.rows.items()))
    suite = {} if l2 is None else {"l2": l2}
    counted = dataclasses.replace(row, protocol="p", discarded={"host-bound": 2, "clock jump": 1})
    kept = dataclasses.replace(
        kept, rows={key: counted}, runs={row.run: {"suite": suite}}, protocols={"p": {"timer": "graph"}}
    )
    line = frame.of(kept).iloc[0]
    assert (line.l2, line.timer) == (l2 or "cold", "graph")
    assert line.discarded == "2 host-bound; 1 clock jump"


def test_a_frame_has_every_column_and_nan_where_there_is_no_time(folder: Path) -> None:
    frame = lbench.load(folder)
    assert list(frame.columns[:14]) == [
        *("suite", "backend", "mechanism", "pass", "device", "gpu", "dtype", "batch", "seq_len", "tokens"),
        *("heads", "head_dim", "head_dim_v", "decay"),
    ]
    times = ["time_ms", "time_ms_low", "time_ms_high"]
    assert list(frame.columns[14:20]) == ["verdict", "reason", *times, "samples"]
    others = [name for name in METRICS if name not in times]
    assert list(frame.columns[20 : 20 + len(others)]) == others
    ok, failed = frame.iloc[0], frame.iloc[3]
    assert ok.time_ms == pytest.approx(1.0045)
    assert ok.ns_per_token == pytest.approx(1.0045e6 / 1024)
    assert ok.workspace_mib == pytest.approx(0.5)
    assert ok.error_grad == 3e-3
    assert ok.floor_share == pytest.approx(ok.floor_ms / ok.time_ms)
    assert math.isnan(failed.time_ms)
    assert failed.samples == 0
