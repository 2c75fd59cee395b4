"""What the card says of itself beside the samples: SM clock, power, temperature, slowdowns, processes.

Asked of NVML (nvidia-ml-py), never in a timed region. Whatever a card or a driver does not tell is None.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

THERMAL, HARDWARE, POWER_CAP = "thermal", "hardware", "power cap"
REASONS = {0x04: POWER_CAP, 0x08: HARDWARE, 0x20: THERMAL, 0x40: THERMAL, 0x80: HARDWARE}
"""NVML's bits for why clocks are below what was asked for, as slowdowns; other bits are harmless."""
DISCARDED = (THERMAL, HARDWARE)
"""Slowdowns under which no sample counts."""


@dataclass(frozen=True, kw_only=True)
class State:
    """One look at a card."""

    sm_mhz: int | None = None
    power_w: float | None = None
    temperature_c: int | None = None
    slowdowns: frozenset[str] = field(default_factory=frozenset)


class Telemetry(Protocol):
    """Something that can be asked how the device is."""

    def read(self) -> State | None:
        """The state now; None where the device tells nothing (a CPU, NVML gone)."""


class Silent:
    """A device that tells nothing."""

    def read(self) -> State | None:
        """None."""
        return None


class NvmlTelemetry:
    """One GPU, by the uuid that torch gives it."""

    def __init__(self, uuid: str) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._nvml = pynvml
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)

    def read(self) -> State | None:
        """SM clock, power, temperature and slowdowns; None as soon as NVML stops answering."""
        nvml, handle = self._nvml, self._handle
        power_mw = self._asked(nvml.nvmlDeviceGetPowerUsage, handle)
        state = State(
            sm_mhz=self._asked(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            power_w=None if power_mw is None else power_mw / 1000,
            temperature_c=self._asked(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            slowdowns=slowdowns(self._asked(_clock_reasons(nvml), handle) or 0),
        )
        return None if state == State() else state

    def processes(self) -> set[int] | None:
        """Ids of the processes that compute on the card; None where it does not tell."""
        found = self._asked(self._nvml.nvmlDeviceGetComputeRunningProcesses, self._handle)
        return None if found is None else {process.pid for process in found}

    def settings(self) -> dict[str, Any]:
        """What an administrator may have set: persistence mode, and whether clocks are locked."""
        nvml, handle = self._nvml, self._handle
        bits = self._asked(_clock_reasons(nvml), handle) or 0
        mode = self._asked(nvml.nvmlDeviceGetPersistenceMode, handle)
        return {
            "persistence_mode": None if mode is None else bool(mode),
            "clocks_set_by_user": bool(bits & nvml.nvmlClocksThrottleReasonApplicationsClocksSetting),
        }

    def _asked(self, question: Any, *arguments: Any) -> Any:
        with contextlib.suppress(self._nvml.NVMLError):
            return question(*arguments)
        return None


def _clock_reasons(nvml: Any) -> Any:
    # Renamed from throttle to event reasons; old drivers know the old name alone.
    name = "nvmlDeviceGetCurrentClocks{}Reasons"
    return getattr(nvml, name.format("Event"), None) or getattr(nvml, name.format("Throttle"))


def slowdowns(bits: int) -> frozenset[str]:
    """The slowdowns that NVML's clock reasons name."""
    return frozenset(name for bit, name in REASONS.items() if bits & bit)


def of_gpu(uuid: str) -> NvmlTelemetry | Silent:
    """The telemetry of a GPU; a silent one where NVML is not there or knows no such card."""
    try:
        return NvmlTelemetry(uuid)
    except Exception:  # missing package, missing driver, forbidden, a MIG slice: all the same to the caller
        return Silent()


def strangers(processes: Collection[int] | None, own: Collection[int]) -> int:
    """How many processes on the card are not our own.

    In a container the driver counts in the host's process ids, in which ours are not found: then only a
    number beyond that of our own tells.
    """
    if not processes:
        return 0
    if set(own) & set(processes):
        return len(set(processes) - set(own))
    return max(len(processes) - len(own), 0)
