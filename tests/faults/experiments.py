"""Sweeps to which faults happen, and what is left of them before and after a resume."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rows import make_row

from lbench import results
from lbench.results import Row, Writer, content_id

HERE = Path(__file__).parent
BACKENDS = ("lightning_eager", "softmax_eager")
LENGTHS = range(1, 26)
LOCKS = tempfile.TemporaryDirectory()
"""Where devices are locked: no other test is waited for."""


@dataclass(kw_only=True)
class Experiment:
    """What a faulty sweep left, and its resume."""

    folder: Path
    cases: set[str]
    """Keys of all the cases that the sweep has."""
    said: str = ""
    """Standard error of the faulty run."""
    printed: str = ""
    """Its standard output."""
    codes: list[int] = field(default_factory=list)
    ended: int = 0
    """How many cases had ended for all that the run said."""
    first: dict[str, Row] = field(default_factory=dict)
    """Rows after the fault."""
    resumed: dict[str, Row] = field(default_factory=dict)
    resumed_said: str = ""

    @property
    def keys(self) -> list[str]:
        """The key of each line of the file."""
        return [row.case.key for _, row in results.entries(self.folder, [])]


@contextlib.contextmanager
def lbench(*arguments: object, shell: str = "", **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`lbench arguments` as a process of its own; `shell` is run with it as "$@"."""
    command = [sys.executable, "-m", "lbench", *map(str, arguments)]
    process = subprocess.Popen(
        ["sh", "-c", shell, "sh", *command] if shell else command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LBENCH_LOCK_FOLDER": LOCKS.name, "OMP_NUM_THREADS": "1", **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(*arguments: object, shell: str = "", **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a run that ends by itself."""
    with lbench(*arguments, shell=shell, **environment) as process:
        stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


def ended(said: str) -> int:
    """How many cases a run said had ended."""
    return len(re.findall(r"^\[\d+/\d+\]", said, re.MULTILINE))


def rows(folder: Path) -> dict[str, Row]:
    """The rows of a folder, none where it has none yet."""
    return results.read(folder).rows if (folder / "rows.jsonl").exists() else {}


def kernels(folder: Path) -> Experiment:
    """Functions of a user that misbehave, one after another, on a CPU."""
    suite = folder / "suite.toml"
    faulty = f"{HERE}/misbehaving.py:faulty"
    small = 'mechanism = "lightning"\nheads = 2\nhead_dim = 16\ndtype = "fp32"\n'
    sweeps = [
        (faulty, "fwd", 1, "32,33,35,36,37,39,40,41,42,48"),
        (faulty, "fwd", 3, "19"),
        (faulty, "fwdbwd", 1, "32,33,48"),
        (f"{HERE}/misbehaving_at_import.py:right", "fwd", 1, "48"),
    ]
    text = (
        "cell_timeout_s = 8\n[stopping]\nbudget_s = 0.01\nleast = 3\nmost = 3\nrounds = 1\nwarm_up_s = 0.0\n"
    )
    for backend, pass_name, batch, seq in sweeps:
        text += (
            f'[[sweep]]\nbackend = "{backend}"\npass = "{pass_name}"\nbatch = {batch}\nseq = "{seq}"\n{small}'
        )
    suite.write_text(text)
    return _twice(folder, suite, "--device", "cpu")


def gpu_kernels(folder: Path) -> Experiment:
    """Functions of a user that misbehave on a GPU."""
    suite = folder / "suite.toml"
    text = "cell_timeout_s = 30\n[stopping]\nbudget_s = 0.02\n"
    for function in ("illegal_access", "device_trap", "too_large", "endless"):
        text += f'[[sweep]]\nbackend = "{HERE}/misbehaving_on_gpu.py:{function}"\nmechanism = "lightning"\n'
        text += 'pass = "fwd"\nseq = "64,128"\nheads = 2\nhead_dim = 64\ndtype = "fp32"\n'
    suite.write_text(text)
    return _twice(folder, suite, "--device", "cuda")


def gpu_without_nvml(folder: Path) -> Experiment:
    """A machine whose NVML cannot be loaded."""
    (folder / "libnvidia-ml.so.1").write_bytes(b"")
    suite = folder / "suite.toml"
    suite.write_text('[[sweep]]\nbackend = "lightning_triton"\npass = "fwd"\nseq = "1k..2k"\n')
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")]))
    return _twice(folder, suite, "--device", "cuda", LD_LIBRARY_PATH=path)


def _twice(folder: Path, suite: Path, *arguments: str, **environment: str) -> Experiment:
    """Runs a suite, then what did not end well once more, healed."""
    from lbench.suite import load

    kind = arguments[arguments.index("--device") + 1]
    out, again = folder / "out", "crashed,timeout,failed,out_of_memory,wrong"
    made = Experiment(folder=out, cases={case.key for case in load(str(suite)).cases(kind)})
    code, made.printed, made.said = run("run", suite, *arguments, "--out", out, **environment)
    made.codes, made.ended, made.first = [code], ended(made.said), rows(out)
    resume = ("run", suite, *arguments, "--out", out, "--resume", "--retry", again)
    code, _, made.resumed_said = run(*resume, LBENCH_HEALED="1", **environment)
    made.codes.append(code)
    made.resumed = rows(out)
    return made


def clocks(folder: Path) -> Experiment:
    """Clocks and a card that misbehave, played by a replay."""
    noise = random.Random(1)
    times_ms = [round(1 + 0.002 * noise.random(), 6) for _ in range(100)]
    scripts = {
        63: "",
        64: "jump_ms = 5000.0",
        65: "jump_ms = -5000.0",
        66: "slowdown = 1.3",
        67: "drift = 0.3",
        68: 'state = { sm_mhz = 800, temperature_c = 95, slowdowns = ["thermal"] }\nafter = 0.9',
        69: "silent = true",
    }
    text = ""
    for length, script in scripts.items():
        text += f'[[case]]\nmatch = "*,t{length},*"\ntimes_ms = {times_ms}\n{script}\n'
    device = folder / "device"
    device.mkdir()
    (device / "replay.toml").write_text(text)
    made = Experiment(folder=folder / "out", cases=_keys(scripts, BACKENDS[:1]))
    command = _replay(device, made.folder, "63..69:+1", BACKENDS[:1])
    code, _, made.said = run(*command)
    made.ended, made.first = ended(made.said), rows(made.folder)
    resumed, _, made.resumed_said = run(*command, "--resume")
    made.codes, made.resumed = [code, resumed], rows(made.folder)
    return made


def _replay(
    device: Path, out: Path, seq: str = "1..25:+1", backends: tuple[str, ...] = BACKENDS
) -> list[object]:
    backend = ("--backend", ",".join(backends), "--pass", "fwd", "--batch", 1)
    return ["run", *backend, "--seq", seq, "--device", f"replay:{device}", "--out", out]


def _keys(lengths: object, backends: tuple[str, ...] = BACKENDS) -> set[str]:
    mechanisms = {"lightning_eager": "lightning", "softmax_eager": "softmax"}
    made = (
        make_row(backend=name, mechanism=mechanisms[name], seq_len=n) for name in backends for n in lengths
    )
    return {row.case.key.replace(",cpu", ",cuda") for row in made}


def _kept(folder: Path) -> tuple[Path, Experiment]:
    """A replay device with a row of every case, and an experiment that has yet to begin."""
    _write_rows(folder / "device")
    return folder / "device", Experiment(folder=folder / "out", cases=_keys(LENGTHS))


def _write_rows(folder: Path) -> None:
    writer = _writer(folder)
    for backend, mechanism in zip(BACKENDS, ("lightning", "softmax"), strict=True):
        for length in LENGTHS:
            row = make_row(backend=backend, mechanism=mechanism, seq_len=length, device="cuda")
            writer.append(Row(**{**row.__dict__, "times_ms": row.times_ms * 10}))
    writer.close()


def _writer(folder: Path) -> Writer:
    writer = Writer(folder)
    machine = {"device": "cuda", "gpu": "a GPU", "cpu": "a CPU"}
    writer.document("environments", content_id(machine), machine)
    writer.document("runs", "r1", {"environment": content_id(machine)})
    return writer


def _finish(made: Experiment, device: Path) -> Experiment:
    made.first = made.first or rows(made.folder)
    code, _, made.resumed_said = run(*_replay(device, made.folder), "--resume", "--other-environment")
    made.codes.append(code)
    made.resumed = rows(made.folder)
    return made


def killed_runner(folder: Path) -> Experiment:
    """The runner is killed again and again."""
    device, made = _kept(folder)
    chance = random.Random(2)
    for turn in range(4):
        with lbench(*_replay(device, made.folder), "--resume") as process:
            _until_it_begins(process)
            if turn % 2:
                _until(process, "[1/")
            time.sleep(chance.random() * 0.25)
            workers = _children(process.pid)
            if turn % 2:  # hanging ones, that no end of a pipe reaches
                _stop(workers)
            process.kill()
            _, said = process.communicate()
        made.ended += ended(said)
        _wait_for_the_end(workers)
        assert len(rows(made.folder)) >= made.ended, "a row was lost"
    return _finish(made, device)


def _wait_for_the_end(workers: list[int]) -> None:
    ends = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < ends, "a worker outlived its runner"
        time.sleep(0.01)


def _until_it_begins(process: subprocess.Popen[str]) -> None:
    _until(process, "cases to do")


def _until(process: subprocess.Popen[str], told: str) -> None:
    assert process.stderr is not None
    assert any(told in line for line in process.stderr), f"it never said {told}"


def killed_writer(folder: Path) -> Experiment:
    """A process that writes nothing but rows, long ones and in memory, is killed as it does."""
    memory = Path("/dev/shm")
    made = Experiment(folder=folder / "out", cases=set())
    chance = random.Random(3)
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        writing = Path(name) / "out"
        _writer(writing).close()
        lines = _long_lines(100)
        for _ in range(12):
            made.ended += _killed_while_writing(writing, lines, chance.random() * 5e-4)
            assert len(rows(writing)) >= made.ended, "a row was lost"
        Writer(writing).close()  # as a resume does first
        shutil.copytree(writing, made.folder)
    made.first = made.resumed = rows(made.folder)
    made.cases, made.codes = set(made.first), [0]
    assert not results.read(made.folder).problems
    return made


def _long_lines(count: int) -> list[str]:
    rows = (make_row(seq_len=length, device="cuda") for length in range(1, count + 1))
    return [Row(**{**row.__dict__, "times_ms": row.times_ms * 300}).to_line() for row in rows]


def _killed_while_writing(folder: Path, lines: list[str], after_s: float) -> int:
    """How many rows a process said it had written by the time it was killed."""
    done = len(rows(folder))
    reading, telling = os.pipe()
    if not (child := os.fork()):
        with contextlib.suppress(BaseException):
            writer = Writer(folder)
            for line in lines[done:]:
                writer.append_line(line)
                os.write(telling, b".")
        os._exit(1)
    os.close(telling)
    began = os.read(reading, 1)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as told:
        return len(began + told.read())


def interrupted(folder: Path) -> Experiment:
    """Ctrl-C while the worker hangs: it is stopped, and hears no signal but SIGKILL."""
    device, made = _kept(folder)
    with lbench(*_replay(device, made.folder)) as process:
        _until_it_begins(process)
        time.sleep(0.2)
        workers = _children(process.pid)
        _stop(workers)
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, made.said = process.communicate(timeout=60)
        took_s = time.monotonic() - began
    assert took_s < 2
    assert workers
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    made.codes, made.ended = [process.returncode], ended(made.said)
    return _finish(made, device)


def _stop(workers: list[int]) -> None:
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGSTOP)


