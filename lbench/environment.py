"""What a run ran on: machine and software, by content, with nothing personal in it.

No host name, user, path or serial number. The ceilings (copy bandwidth, rate of matrix products) are measured
once a run.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lbench
from lbench.errors import UsageError
from lbench.machine import cpu_name

PACKAGES = (
    "torch",
    "triton",
    "numpy",
    "flash-attn",
    "flash-attn-3",
    "fa3-fwd",
    "flash-linear-attention",
    "fla-core",
    "mamba-ssm",
    "causal-conv1d",
    "lightning-attn",
)
SWITCHES = ("TRITON_INTERPRET", "CUDA_LAUNCH_BLOCKING", "OMP_NUM_THREADS")
NO_RESULT = ("memory_mib", "packages")
"""Parts of a record that change no time and no error as a whole: the host's memory only tells which cases are
not tried, and those are looked at again. Of packages, versions count."""


def choose_device(asked: str | None) -> str:
    """The torch device to run on; by default a GPU where there is one. UsageError where it is not there."""
    import torch

    if asked is None:
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    name, _, index = asked.partition(":")
    if asked == "cpu":
        return asked
    if name != "cuda" or (index and not index.isdigit()):
        raise UsageError(f"device {asked!r}; allowed are cpu, cuda, cuda:N and replay:FOLDER")
    if not torch.cuda.is_available():
        why = "torch was built without CUDA" if torch.version.cuda is None else "torch finds no NVIDIA GPU"
        todo = "use --device cpu (and cpu in the key of a --case), or see `lbench doctor`"
        raise UsageError(f"device {asked!r}: {why}; {todo}")
    if int(index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {asked!r}; there are {torch.cuda.device_count()}, counted from cuda:0")
    return f"cuda:{int(index or 0)}"


def describe(device: str) -> dict[str, Any]:
    """Machine and software as a flat record: the content behind an environment id."""
    import torch

    versions = _versions()
    record: dict[str, Any] = {
        "device": device.partition(":")[0],
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "memory_mib": _memory_mib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "packages": versions,
        "switches": {name: os.environ[name] for name in SWITCHES if name in os.environ},
        "torch": torch.__version__,
        "triton": versions.get("triton"),
        "gpu": None,
        "driver": None,
    }
    if device.startswith("cuda"):
        record |= _gpu(device)
    else:
        record["threads"] = torch.get_num_threads()
        record["pinned_to"] = _cores()
    return record


def differences(known: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What differs between two records so that results may, in words; empty where rows of both may be mixed.

    Only what both hold is compared: an older lbench recorded less, and a package that came or went since
    changes no row of another.
    """
    flat = [_flat(record) for record in (known, found)]
    names = sorted(flat[0].keys() & flat[1].keys())
    return [
        f"{name} {flat[0][name]}, here {flat[1][name]}" for name in names if flat[0][name] != flat[1][name]
    ]


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    versions = record.get("packages", {})
    return {**versions, **{name: value for name, value in record.items() if name not in NO_RESULT}}


def _gpu(device: str) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(device)
    record = {
        "gpu": properties.name,
        "gpu_memory_mib": properties.total_memory // 2**20,
        "capability": [properties.major, properties.minor],
        "multiprocessors": properties.multi_processor_count,
        "l2_mib": properties.L2_cache_size / 2**20,
    }
    with contextlib.suppress(Exception):  # NVML may be missing or forbidden; the record then lacks its part
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        record["driver"] = pynvml.nvmlSystemGetDriverVersion()
        record["power_limit_w"] = pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) // 1000
        record["clock_limit_mhz"] = pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM)
    return record


def copy_bandwidth_gb_s(device: str) -> float:
    """Bytes read plus written a second by a large copy, in GB/s (1e9): the ceiling of the memory floor."""
    import torch

    from lbench.clock import clock_of
    from lbench.protocol import Stopping
    from lbench.timing import sample

    size_bytes = 2**30 if device.startswith("cuda") else 2**28
    source = torch.ones(size_bytes // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    times = sample(lambda: target.copy_(source), clock_of(device), Stopping(budget_s=0.5))
    return 2 * size_bytes / (times.time_ms * 1e-3) / 1e9


def matrix_tflop_s(device: str) -> dict[str, float]:
    """TFLOP/s of a large square matrix product by dtype: the ceiling of arithmetic. fp32 is without TF32."""
    import torch

    from lbench.clock import clock_of
    from lbench.protocol import Stopping
    from lbench.timing import sample

    on_gpu = device.startswith("cuda")
    sizes = {"bf16": 8192, "fp16": 8192, "fp32": 4096} if on_gpu else {"fp32": 1024}
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    found = {}
    for name, size in sizes.items():
        left = torch.randn(size, size, device=device).to(kinds[name])
        right, product = torch.randn_like(left), torch.empty_like(left)

        def multiply(a: Any = left, b: Any = right, c: Any = product) -> Any:
            return torch.matmul(a, b, out=c)

        times = sample(multiply, clock_of(device), Stopping(budget_s=0.1, least=3, warm_up_s=0.05))
        found[name] = 2 * size**3 / (times.time_ms * 1e-3) / 1e12
    return found


def code_commit() -> str:
    """The commit of the repository that a run was started in, with `+changes`; empty outside of one.

    That is what a gate's history is told by; `lbench_commit` is the harness.
    """
    if "LBENCH_CODE_COMMIT" in os.environ:
        return os.environ["LBENCH_CODE_COMMIT"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        commit = _git(Path.cwd(), "rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if _git(Path.cwd(), "status", "--porcelain", "-uno") else "")
    return ""


def lbench_commit() -> str:
    """The commit of lbench's own checkout, `+changes` behind it where files differ; else its version."""
    if "LBENCH_COMMIT" in os.environ:
        return os.environ["LBENCH_COMMIT"]
    root = Path(__file__).parent.parent
    if (root / ".git").exists():
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            commit = _git(root, "rev-parse", "--short=12", "HEAD")
            changed = _git(
                root, "status", "--porcelain", "--untracked-files=no", "--", "lbench", "kernels", "suites"
            )
            return commit + ("+changes" if changed else "")
    return f"v{lbench.__version__}"


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _cores() -> str:
    """The cores this process may run on, as `0-3,8`; empty where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return ""
    cores = sorted(os.sched_getaffinity(0))
    starts = [core for core in cores if core - 1 not in cores]
    ends = [core for core in cores if core + 1 not in cores]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _memory_mib() -> int | None:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return None
