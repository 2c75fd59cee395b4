"""The replay device: kept rows come back through the very path of a measurement, changed as a script says."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import make_row

from lbench import results
from lbench.replay_clock import ReplayClock, Script
from lbench.results import Row, Writer, content_id
from lbench.statistics import median

MACHINE = {"device": "cuda", "gpu": "NVIDIA H100", "cpu": "a CPU", "gpu_memory_mib": 80_000}
AXES = ("--pass", "fwd", "--batch", 1)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Rows of three verdicts, as a card would have given them."""
    writer = Writer(tmp_path / "kept")
    writer.document("environments", content_id(MACHINE), MACHINE)
    writer.document("runs", "r1", {"environment": content_id(MACHINE), "copy_bandwidth_gb_s": 3000.0})
    for backend, mechanism in (("lightning_eager", "lightning"), ("softmax_eager", "softmax")):
        for length in (1024, 2048):
            row = make_row(backend=backend, mechanism=mechanism, seq_len=length, device="cuda")
            writer.append(dataclasses.replace(row, times_ms=row.times_ms * 7, deterministic=True))
    writer.append(make_row("out_of_memory", seq_len=4096, device="cuda"))
    writer.append(make_row("crashed", seq_len=512, device="cuda"))
    writer.close()
    return tmp_path / "kept"


def replayed(cli, kept: Path, *arguments: object, seq: str = "512..8k") -> dict[str, Row]:
    out = kept.parent / "out"
    backends = ("--backend", "lightning_eager,softmax_eager", *AXES, "--seq", seq)
    command = ("run", *backends, "--device", f"replay:{kept}", "--out", out, "--in-process", *arguments)
    code, _, stderr = cli(*command)
    assert code == 0, stderr
    return results.read(out).rows


def test_rows_come_back_as_they_were_kept(cli, kept: Path) -> None:
    before, after = results.read(kept).rows, replayed(cli, kept)
    same = ("verdict", "reason", "memory", "errors", "enqueue_us", "first_call_s", "deterministic")
    for key in ("lightning_eager,fwd,b1,t512", "lightning_eager,fwd,b1,t1024", "softmax_eager,fwd,b1,t2048"):
        key += ",h16,d128,bf16,cuda"
        assert {name: getattr(after[key], name) for name in same} == {
            name: getattr(before[key], name) for name in same
        }
        assert after[key].times_ms == before[key].times_ms
    assert {row.verdict for key, row in after.items() if key not in before} == {"unavailable", "skipped"}


def test_a_replay_names_itself_and_is_not_mixed_with_measurements(cli, kept: Path) -> None:
    replayed(cli, kept)
    (environment,) = results.read(kept.parent / "out").environments.values()
    assert environment["gpu"] == "NVIDIA H100 (replay)"
    again = ("--backend", "lightning_eager", *AXES, "--seq", "1k", "--device", f"replay:{kept}")
    code, _, stderr = cli("run", *again, "--out", kept, "--resume", "--in-process")
    assert code == 2
    assert "another environment" in stderr


def test_a_replay_is_resumed_drawn_and_tabulated(cli, kept: Path) -> None:
    first = replayed(cli, kept, seq="1k")
    assert first.items() <= replayed(cli, kept, "--resume").items()
    out = kept.parent / "out"
    assert cli("plot", out, "--metric", "time_ms")[0] == 0
    code, table, _ = cli("table", out)
    assert code == 0
    command = "lbench run --case lightning_eager,fwd,b1,t512,h16,d128,bf16,cuda --device replay:FOLDER"
    assert command in " ".join(table.split())
    assert cli("validate", out)[0] == 0
    assert cli("validate", kept)[0] == 0


def test_what_a_replay_says_to_do_answers_as_it_did(cli, kept: Path) -> None:
    command = ("run", "--backend", "lightning_eager", *AXES, "--seq", "512", "--in-process")
    code, _, stderr = cli(*command, "--device", f"replay:{kept}", "--out", kept.parent / "out")
    assert code == 0
    (told,) = [line for line in stderr.splitlines() if line.startswith("    lbench run --case")]
    again = shlex.split(told)[1:]
    assert cli(*again, "--in-process", "--out", kept.parent / "again")[0] == 0
    verdicts = {row.verdict for row in results.read(kept.parent / "again").rows.values()}
    assert verdicts == {"crashed"}