def _children(process_id: int) -> list[int]:
    return [
        int(child) for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    ]


def interrupted_anywhere(folder: Path) -> Experiment:
    """Ctrl-C again and again."""
    device, made = _kept(folder)
    chance = random.Random(4)
    for _ in range(3):
        with lbench(*_replay(device, made.folder), "--resume") as process:
            _until_it_begins(process)
            time.sleep(chance.random() * 0.2)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        made.said += said
        made.codes.append(process.returncode)
        made.ended += ended(said)
        assert process.returncode == 130, said
        assert len(rows(made.folder)) >= made.ended, "a row was lost"
    return _finish(made, device)


def unheard(folder: Path) -> Experiment:
    """The pipe that standard error goes to loses its reader."""
    device, made = _kept(folder)
    with lbench(*_replay(device, made.folder)) as process:
        _until_it_begins(process)
        assert process.stderr is not None
        process.stderr.close()
        process.stderr = None
        made.codes = [process.wait(timeout=60)]
    made.ended = len(made.cases)
    return _finish(made, device)


MOUNTED = 'mount -t tmpfs -o size=64k tmpfs "$DISK" && {} ; code=$?; cp -r "$DISK/out" "$KEPT"; exit $code'


def full_disk(folder: Path) -> Experiment:
    """A disk of its own that is too small."""
    return _on_a_disk(folder, '"$@"')


