"""`lbench watch`: every row of a sweep that another process writes, each once, until it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rows import make_row

from lbench.follow import Follower
from lbench.results import Writer
from lbench.row import checksum

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    made = Writer(tmp_path / "run")
    made.document("runs", "r1", {"started_at": "2026-01-01T00:00:00Z", "cases": 3})
    return made


def test_a_row_is_read_once_and_only_when_its_line_is_whole(writer: Writer) -> None:
    follower = Follower(writer.folder)
    assert follower.new_rows() == []
    writer.append(make_row())
    assert [row.case.seq_len for row in follower.new_rows()] == [1024]
    line = make_row(seq_len=2048).to_line()
    with (writer.folder / "rows.jsonl").open("a") as file:
        file.write(line[:50])
        file.flush()
        assert follower.new_rows() == []
        file.write(line[50:] + "\nnot a row\n")
    assert [row.case.seq_len for row in follower.new_rows()] == [2048]
    assert follower.new_rows() == []


def test_it_knows_whether_a_run_is_alive(writer: Writer) -> None:
    follower = Follower(writer.folder)
    assert follower.is_written()
    writer.close()
    assert not follower.is_written()


def test_it_follows_until_the_run_ends(cli: Cli, writer: Writer) -> None:
    def run() -> None:
        for length in (1024, 2048, 4096):
            time.sleep(0.15)
            writer.append(make_row(seq_len=length))
        writer.document("runs", "r1", {"started_at": "2026-01-01T00:00:00Z", "cases": 3, "spent": {}})
        writer.close()

    other = threading.Thread(target=run)
    other.start()
    code, out, err = cli("watch", writer.folder, "--interval", "0.05")
    other.join()
    assert code == 0
    assert [line.partition("]")[0] for line in out.splitlines()] == ["[1/3", "[2/3", "[3/3"]
    assert err == "ended: 3 ok\n"


def test_a_sweep_that_was_stopped_is_told_so(cli: Cli, writer: Writer) -> None:
    writer.append(make_row("crashed"))
    writer.close()
    code, out, err = cli("watch", writer.folder)
    assert (code, err) == (0, "not running: 1 crashed\n")
    assert out == "[1/3] lightning_eager fwd 1 x 1k: crashed: because\n"


STRANGE = ["yesterday", "2026-01-01T00:00:00", "", 5, None, [1]]


@pytest.mark.parametrize("started_at", STRANGE)
@pytest.mark.parametrize("cases", [3, "three", None, float("nan")])
def test_what_a_document_or_a_row_says_of_its_time_may_be_anything(
    cli: Cli, tmp_path: Path, started_at: object, cases: object
) -> None:
    writer = Writer(tmp_path / "run")
    writer.document("runs", "r1", {"started_at": started_at, "cases": cases})
    writer.append(make_row("failed"))
    fields = json.loads(make_row("failed", seq_len=2048).to_line()) | {"started_at": started_at}
    del fields["checksum"]
    writer.append_line(json.dumps(fields | {"checksum": checksum(fields)}))
    writer.close()
    for command in (("watch", writer.folder), ("show", writer.folder)):
        code, out, _ = cli(*command)
        assert code == 0
        assert "failed: because" in out


def test_a_folder_without_rows_is_refused(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("watch", tmp_path)
    assert code == 2
    assert "the folder that `lbench run` writes to" in err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_signs_that_a_terminal_lacks_are_shown_plainly(writer: Writer, encoding: str) -> None:
    writer.append(make_row())
    writer.close()
    done = subprocess.run(
        [sys.executable, "-m", "lbench", "watch", str(writer.folder)],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=True,
    )
    text = done.stdout.decode(encoding)
    assert ("+-" if encoding == "ascii" else "\u00b1") in text
    assert "\\x" not in text
    assert "?" not in text