def test_a_worker_process_answers_as_this_one_and_imports_no_torch(cli, kept: Path) -> None:
    inside = replayed(cli, kept)
    out = kept.parent / "other"
    command = [sys.executable, "-X", "importtime", "-m", "lbench", "run", "--out", str(out)]
    command += ["--backend", "lightning_eager,softmax_eager", *map(str, AXES), "--seq", "512..8k"]
    done = subprocess.run(
        [*command, "--device", f"replay:{kept}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    outside = results.read(out).rows
    assert {key: (row.verdict, row.times_ms) for key, row in outside.items()} == {
        key: (row.verdict, row.times_ms) for key, row in inside.items()
    }
    assert "| torch" not in done.stderr


def test_a_script_stands_alone_and_its_last_match_wins(cli, kept: Path) -> None:
    alone = kept.parent / "alone"
    alone.mkdir()
    (alone / "replay.toml").write_text(
        "copy_bandwidth_gb_s = 2000.0\n"
        "[[case]]\ntimes_ms = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]\n"
        '[[case]]\nmatch = "softmax_*"\ntimes_ms = [4.0, 4.0, 4.0, 4.0, 4.0, 4.0]\nslowdown = 2.0\n'
        '[[case]]\nmatch = "*,t2048,*"\nverdict = "timeout"\nreason = "too slow"\n'
    )
    rows = {(row.case.backend, row.case.seq_len): row for row in replayed(cli, alone, seq="1k..4k").values()}
    assert rows["lightning_eager", 1024].times_ms == (1.0,) * 6
    assert rows["softmax_eager", 1024].times_ms == (4.0, 4.0, 4.0, 8.0, 8.0, 8.0)
    assert rows["lightning_eager", 2048].reason == "too slow"
    assert rows["softmax_eager", 4096].reason.startswith("timeout already at 2k")


def test_noise_is_drawn_from_the_samples_with_a_seed(cli, kept: Path) -> None:
    def drawn(seed: int, out: str) -> tuple[float, ...]:
        (kept / "replay.toml").write_text(f"[[case]]\nseed = {seed}\n")
        command = ("run", "--backend", "lightning_eager", *AXES, "--seq", "1k", "--in-process")
        assert cli(*command, "--device", f"replay:{kept}", "--out", kept.parent / out)[0] == 0
        (row,) = results.read(kept.parent / out).rows.values()
        return row.times_ms

    import lbench.replay

    once = drawn(1, "a")
    lbench.replay._opened.cache_clear()
    assert drawn(1, "b") == once
    lbench.replay._opened.cache_clear()
    other = drawn(2, "c")
    assert other != once
    assert {*once, *other} <= set(make_row().times_ms)


@given(
    st.lists(st.floats(0.1, 10), min_size=1, max_size=40),
    st.floats(1, 3),
    st.floats(0, 1),
    st.integers(0, 40),
)
@settings(deadline=None)
def test_a_slow_half_and_the_time_that_passes(
    samples: list[float], slowdown: float, after: float, first: int
) -> None:
    script = Script(slowdown=slowdown, after=after)
    first = min(first, len(samples) - 1)
    clock = ReplayClock(samples_ms=tuple(samples), script=script, first=first)
    read = [reading.time_ms for reading in clock.read(lambda: None, len(samples) - first)]
    expected = [
        time_ms * (slowdown if index >= after * len(samples) else 1.0)
        for index, time_ms in enumerate(samples)
    ]
    assert read == pytest.approx(expected[first:])
    assert clock.now() == pytest.approx(sum(read) * 1e-3)


def test_a_clock_that_never_runs_forwards_is_a_failure(cli, kept: Path) -> None:
    (kept / "replay.toml").write_text('[[case]]\nmatch = "lightning_*"\ntimes_ms = [-1.0, 0.0]\n')
    for row in replayed(cli, kept, seq="1k").values():
        if row.case.backend == "lightning_eager":
            assert row.verdict == "failed"
            assert row.reason.startswith("in round 1: NoTime: none of ")


def test_the_clock_jumps_once() -> None:
    clock = ReplayClock(samples_ms=(1.0,) * 10, script=Script(jump_ms=500.0))
    times_ms = [reading.time_ms for reading in clock.read(lambda: None, 10)]
    assert sorted(times_ms)[-2:] == [1.0, 501.0]
    assert median(times_ms) == 1.0


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("[[case]]\nslow = 1\n", "unknown key 'slow'"),
        ('[[case]]\nverdict = "lost"\n', "unknown verdict 'lost'"),
        ("[[case]\n", "no valid TOML"),
        ("copy_bandwidth_gb_s = 'x'\n", "copy_bandwidth_gb_s is 'x'; it is a number above 0"),
        ("case = 5\n", "case is 5; it is a list, of which each is a table"),
        ("environment = 5\n", "environment is 5; it is a table"),
        ("[[case]]\ntimes_ms = 5\n", "times_ms is 5; it is a list, of which each is a number"),
        ("[[case]]\ntimes_ms = ['x']\n", "times_ms is ['x']; it is a list, of which each is a number"),
        ("[[case]]\nmatch = 5\n", "match is 5; it is a text"),
        ("[[case]]\nslowdown = 'x'\n", "slowdown is 'x'; it is a number"),
        ("[[case]]\nstate = { slowdowns = 5 }\n", "slowdowns is 5; it is a list, of which each is a text"),
        ("seed = 1\n", "unknown key 'seed'"),
        (None, "holds neither rows.jsonl nor replay.toml"),
    ],
)
def test_a_bad_device_is_one_line(cli, tmp_path: Path, script: str | None, message: str) -> None:
    if script is not None:
        (tmp_path / "replay.toml").write_text(script)
    out = tmp_path / "out"
    code, _, stderr = cli("run", "--device", f"replay:{tmp_path}", "--out", out, "--in-process")
    assert code == 2
    assert message in stderr
    assert len(stderr.splitlines()) == 1
    assert not out.exists()
