"""The device of a run, as a probing worker finds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lbench import preflight
from lbench.errors import UsageError
from lbench.isolation import Died, ProcessWorker, TimedOut, Worker
from lbench.replay import is_replay

PROBE_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a probing worker found out."""

    device: str
    """The torch device, `cuda:0` or `cpu`, or `replay:FOLDER`."""
    environment: dict[str, Any]
    copy_bandwidth_gb_s: float
    matmul_tflop_s: float = 0.0
    """Of a large matrix product; 0 where that was not measured (a replay of older rows)."""
    uuid: str = ""
    """The GPU's name to NVML, for this session alone: it is not kept with the rows."""

    @property
    def kind(self) -> str:
        """cuda | cpu; of a replay, that of its rows."""
        return str(self.environment["device"]) if is_replay(self.device) else self.device.partition(":")[0]

    @property
    def name(self) -> str:
        """The GPU's or the CPU's name."""
        return str(self.environment["gpu"] or self.environment["cpu"])

    @property
    def memory_bytes(self) -> int | None:
        """Memory of the device."""
        mib = self.environment.get("gpu_memory_mib" if self.kind == "cuda" else "memory_mib")
        return None if mib is None else mib * 2**20

    @property
    def capability(self) -> tuple[int, int] | None:
        """CUDA compute capability."""
        pair = self.environment.get("capability")
        return None if pair is None else (pair[0], pair[1])


def probe(asked: str | None, make_worker: Callable[[], Worker] = ProcessWorker) -> Device:
    """Finds out in a worker what device there is. UsageError where the one asked for is not."""
    worker = make_worker()
    try:
        found = worker.ask({"do": "locate", "device": asked}, PROBE_TIMEOUT_S)
        if "usage_error" in found:
            raise UsageError(found["usage_error"])
        with preflight.hold(found["uuid"] or found["device"]):
            found |= worker.ask({"do": "probe", "device": found["device"]}, PROBE_TIMEOUT_S)
    except (Died, TimedOut) as error:
        raise UsageError(f"the device could not be probed: {error}; see `lbench doctor`") from error
    finally:
        worker.close()
    return Device(**found)
