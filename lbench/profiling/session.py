"""One profile from the outside: a worker verifies and records the case, then Nsight Compute watches it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbench import preflight
from lbench.barriers import barrier
from lbench.case import Case
from lbench.device import Device
from lbench.environment import lbench_commit
from lbench.isolation import Died, TimedOut, Worker
from lbench.profiling import folder as folders
from lbench.profiling import nsight
from lbench.profiling.capture import keep_tuning
from lbench.profiling.folder import Kept
from lbench.protocol import Protocol

GIVEN_ON = (
    "verdict",
    "reason",
    "errors",
    "limits",
    "coverage",
    "deterministic",
    "enqueue_us",
    "call_s",
    "kernels",
)
"""Fields of the worker's outcome that the document keeps."""


class NotProfiled(Exception):
    """The case is not one that `run` would time; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What is to be profiled, where, and with what."""

    case: Case
    device: Device
    folder: Path
    wanted: Collection[str]
    """memory, triton, ncu; the trace is always taken."""
    timeout_s: float
    make_worker: Callable[[], Worker]

    def take(self, telling: Callable[[str], None] = lambda _: None) -> Kept:
        """Fills the folder. NotProfiled where the case cannot run or its result is wrong."""
        if found := barrier(self.case, self.device.capability):
            raise NotProfiled(f"{found[0]}: {found[1]}")
        keep_tuning()
        with preflight.hold(self.device.uuid or self.device.device):
            telling("verifying and recording")
            outcome = self._recorded()
            document = self._document(outcome)
            folders.write(self.folder, document)
            if "ncu" in self.wanted:
                telling("Nsight Compute replays every kernel")
                # Written before and after: what there is survives an end in between.
                folders.write(self.folder, _with_part(document, "ncu", "it was ended before it was done"))
                folders.write(self.folder, _with_part(document, "ncu", self._watched()))
        return folders.read(self.folder)

    def _recorded(self) -> dict[str, Any]:
        self.folder.mkdir(parents=True, exist_ok=True)
        worker = self.make_worker()
        request = {
            "do": "profile",
            "case": self.case.as_dict(),
            "device": self.device.device,
            "protocol": Protocol().as_dict(),
            "folder": str(self.folder.resolve()),
            "wanted": sorted(self.wanted),
        }
        try:
            worker.ask({"do": "start", "device": self.device.device}, self.timeout_s)
            outcome = worker.ask(request, self.timeout_s)
        except Died as error:
            raise NotProfiled(f"crashed: {error}") from error
        except TimedOut as error:
            raise NotProfiled(f"timeout: {error}; --cell-timeout gives it more") from error
        finally:
            worker.close()
        if outcome["verdict"] != "ok" or "profile" not in outcome:
            raise NotProfiled(f"{outcome['verdict']}: {outcome.get('reason', '')}")
        return outcome

    def _watched(self) -> str:
        if self.device.kind != "cuda":
            return "Nsight Compute watches GPUs; this is a CPU"
        try:
            return nsight.watch(self.case, self.device.device, self.folder, self.timeout_s)
        except OSError as error:
            return f"ncu could not be started: {error}; {nsight.INSTALL}"

    def _document(self, outcome: dict[str, Any]) -> dict[str, Any]:
        return {
            "case": self.case.as_dict(),
            "key": self.case.key,
            "environment": self.device.environment,
            "copy_bandwidth_gb_s": self.device.copy_bandwidth_gb_s,
            "matrix_tflop_s": dict(self.device.matrix_tflop_s),
            "lbench_commit": lbench_commit(),
            **{name: outcome[name] for name in GIVEN_ON if name in outcome},
            **outcome["profile"],
        }


def _with_part(document: dict[str, Any], part: str, why: str) -> dict[str, Any]:
    return {**document, "parts": {**document["parts"], part: why}}
