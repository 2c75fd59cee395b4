"""One sweep over all backends in which a backend crashes, one hangs and one takes all memory: is it complete?

    python studies/faulty_sweep.py results/faulty-sweep-h100         # a GPU, 1k to 256k, 7 minutes or more
    python studies/faulty_sweep.py /tmp/faulty --device cpu          # 64 to 1k, about two
    python studies/faulty_sweep.py OUT --stop-after 480              # as Ctrl-C would; --resume goes on

The three are functions of a user (`faulty_functions.py`), right at every length but one. The exit code is 0
if every case has its row, the three failed in their own way, what came after them ended well or was skipped,
since a shorter one hung or took all memory, and at most a tenth of the wall time (a quarter on a CPU) went to
neither start-up, verification, compilation, warm-up nor sampling: the wait for the one that hangs counts.
Other backends that did not end well are listed. What it found is kept in OUT/found.txt, with the number of
commands it took. Compilers that find nothing on the disk take minutes: a backend that autotunes for longer
than a case may take is a `timeout`, and longer lengths of it are skipped; --cell-timeout gives it more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from lbench import results, rotation
from lbench.report.breakdown import breakdown, rest_s
from lbench.suite import load

FUNCTIONS = Path(__file__).with_name("faulty_functions.py")
FAULTS = {"crashes": "crashed", "hangs": "timeout", "takes_all_memory": "out_of_memory"}
"""What each function does, and the verdict that tells it."""
SIZES = {
    "cuda": {
        "seq": "1k..256k:x4",
        "at": 16384,
        "heads": 16,
        "head_dim": 128,
        "dtype": "bf16",
        "timeout_s": 12,
        "rest": 0.1,
    },
    "cpu": {
        "seq": "64..1k:x4",
        "at": 256,
        "heads": 2,
        "head_dim": 16,
        "dtype": "fp32",
        "timeout_s": 15,
        "rest": 0.25,  # the wait for the one that hangs is long beside cases as small as these
    },
}
INTERRUPTED = 130
ENDED_WELL = ("ok", "unsupported", "unavailable")
SUITE = """\
title = "every backend, one sequence; three functions fail at {at} tokens"
cell_timeout_s = {timeout_s}

[stopping]
budget_s = 0.1
rounds = 3
long_s = 0.25

[[sweep]]
backend = "all"
{shape}
[[sweep]]
backend = [{functions}]
mechanism = "lightning"
{shape}"""
SHAPE = """\
pass = "fwd"
seq = "{seq}"
batch = 1
heads = {heads}
head_dim = {head_dim}
dtype = "{dtype}"
"""


def suite_text(kind: str) -> str:
    """All backends and the three functions, which lie beside the suite."""
    functions = ", ".join(f'"{FUNCTIONS.name}:{name}"' for name in FAULTS)
    return SUITE.format(shape=SHAPE.format(**SIZES[kind]), functions=functions, **SIZES[kind])


def problems(out: Path, suite: Path, kind: str) -> list[str]:
    """What is not as it should be after the sweep."""
    kept = results.read(out)
    cases = load(str(suite)).cases(kind)
    found = [f"no row: {case.key}" for case in cases if case.key not in kept.rows]
    injected = [row for row in kept.rows.values() if FUNCTIONS.name in row.case.backend]
    for row in injected:
        fault = FAULTS[row.case.backend.partition(":")[2]]
        expected = _expected(fault, row.case.seq_len, SIZES[kind]["at"])
        if row.verdict not in expected:
            found.append(f"{row.case.key}: {row.verdict} and not {expected[0]}: {row.reason}")
    found += [f"run {name} was killed: where its time went is not known" for name in _silent(kept)]
    spent = _spent(kept)
    rest = rest_s(spent) / spent["wall"]
    if rest > SIZES[kind]["rest"]:
        found.append(f"the rest is {rest:.0%} of the wall time")
    return found


def told(out: Path, suite: Path, kind: str, problems: list[str]) -> str:
    """What the sweep came to, in lines."""
    kept = results.read(out)
    backends = [row for row in kept.rows.values() if FUNCTIONS.name not in row.case.backend]
    unwell = sorted(
        f"{row.case.key}: {row.verdict}: {row.reason}" for row in backends if row.verdict not in ENDED_WELL
    )
    counts = Counter(row.verdict for row in kept.rows.values())
    lines = [
        f"{len(kept.rows)} of {len(load(str(suite)).cases(kind))} cases have rows, "
        f"measured in {len(kept.runs)} command{'s' * (len(kept.runs) > 1)}: "
        + ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())),
        breakdown(_spent(kept)),
        "of the backends themselves did not end well:",
        *(unwell or ["none"]),
        *(problems or ["complete"]),
    ]
    return "\n".join(lines) + "\n"


def _expected(fault: str, length: int, at: int) -> tuple[str, ...]:
    if length == at:
        return (fault,)
    return ("ok", "skipped") if length > at and fault != "crashed" else ("ok",)


def _silent(kept: results.Results) -> list[str]:
    return sorted(name for name, run in kept.runs.items() if "spent" not in run)


def _spent(kept: results.Results) -> dict[str, float]:
    """Seconds by account over all commands."""
    total = {"wall": 0.0}
    for run in kept.runs.values():
        rotation.add_up(total, run.get("spent", {}))
    return total


def swept(command: list[str], stop_after_s: float | None) -> int:
    """The exit code of a command, which is interrupted when its time is over."""
    process = subprocess.Popen(command, preexec_fn=_hear_interrupts)
    try:
        return process.wait(stop_after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    except KeyboardInterrupt:
        pass  # the command has had it too
    return process.wait()


def _hear_interrupts() -> None:
    """What a shell starts in the background has Ctrl-C ignored, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Sweeps, and looks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda", choices=SIZES)
    parser.add_argument("--stop-after", type=float, metavar="S", help="interrupt the sweep after S seconds")
    parser.add_argument("--resume", action="store_true", help="go on with a sweep that was stopped")
    parser.add_argument("--cell-timeout", type=float, metavar="S", help="seconds a case may take")
    given = parser.parse_args()
    out = given.out.resolve()
    if out.exists() != given.resume:
        sys.exit(f"{out} exists; add --resume" if out.exists() else f"{out}: there is nothing to resume")
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(FUNCTIONS, place)
        os.chdir(place)  # the names of the functions, in every key, are relative to it
        suite = Path("faulty.toml")
        suite.write_text(suite_text(given.device))
        os.environ["FAULTY_LENGTH"] = str(SIZES[given.device]["at"])
        command = [sys.executable, "-m", "lbench", "run", str(suite), "--device", given.device]
        command += ["--out", str(out), *["--resume"] * given.resume]
        command += ["--cell-timeout", str(given.cell_timeout)] if given.cell_timeout else []
        code = swept(command, given.stop_after)
        if code == INTERRUPTED:
            print(f"stopped; the same command with --resume goes on in {given.out}")
            sys.exit(code)
        found = problems(out, suite, given.device)
        report = told(out, suite, given.device, found)
    (out / "found.txt").write_text(report)
    print(report, end="")
    sys.exit(1 if found or code else 0)


if __name__ == "__main__":
    main()
