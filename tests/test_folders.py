"""Joining and cutting folders: nothing lost, nothing overwritten, conflicts told."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import make_row

from lbench.folders import merge
from lbench.results import Row, Writer, content_id, read
from lbench.validate import problems

H100, A100 = ({"gpu": name, "device": "cpu"} for name in ("H100", "A100"))


def write(folder: Path, rows: list[Row], run: str = "r1", machine: dict = H100) -> Path:
    writer = Writer(folder)
    writer.document("environments", content_id(machine), machine)
    writer.document("runs", run, {"environment": content_id(machine), "copy_bandwidth_gb_s": 100.0})
    writer.document("protocols", content_id({"l2": "cold"}), {"l2": "cold"})
    for row in rows:
        writer.append(dataclasses.replace(row, run=run, protocol=content_id({"l2": "cold"})))
    writer.close()
    return folder


def at(row: Row, minute: int) -> Row:
    return dataclasses.replace(row, started_at=f"2026-01-01T00:{minute:02d}:00Z")


def test_merged_folders_hold_all_rows_and_documents(cli, tmp_path: Path) -> None:
    one = write(tmp_path / "a", [make_row(seq_len=1024), make_row("crashed", seq_len=2048)])
    two = write(tmp_path / "b", [make_row(seq_len=4096)], run="r2", machine=A100)
    code, stdout, stderr = cli("merge", one, two, "-o", tmp_path / "c")
    assert (code, stderr) == (0, "")
    assert "3 cases" in stdout
    merged = read(tmp_path / "c")
    assert merged.rows == read(one).rows | read(two).rows
    assert merged.runs == read(one).runs | read(two).runs
    assert merged.environments == read(one).environments | read(two).environments
    assert merged.protocols == read(one).protocols
    assert not problems(tmp_path / "c")


def test_of_a_case_in_both_the_newest_row_stands_and_it_is_told(cli, tmp_path: Path) -> None:
    newer = write(tmp_path / "a", [at(make_row(time_ms=2.0), 7)])
    older = write(tmp_path / "b", [at(make_row(time_ms=1.0), 3)], run="r2")
    for folders, out in (((newer, older), "c"), ((older, newer), "d")):
        code, _, stderr = cli("merge", *folders, "-o", tmp_path / out)
        assert code == 0
        assert f"{make_row().case.key} is in 2 folders" in stderr
        (row,) = read(tmp_path / out).rows.values()
        assert row.times_ms[0] == 2.0
        assert len((tmp_path / out / "rows.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("verdict", ["ok", "wrong"])
def test_times_stand_unless_a_newer_verification_says_wrong(cli, tmp_path: Path, verdict: str) -> None:
    """Merged in either order, cut, and shown."""
    timed = write(tmp_path / "a", [at(make_row(), 3)])
    checked = write(tmp_path / "b", [], run="r2")
    with (checked / "rows.jsonl").open("w") as file:
        row = dataclasses.replace(make_row(verdict), run="r2", times_ms=(), enqueue_us=())
        assert row.only_verified == (verdict == "ok")
        print(at(row, 7).to_line(), file=file)
    for folders, out in (((timed, checked), "c"), ((checked, timed), "d")):
        code, _, stderr = cli("merge", *folders, "-o", tmp_path / out)
        assert code == 0
        told = "the newest row with times stands" if verdict == "ok" else "the newest row stands"
        assert f"in 2 folders; {told}" in stderr
        (row,) = read(tmp_path / out).rows.values()
        assert (row.verdict, bool(row.times_ms)) == (verdict, verdict == "ok")
        assert len((tmp_path / out / "rows.jsonl").read_text().splitlines()) == 2
        cut_out = tmp_path / f"{out}-part"
        assert cli("filter", tmp_path / out, "--verdict", verdict, "-o", cut_out)[0] == 0
        assert read(cut_out).rows == read(tmp_path / out).rows
        assert not problems(tmp_path / out)
        assert ("1.00" in cli("table", tmp_path / out)[1]) == (verdict == "ok")


def test_a_folder_merged_with_itself_is_itself(cli, tmp_path: Path) -> None:
    one = write(tmp_path / "a", [make_row(), make_row("failed", seq_len=2048)])
    assert cli("merge", one, one, "-o", tmp_path / "c") == (0, f"2 cases: {tmp_path / 'c'}\n", "")
    assert (tmp_path / "c" / "rows.jsonl").read_bytes() == (one / "rows.jsonl").read_bytes()


def test_one_case_on_two_machines_is_not_mixed_in_silence(cli, tmp_path: Path) -> None:
    one = write(tmp_path / "a", [make_row()])
    two = write(tmp_path / "b", [at(make_row(time_ms=3.0), 5)], run="r2", machine=A100)
    code, _, stderr = cli("merge", one, two, "-o", tmp_path / "c")
    assert code == 2
    assert "measured in two environments" in stderr
    assert not (tmp_path / "c").exists()
    assert cli("merge", one, two, "-o", tmp_path / "c", "--newest")[0] == 0
    assert next(iter(read(tmp_path / "c").rows.values())).times_ms[0] == 3.0


def test_one_case_before_and_after_memory_was_added_is_one_machine(cli, tmp_path: Path) -> None:
    one = write(tmp_path / "a", [make_row()], machine=H100 | {"memory_mib": 1})
    two = write(tmp_path / "b", [at(make_row(), 5)], run="r2", machine=H100 | {"memory_mib": 2})
    assert cli("merge", one, two, "-o", tmp_path / "c")[0] == 0
    assert len(read(tmp_path / "c").environments) == 2
    assert not problems(tmp_path / "c")


def test_what_was_damaged_is_told_and_left_behind(cli, tmp_path: Path) -> None:
    one = write(tmp_path / "a", [make_row(), make_row(seq_len=2048)])
    path = one / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    code, _, stderr = cli("merge", one, "-o", tmp_path / "c")
    assert code == 0
    assert "line 2 is cut off" in stderr
    assert not read(tmp_path / "c").problems


@pytest.mark.parametrize(
    ("options", "lengths"),
    [
        (("--backend", "lightning_eager"), [1024, 3000, 4096]),
        (("--seq", "2k..4k"), [3000, 4096]),
        (("--seq", "1k,3000"), [1024, 3000]),
        (("--verdict", "ok", "--seq", "1k..4k"), [1024, 4096]),
        (("--pass", "fwd", "--dtype", "bf16", "--mechanism", "lightning", "--run", "r1"), [1024, 3000, 4096]),
    ],
)
def test_a_part_of_a_folder(cli, tmp_path: Path, options: tuple[str, ...], lengths: list[int]) -> None:
    rows = [make_row(seq_len=1024), make_row("failed", seq_len=3000), make_row(seq_len=4096)]
    rows += [make_row(seq_len=4096, backend="softmax_eager", mechanism="softmax", pass_name="bwd")]
    whole = write(tmp_path / "a", rows)
    code, _, stderr = cli("filter", whole, *options, "-o", tmp_path / "b")
    assert (code, stderr) == (0, "")
    part = read(tmp_path / "b")
    assert [row.case.seq_len for row in part.rows.values() if row.case.pass_name == "fwd"] == lengths
    assert part.rows.items() <= read(whole).rows.items()
    assert not problems(tmp_path / "b")


VERDICT = st.sampled_from(["ok", "wrong", "crashed"])


@given(histories=st.lists(st.tuples(st.sampled_from([1, 2]), VERDICT, st.integers(0, 9)), min_size=1))
def test_a_part_holds_rows_that_stand_with_their_history(histories: list[tuple[int, str, int]]) -> None:
    """Whatever was measured again, and whenever a clock says it was."""
    from lbench.folders import cut

    rows = [at(make_row(verdict, seq_len=length), minute) for length, verdict, minute in histories]
    with tempfile.TemporaryDirectory() as name:
        whole = write(Path(name) / "a", rows)
        standing = read(whole).rows
        if not (wanted := {key: row for key, row in standing.items() if row.verdict == "ok"}):
            return
        cut(whole, Path(name) / "b", lambda row: row.verdict == "ok")
        assert read(Path(name) / "b").rows == wanted
        lines = (whole / "rows.jsonl").read_text().splitlines()
        kept = [line for line in lines if json.loads(line)["key"] in wanted]
        assert (Path(name) / "b" / "rows.jsonl").read_text().splitlines() == kept


MINUTES = st.lists(st.integers(0, 9), max_size=5)


@given(first=MINUTES, second=MINUTES, shared=st.integers(0, 5))
def test_merging_keeps_the_order_of_each_folder(first: list[int], second: list[int], shared: int) -> None:
    """Also where a clock was set back, and where one folder goes on from lines of the other."""

    def rows(minutes: list[int], seed: int) -> list[Row]:
        return [at(make_row("failed", seq_len=i + 1, seed=seed), m) for i, m in enumerate(minutes)]

    one = rows(first, 1)
    other = one[:shared] + rows(second, 2)
    if not one or not other:
        return
    with tempfile.TemporaryDirectory() as name:
        folders = [write(Path(name) / "a", one), write(Path(name) / "b", other)]
        merge(folders, Path(name) / "c")
        lines = (Path(name) / "c" / "rows.jsonl").read_text().splitlines()
        assert len(lines) == len(set(lines))
        for folder in folders:
            own = (folder / "rows.jsonl").read_text().splitlines()
            assert [line for line in lines if line in own] == own


def test_a_row_that_a_clock_set_back_made_look_older_still_stands(tmp_path: Path) -> None:
    one = write(tmp_path / "a", [at(make_row(), 7), at(make_row("wrong"), 3)])
    two = write(tmp_path / "b", [at(make_row(seq_len=2048), 5)], run="r2")
    merge([one, two], tmp_path / "c")
    assert read(tmp_path / "c").rows[make_row().case.key].verdict == "wrong"


def test_runs_whose_rows_were_measured_again_are_known(cli, tmp_path: Path) -> None:
    whole = write(tmp_path / "a", [make_row()])
    write(whole, [make_row("wrong")], run="r2")
    for options in (("--run", "r1"), ("--verdict", "ok")):
        code, _, stderr = cli("filter", whole, *options, "-o", tmp_path / "b")
        assert code == 2
        assert "no row that stands" in stderr
    assert cli("filter", whole, "--run", "r2", "-o", tmp_path / "b")[0] == 0
    assert not problems(tmp_path / "b")


def test_of_a_folder_without_rows_there_is_no_part(cli, tmp_path: Path) -> None:
    empty = write(tmp_path / "a", [])
    for options in ((), ("--verdict", "ok")):
        code, _, stderr = cli("filter", empty, *options, "-o", tmp_path / "b")
        assert code == 2
        assert "holds no rows; let `lbench run` finish a case first" in stderr


@pytest.mark.parametrize("command", ["merge", "filter"])
def test_what_to_do_on_a_full_disk_is_what_works(cli, tmp_path: Path, command: str) -> None:
    whole, out = write(tmp_path / "a", [make_row()]), tmp_path / "a part"
    # Bytecode that is cut off by the limit would be there to stay.
    lbench = (sys.executable, "-B", "-m", "lbench", command, whole, "--out", out)
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *map(str, lbench)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode == 1, done.stderr
    assert f"make room, then remove '{out}' and give the same command again" in done.stderr
    shutil.rmtree(out)
    assert cli(*lbench[4:])[0] == 0


def test_bad_choices_are_one_line(cli, tmp_path: Path) -> None:
    whole = write(tmp_path / "a", [make_row()])
    for arguments, message in (
        (
            ("filter", whole, "--backend", "lightning_eagre", "-o", tmp_path / "b"),
            "did you mean lightning_eager",
        ),
        (("filter", whole, "--seq", "8k", "-o", tmp_path / "b"), "no row"),
        (("filter", whole, "--seq", "x", "-o", tmp_path / "b"), "no whole number"),
        (("filter", whole, "-o", whole), "nothing is overwritten"),
        (("merge", whole, "-o", whole), "nothing is overwritten"),
        (("merge", tmp_path / "none", "-o", tmp_path / "b"), "holds no rows.jsonl"),
    ):
        code, stdout, stderr = cli(*arguments)
        assert (code, stdout) == (2, ""), arguments
        assert message in stderr
        assert len(stderr.splitlines()) == 1
        assert not (tmp_path / "b").exists()
