"""One case in the hands of a worker: compiled, verified and described once, before its rounds of samples."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lbench import telemetry
from lbench.case import Case
from lbench.compilation import Compilations
from lbench.doubts import Doubt
from lbench.protocol import Protocol, Stopping
from lbench.statistics import median
from lbench.telemetry import Telemetry

if TYPE_CHECKING:
    from lbench.attest import Kernels
    from lbench.clock import Clock

Outcome = dict[str, Any]
"""Fields of a row: verdict, reason, times_ms, enqueue_us, first_call_s, verify_s, memory, errors ..."""


@dataclass
class Stages:
    """Where in a case the worker is, so that a failure can say it, and what each stage took."""

    name: str = "set-up"
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds by what they went to."""

    @contextlib.contextmanager
    def enter(self, name: str, account: str) -> Iterator[None]:
        """A stage of that name; its time is added to `account`."""
        self.name = name
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spent[account] = self.spent.get(account, 0.0) + time.perf_counter() - started


@dataclass
class Process:
    """What a worker process remembers from request to request."""

    stages: Stages = field(default_factory=Stages)
    """Of the request in hand."""
    compilations: Compilations = field(default_factory=Compilations)
    prepared: set[str] = field(default_factory=set)
    """Keys of the cases that have been called in it."""
    varying: set[tuple[str, str]] = field(default_factory=set)
    """Mixers whose training steps were seen to give other bits when made again."""
    segments: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Of long cases by key: what their calls left in the allocator's cache; rounds begin with it."""
    _telemetry: dict[str, Telemetry] = field(default_factory=dict)

    def is_new_to(self, backend: str) -> bool:
        """Whether no case of the backend has been called in it."""
        return not any(key.startswith(f"{backend},") for key in self.prepared)

    def telemetry(self, device: str) -> Telemetry:
        """That of a torch device; opened once."""
        if device not in self._telemetry:
            self._telemetry[device] = telemetry_of(device)
        return self._telemetry[device]


def telemetry_of(device: str) -> Telemetry:
    """NVML's view of a torch device; a silent one for a CPU."""
    return telemetry.of_gpu(uuid) if (uuid := gpu_uuid(device)) else telemetry.Silent()


def gpu_uuid(device: str) -> str:
    """The name NVML knows a torch device by; empty for a CPU."""
    if not device.startswith("cuda"):
        return ""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def prepare(
    case: Case,
    device: str,
    protocol: Protocol | None,
    process: Process,
    outcome: Outcome,
    limits: Mapping[str, Mapping[str, float]],
) -> None:
    """Compiles, verifies and describes a case; fills `outcome` as far as it comes.

    Without a protocol nothing is to be timed. Else it leaves `call_s` and `enqueue_s`, which every round
    wants to know, beside the fields of the row. `limits` are the errors allowed, where another backend of the
    mechanism had the same inputs before; else they are found.
    """
    from lbench import workload

    stages, compilations = process.stages, process.compilations
    before = compilations.variants
    cold = process.is_new_to(case.backend)
    work, clock = built(workload.build_mixer, case, device, process)
    stopping = (protocol or Protocol()).stopping
    call_s, kernels = verified(work, clock, device, process, outcome, limits, stopping)
    if outcome["verdict"] != "ok":
        return
    if protocol is not None:
        with stages.enter("timing of the host", "warm_up"):
            describe_call(work, device, protocol, call_s, outcome)
        outcome["compile"] = compiled(outcome, cold, compilations.variants - before)
    attest_and_weigh(work, device, protocol, process, outcome, kernels)


