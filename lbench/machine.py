"""The machine as the system and the NVIDIA driver describe it, without importing torch."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any


def describe_machine() -> dict[str, Any]:
    """OS, Python, CPU, and the driver's view of the GPUs; `gpu_problem` says why there are none."""
    record: dict[str, Any] = {
        "os": _os_name(),
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "gpus": [],
        "driver": None,
        "driver_cuda": None,
        "gpu_problem": None,
    }
    try:
        record |= _nvml()
    except ImportError:
        record["gpu_problem"] = "GPUs cannot be asked: pip install nvidia-ml-py"
    except Exception as error:  # NVMLError has a class a fault
        found_none = type(error).__name__ in ("NVMLError_LibraryNotFound", "NVMLError_DriverNotLoaded")
        record["gpu_problem"] = "no NVIDIA GPU: found no driver" if found_none else f"NVML: {error}"
    return record


def _nvml() -> dict[str, Any]:
    import pynvml

    pynvml.nvmlInit()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        cuda = pynvml.nvmlSystemGetCudaDriverVersion()
        return {
            "gpus": [_gpu(handle) for handle in handles],
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "driver_cuda": f"{cuda // 1000}.{cuda % 1000 // 10}",
            "gpu_problem": None if handles else "no NVIDIA GPU: the driver sees none",
        }
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: Any) -> dict[str, Any]:
    import pynvml

    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return {
        "name": pynvml.nvmlDeviceGetName(handle),
        "memory_mib": pynvml.nvmlDeviceGetMemoryInfo(handle).total // 2**20,
        "capability": f"{major}.{minor}",
    }


def memory_is_limited() -> bool:
    """Whether a limit of the address space (`ulimit -v`) makes running out of memory a clean error."""
    with contextlib.suppress(ImportError, OSError):
        import resource

        return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    return False


def cpu_name() -> str:
    """The CPU's own name where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _os_name() -> str:
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    with contextlib.suppress(OSError):
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    return kernel


def gpu_memory_bytes() -> int | None:
    """Memory of the first NVIDIA GPU, asked of its driver; None where there is none."""
    with contextlib.suppress(Exception):  # NVML may be missing or forbidden
        import pynvml

        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).total)
    return None
