"""Nsight Compute around one call of a case: finds it, runs it, keeps its report and raw page."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbench.case import Case
from lbench.profiling.folder import NCU, REPORT

LOG = "ncu.log"
PLACES = (
    "/usr/local/cuda*/bin/ncu",
    "/opt/nvidia/nsight-compute/*/ncu",
    "/usr/local/NVIDIA-Nsight-Compute*/ncu",
)
SECTIONS = ("SpeedOfLight", "MemoryWorkloadAnalysis", "WarpStateStats", "Occupancy", "LaunchStats")
METRICS = (
    "gpu__time_duration.sum",
    "dram__bytes_read.sum",
    "dram__bytes_write.sum",
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "lts__t_sector_hit_rate.pct",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed",
    "sm__ops_path_tensor_src_bf16_dst_fp32.sum",
    "sm__ops_path_tensor_src_fp16.sum",
    "sm__ops_path_tensor_src_tf32_dst_fp32.sum",
    "smsp__sass_thread_inst_executed_op_fadd_pred_on.sum",
    "smsp__sass_thread_inst_executed_op_fmul_pred_on.sum",
    "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum",
)
"""Beside the sections: what tables need by name, whatever a version of ncu puts into a section."""
MOST_LAUNCHES = 100
"""Kernels that are watched; each is replayed many times."""
PERSONAL = ("Process ID", "Process Name", "Host Name")
PROGRAM = re.compile(r" \(/[^)\n]*\)")
"""Where ncu's log names the program it watched."""
UNKNOWN_METRIC = re.compile(r"Failed to find metric (?:regex:\^?)?([A-Za-z0-9_]+)")
INSTALL = "install Nsight Compute (package cuda-nsight-compute of the CUDA toolkit) or put ncu into PATH"


@dataclass(frozen=True)
class Trouble:
    """A thing that goes wrong with ncu: how it shows, what it is, and what mends it."""

    pattern: str
    what: str
    mend: str


TROUBLES = (
    Trouble(
        "ERR_NVGPUCTRPERM",
        "this user may not read the GPU's counters",
        "run as root, start a container with --cap-add=SYS_ADMIN, or load the driver with "
        "NVreg_RestrictProfilingToAdminUsers=0 (a line in /etc/modprobe.d, then reboot)",
    ),
    Trouble(
        "driver resource was unavailable|ERR_NVGPUCTR|already in use",
        "another tool holds the GPU's counters",
        "end it, or pause DCGM's: dcgmi profmon --pause",
    ),
    Trouble(
        "not supported on (this|the) (GPU|device)|Unsupported GPU|LibraryNotLoaded|driver.*too old",
        "this ncu does not know the GPU or its driver",
        "install the Nsight Compute of the driver's CUDA version or a newer one",
    ),
    Trouble("No kernels were profiled", "ncu saw no kernel of the case", "see ncu.log in the folder"),
    Trouble("out of memory|OutOfMemory", "no memory was left for ncu's replay", "profile a smaller case"),
)

Runner = Callable[[Sequence[str], float], "tuple[int, str]"]
"""(command, seconds it may take) -> exit code and all it said."""


def find() -> str | None:
    """The path of ncu; None where it is not installed."""
    homes = [
        os.path.join(os.environ[name], "bin", "ncu")
        for name in ("CUDA_HOME", "CUDA_PATH")
        if name in os.environ
    ]
    found = shutil.which("ncu")
    places = [found] if found else []
    places += [path for pattern in (*homes, *PLACES) for path in sorted(glob.glob(pattern), reverse=True)]
    return next((path for path in places if os.access(path, os.X_OK)), None)


def watch(
    case: Case, device: str, folder: Path, timeout_s: float, run: Runner | None = None, ncu: str = ""
) -> str:
    """Fills a folder with the report and its raw page; why that is missing, empty where it is there."""
    ncu = ncu or find() or ""
    if not ncu:
        return f"ncu is not there; {INSTALL}"
    run = run or run_process
    program = [sys.executable, "-m", "lbench.profiling.once", json.dumps(case.as_dict()), device]
    metrics = list(METRICS)
    said = ""
    for _ in range(len(METRICS)):
        code, said = run([ncu, *_options(folder / REPORT, metrics), *program], timeout_s)
        unknown = UNKNOWN_METRIC.findall(said)
        left = [metric for metric in metrics if metric.partition(".")[0] not in unknown]
        if not unknown or len(left) == len(metrics):
            break
        metrics = left
    (folder / LOG).write_text(PROGRAM.sub("", said), encoding="utf-8")
    if not (folder / REPORT).is_file():
        return why(said, code)
    return export(folder, timeout_s, run, ncu)


def export(folder: Path, timeout_s: float, run: Runner | None = None, ncu: str = "") -> str:
    """Writes the raw page of a kept report anew; why there is none, empty where there is."""
    ncu = ncu or find() or ""
    if not ncu:
        return f"ncu is not there to read {REPORT}; {INSTALL}"
    command = [ncu, "--import", str(folder / REPORT), "--page", "raw", "--csv", "--print-units", "base"]
    code, said = (run or run_process)(command, timeout_s)
    page = _without_personal(said)
    if not page:
        return f"ncu's raw page is empty: {why(said, code)}"
    (folder / NCU).write_text(page, encoding="utf-8")
    return ""


def why(said: str, code: int) -> str:
    """What went wrong, and what mends it, from what ncu said."""
    for trouble in TROUBLES:
        if re.search(trouble.pattern, said):
            return f"{trouble.what}; {trouble.mend}"
    lines = [line.strip() for line in said.splitlines() if "==ERROR==" in line] or said.strip().splitlines()
    return f"ncu ended with exit code {code}: {lines[-1][:300] if lines else 'it said nothing'}"


def run_process(command: Sequence[str], timeout_s: float) -> tuple[int, str]:
    """Runs a command, and ends it with all it started when its time is over."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return (
            -1,
            f"{said}\n==ERROR== no end in {timeout_s:.0f} s; give --cell-timeout more, or a smaller case",
        )
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, said


def _options(report: Path, metrics: Sequence[str]) -> list[str]:
    sections = [part for section in SECTIONS for part in ("--section", section)]
    asked = ["--metrics", ",".join(metrics)] if metrics else []
    return [
        "--profile-from-start", "off",
        "--target-processes", "all",
        # Clocks as they are in a run: ncu would lock them to their base.
        "--clock-control", "none",
        "--launch-count", str(MOST_LAUNCHES),
        *sections,
        *asked,
        "--force-overwrite",
        "--export", str(report),
    ]  # fmt: skip


def _without_personal(said: str) -> str:
    """The table in what ncu printed, without the columns that name a machine or a process."""
    lines = said.splitlines()
    start = next((at for at, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        return ""
    table = list(csv.reader(io.StringIO("\n".join(lines[start:]))))
    kept = [at for at, name in enumerate(table[0]) if name not in PERSONAL]
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([row[at] for at in kept] for row in table if len(row) == len(table[0]))
    return file.getvalue()