def verified(
    work: Any,
    clock: Clock,
    device: str,
    process: Process,
    outcome: Outcome,
    limits: Mapping[str, Mapping[str, float]],
    stopping: Stopping,
) -> tuple[float, Kernels]:
    """Calls a workload three times, for its verdict and its ledger; how long the last call took, in seconds.

    The result of one call alone is alive at a time. Where calls are long by `stopping` the kernels of
    the last one come too, so that none is made for them alone.
    """
    from lbench import attest, repeats
    from lbench.comparison import Error
    from lbench.memory import take_ledger

    stages = process.stages
    result = called_once(work, clock, process, outcome)
    with stages.enter("verification", "verify"):
        allowed = {name: Error(**limit) for name, limit in limits.items()}
        first = repeats.first_call(work, work.outputs(result), allowed)
        del result
    with stages.enter("the memory pass", "memory"):
        result, outcome["memory"] = take_ledger(work, device)
    may_be_long = stopping.is_long(stages.spent["memory"])
    with stages.enter("verification", "verify"):
        second = attest.digest(work.outputs(result))
        del result
        outcome["inputs_id"] = attest.inputs_id(work)
        again = attest.call_again(work, second, device, attest.kernels_seen(device) if may_be_long else None)
        outcome["deterministic"] = again.deterministic
        verification = first.with_later(work, again)
        clock.wait()
    outcome["verify_s"] = stages.spent["verify"]
    outcome |= verification.as_dict()
    return again.call_s, tuple(again.watched or ()) if stopping.is_long(again.call_s) else ()


def built(build: Callable[[Case, str], Any], case: Case, device: str, process: Process) -> tuple[Any, Clock]:
    """A workload and a clock of its device. A backend's first one imports its package: that is start-up."""
    from lbench.clock import clock_of

    account = "start_up" if process.is_new_to(case.backend) else "build"
    with process.stages.enter("set-up", account):
        work = build(case, device)
        clock = clock_of(device, cold=False)
        clock.wait()
    return work, clock


def called_once(work: Any, clock: Clock, process: Process, outcome: Outcome) -> Any:
    """What the first call of a workload returned, which compiles it."""
    with process.stages.enter("the first call", "compile"):
        result = work.call()
        clock.wait()
    process.prepared.add(work.case.key)
    outcome["first_call_s"] = process.stages.spent["compile"]
    return result


def compiled(outcome: Outcome, cold: bool, variants: int) -> dict[str, float]:
    """What compilation took: the first call beyond a steady one, `cold` in a process new to the backend."""
    beyond_s = max(outcome["first_call_s"] - outcome["call_s"] - outcome["enqueue_s"], 0.0)
    return {"cold_s" if cold else "length_s": beyond_s, "variants": variants}


def attest_and_weigh(
    work: Any,
    device: str,
    protocol: Protocol | None,
    process: Process,
    outcome: Outcome,
    seen: Kernels = (),
) -> None:
    """Which kernels ran, and where they are the right ones and something is timed, the energy of a call.

    `seen` are kernels that a call for another purpose showed. A long call is weighed while it is sampled, in
    rounds that begin with the memory its calls have left.
    """
    from lbench import attest, energy, memory

    with process.stages.enter("attestation", "attest"):
        outcome["kernels"], reason = attest.what_ran(work, device, seen)
    if not work.case.model and (stranger := attest.strangers(work.backend, outcome["kernels"])):
        outcome["doubts"] = [*outcome.get("doubts", ()), Doubt.UNEXPECTED_KERNEL.told(stranger)]
    if reason:
        outcome |= {"verdict": "wrong", "reason": reason}
    elif protocol is not None:
        with process.stages.enter("the energy window", "energy"):
            if protocol.stopping.is_long(outcome["call_s"]):
                if protocol.energy:
                    energy.idle_power(device)
                process.segments[work.case.key] = memory.free_segments(device)
            elif protocol.energy:
                outcome["energy"] = energy.per_call(work.call, device, outcome["call_s"])


def describe_call(work: Any, device: str, protocol: Protocol, at_most_s: float, outcome: Outcome) -> None:
    """How long a call takes, and the host to enqueue it; a long one is not called once more."""
    from lbench import timing
    from lbench.clock import clock_of

    stopping = protocol.stopping
    if stopping.is_long(at_most_s):
        outcome |= {"call_s": at_most_s, "enqueue_us": (), "enqueue_s": 0.0}
        return
    clock = clock_of(device, cold=protocol.l2 == "cold")
    call_s, enqueue_us = timing.host_times(work.call, clock, stopping.slow_s)
    enqueue_s = max(enqueue_us[1:], default=enqueue_us[0]) * 1e-6
    if call_s < stopping.slow_s:
        # The device's own time decides whether the call is a short one.
        clock.prepare(enqueue_s)
        call_s = median([reading.time_ms for reading in clock.read(work.call, 3)]) * 1e-3
    outcome |= {"call_s": max(call_s, 1e-6), "enqueue_us": enqueue_us, "enqueue_s": enqueue_s}
