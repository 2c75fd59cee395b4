"""Functions of a user that misbehave, on a CPU and on a GPU."""

from __future__ import annotations

import os
from pathlib import Path

from experiments.sweep import Experiment, ended, rows, run

HERE = Path(__file__).parent.parent


def kernels(folder: Path) -> Experiment:
    """Functions of a user that misbehave, one after another, on a CPU."""
    suite = folder / "suite.toml"
    faulty = f"{HERE}/misbehaving.py:faulty"
    small = 'mechanism = "lightning"\nheads = 2\nhead_dim = 16\ndtype = "fp32"\n'
    sweeps = [
        (faulty, "fwd", 1, "32,33,35,36,37,39,40,41,42,43,48"),
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
