"""Plants a slowdown into a copy of our backend and sees the gate fail, and pass without it.

    python studies/planted.py results/planted-h100

Five processes make a baseline, one calibrates the extra bytes, then two clean and two slower ones follow in
turn. The exit code is 0 if `lbench check regression` exits with 1 for the slower and 0 for the clean ones.
All rows stay in the folder, where a test replays them. The device is probed once: a process is a new worker.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lbench.device import Device, probe
from lbench.gates import baselines
from lbench.gates.evidence import mean
from lbench.gates.processes import log_time, read
from lbench.protocol import Stopping
from lbench.results import Writer
from lbench.runner import Sweep
from lbench.suite import Suite

KERNEL = Path(__file__).with_name("planted_kernel.py")
LENGTHS = {"cuda": (32768, 131072), "cpu": (1024, 2048)}
HEADS = {"cuda": (16, 128, "bf16"), "cpu": (4, 32, "fp32")}
BASELINE, UNDER_TEST = 5, 2
NAME = "planted"


def suite_of(kind: str, budget_s: float) -> Suite:
    """One sequence: forward at two lengths, and forward with backward at the longer one."""
    heads, head_dim, dtype = HEADS[kind]
    short, long = LENGTHS[kind]
    shape = {"batch": 1, "heads": heads, "head_dim": head_dim, "dtype": dtype}
    function = {"backend": [f"{KERNEL.name}:attention"], "mechanism": ["lightning"]}
    sweeps = (
        {**function, "pass": "fwd", "seq": f"{short},{long}", **shape},
        {**function, "pass": "fwdbwd", "seq": long, **shape},
    )
    return Suite(name=NAME, stopping=Stopping(budget_s=budget_s), sweeps=sweeps)


def process(suite: Suite, device: Device, out: Path) -> None:
    """One process: a worker of its own, rows in a folder of its own. SystemExit where a case is not ok."""
    started = time.perf_counter()
    sweep = Sweep(suite=suite, cases=suite.cases(device.kind), device=device, writer=Writer(out))
    rows = list(sweep.measure())
    print(f"{out.parent.name}/{out.name}: {time.perf_counter() - started:.1f} s", flush=True)
    for row in rows:
        if row.verdict != "ok":
            sys.exit(f"{row.case.key}: {row.verdict}: {row.reason}")


def planted_bytes(baseline: Path, device: Device, share: float) -> dict[str, int]:
    """Bytes whose copying takes that share of each case's time, at the bandwidth of a large copy."""
    found = {}
    for rows in read(baseline).rows.values():
        case = rows[0].case
        log = mean([log_time(row) for row in rows])
        size = share * math.exp(log) * 1e-3 * device.copy_bandwidth_gb_s * 1e9
        found[f"{case.batch}x{case.seq_len},{case.pass_name}"] = int(size)
    return found


def calibrated(planted: dict[str, int], baseline: Path, once: Path, share: float) -> dict[str, int]:
    """The bytes once more, by what they were seen to take."""
    before, after = read(baseline), read(once)
    found = dict(planted)
    for key, rows in after.rows.items():
        case = rows[0].case
        grown = math.exp(log_time(rows[-1]) - mean([log_time(row) for row in before.rows[key]])) - 1
        name = f"{case.batch}x{case.seq_len},{case.pass_name}"
        print(f"{key}: {grown:.2%} by {planted[name] / 2**20:.1f} MiB")
        # A process that was disturbed says little: no more than a factor of two either way.
        found[name] = int(planted[name] * min(max(share / max(grown, 1e-9), 0.5), 2.0))
    return found


def gate(out: Path, which: str, extra: Sequence[str]) -> int:
    """What `lbench check regression` says of one side."""
    command = [sys.executable, "-m", "lbench", "check", "regression", str(out / which)]
    command += ["--baseline", NAME, "--store", str(out / "baselines"), *extra]
    print(f"\n$ lbench {' '.join(command[3:])}", flush=True)
    code = subprocess.run(command, check=False).returncode
    print(f"exit code {code}")
    return code


def main() -> None:
    """Measures, saves, judges."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default=None)
    parser.add_argument("--share", type=float, default=0.05, help="of the time, that is planted")
    parser.add_argument("--case-budget", type=float, default=0.1, help="seconds of samples a case")
    parser.add_argument("--margin", default="0.03")
    given = parser.parse_args()
    out = given.out.resolve()
    if out.exists():
        sys.exit(f"{out} exists; choose another folder")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(KERNEL, place)
        os.chdir(place)  # the name of the function, in every key, is relative to it
        device = probe(given.device)
        suite = suite_of(device.kind, given.case_budget)
        _measure(suite, device, out, given.share)
    print(f"device time: {time.perf_counter() - started:.0f} s")
    options = ["--margin", given.margin]
    codes = [gate(out, which, options) for which in ("slower", "clean")]
    sys.exit(0 if codes == [1, 0] else 1)


def _measure(suite: Suite, device: Device, out: Path, share: float) -> None:
    baseline = out / "baseline"
    for number in range(BASELINE):
        process(suite, device, baseline / str(number + 1))
    planted = planted_bytes(baseline, device, share)
    Path("planted.json").write_text(json.dumps(planted))
    process(suite, device, out / "calibration" / "1")
    planted = calibrated(planted, baseline, out / "calibration" / "1", share)
    for number, which in enumerate(("clean", "slower", "slower", "clean")):
        if which == "slower":
            Path("planted.json").write_text(json.dumps(planted))
        else:
            Path("planted.json").unlink(missing_ok=True)
        process(suite, device, out / which / str(number + 1))
    (out / "planted.json").write_text(json.dumps({"share": share, "bytes": planted}, indent=1) + "\n")
    baselines.save(out / "baselines", NAME, [baseline])
    shutil.rmtree(baseline)


if __name__ == "__main__":
    main()
