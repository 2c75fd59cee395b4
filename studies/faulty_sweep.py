"""One sweep over all backends in which a backend crashes, one hangs and one takes all memory: is it complete?

    python studies/faulty_sweep.py results/faulty-sweep-h100         # a GPU, 1k to 256k, about nine minutes
    python studies/faulty_sweep.py /tmp/faulty --device cpu          # 64 to 1k, about two

The three are functions of a user (`faulty_functions.py`), right at every length but one. The exit code is 0
if every case has its row, the three failed in their own way, what came after them ended well (or was skipped,
since a shorter one hung or took all memory), and at most a tenth of the wall time went to neither start-up,
verification, compilation, warm-up, sampling nor to waiting for the one that hung.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lbench import results
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
        "timeout_s": 25,
    },
    "cpu": {"seq": "64..1k:x4", "at": 256, "heads": 2, "head_dim": 16, "dtype": "fp32", "timeout_s": 15},
}
REST = 0.1
ENDED_WELL = ("ok", "unsupported", "unavailable")
SUITE = """\
title = "every backend, one sequence; three functions fail at {at} tokens"
cell_timeout_s = {timeout_s}

[stopping]
budget_s = 0.1

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
    rows = {row.case.key: row for row in results.read(out).rows.values()}
    cases = load(str(suite)).cases(kind)
    found = [f"no row: {case.key}" for case in cases if case.key not in rows]
    for name, verdict in FAULTS.items():
        for row in rows.values():
            if row.case.backend.endswith(f":{name}"):
                expected = _expected(verdict, row.case.seq_len, SIZES[kind]["at"])
                if row.verdict not in expected:
                    found.append(f"{row.case.key}: {row.verdict} and not {expected[0]}: {row.reason}")
    spent = _spent(out)
    rest = (rest_s(spent) - spent.get("lost", 0.0)) / spent["wall"]
    if rest > REST:
        found.append(f"the rest is {rest:.0%} of the wall time")
    others = [row for row in rows.values() if FUNCTIONS.name not in row.case.backend]
    told = sorted(
        f"{row.case.key}: {row.verdict}: {row.reason}" for row in others if row.verdict not in ENDED_WELL
    )
    print(f"{len(rows)} of {len(cases)} cases have rows; of the backends themselves did not end well:")
    print("\n".join(told) or "none")
    print(breakdown(spent))
    return found


def _expected(fault: str, length: int, at: int) -> tuple[str, ...]:
    if length == at:
        return (fault,)
    return ("ok", "skipped") if length > at and fault != "crashed" else ("ok",)


def _spent(out: Path) -> dict[str, float]:
    (run,) = results.read(out).runs.values()
    return dict(run["spent"])


def main() -> None:
    """Sweeps in one command, and looks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda", choices=SIZES)
    given = parser.parse_args()
    out = given.out.resolve()
    if out.exists():
        sys.exit(f"{out} exists; choose another folder")
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(FUNCTIONS, place)
        os.chdir(place)  # the names of the functions, in every key, are relative to it
        suite = Path("faulty.toml")
        suite.write_text(suite_text(given.device))
        os.environ["FAULTY_LENGTH"] = str(SIZES[given.device]["at"])
        command = [sys.executable, "-m", "lbench", "run", str(suite), "--device", given.device]
        code = subprocess.run([*command, "--out", str(out)], check=False).returncode
        found = problems(out, suite, given.device)
    print("\n".join(found) or "complete")
    sys.exit(1 if found or code else 0)


if __name__ == "__main__":
    main()