def read_only_disk(folder: Path) -> Experiment:
    """A disk of its own that turns read-only under way."""
    turn = (
        '{ "$@" & run=$!;'
        ' until [ "$(wc -l < "$DISK/out/rows.jsonl")" -ge 3 ]; do sleep 0.01; done 2>/dev/null;'
        ' until mount -o remount,ro "$DISK" 2>/dev/null; do :; done; wait $run; }'
    )
    return _on_a_disk(folder, turn)


def _on_a_disk(folder: Path, script: str) -> Experiment:
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs user namespaces, to mount a disk of its own")
    device, made = _kept(folder)
    disk, kept = folder / "disk", made.folder
    disk.mkdir()
    shell = f"exec unshare -rm sh -c '{MOUNTED.format(script)}' sh \"$@\""
    where = {"DISK": str(disk), "KEPT": str(kept)}
    code, made.printed, made.said = run(*_replay(device, disk / "out"), shell=shell, **where)
    made.codes, made.ended = [code], ended(made.said)
    return _finish(made, device)


def file_limit(folder: Path) -> Experiment:
    """No file may grow beyond 32 KiB."""
    device, made = _kept(folder)
    code, made.printed, made.said = run(*_replay(device, made.folder), shell='ulimit -f 64; exec "$@"')
    made.codes, made.ended = [code], ended(made.said)
    return _finish(made, device)


def _damaged(folder: Path, damage: object) -> Experiment:
    device, made = _kept(folder)
    _write_rows(made.folder)
    path = made.folder / "rows.jsonl"
    data = bytearray(path.read_bytes())
    damage(data)  # type: ignore[operator]
    path.write_bytes(data)
    read = results.read(made.folder)
    made.said, made.ended, made.codes = "\n".join(read.problems), len(made.cases) - 1, [1]
    _finish(made, device)
    assert "1 of 50 cases to do" in made.resumed_said
    assert read.problems[0] in made.resumed_said
    return made


def truncated(folder: Path) -> Experiment:
    """The end of the file is gone."""

    def cut(data: bytearray) -> None:
        del data[-100:]

    return _damaged(folder, cut)


def flipped(folder: Path) -> Experiment:
    """A bit of the file is another."""

    def flip(data: bytearray) -> None:
        data[len(data) // 2] ^= 1

    return _damaged(folder, flip)
