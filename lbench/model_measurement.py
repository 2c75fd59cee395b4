"""A model's case in the hands of a worker: checked in its parts, then prepared as any other case is.

Its mixers and the whole at tiny size are checked before its weights are made, so that the checks have the
memory to themselves.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lbench.case import Case
from lbench.measurement import Outcome, Process, attest_and_weigh, built, called_once, compiled, describe_call
from lbench.protocol import Protocol, Stopping

if TYPE_CHECKING:
    from lbench.attest import Kernels
    from lbench.models.workload import ModelWorkload

_Seen = tuple[list[dict[str, Any]], dict[str, float]]
"""Kernels, and what the meter says."""


def prepare_model(
    case: Case, device: str, protocol: Protocol | None, process: Process, outcome: Outcome
) -> None:
    """Checks, compiles and describes a model's case; fills `outcome` as `measurement.prepare` does.

    Without a protocol its parts are checked and no more: the weights of the whole are not made.
    """
    from lbench import attest, model_check, models
    from lbench.models import costs
    from lbench.models.workload import build

    stages, compilations = process.stages, process.compilations
    before = compilations.variants
    cold = process.is_new_to(case.backend)
    outcome["model"] = {
        "params": models.of_case(case).parameters,
        "useful_flops": costs.useful_flops(case),
        "executed_flops": costs.executed_flops(case),
        "floor_bytes": costs.floor_bytes(case),
        "least_bytes": costs.memory_of(case).total,
    }
    with stages.enter("verification", "verify"):
        verification = model_check.check(case, device)
        gc.collect()  # what the checks leave in cycles is as large as the mixers' inputs
    outcome["verify_s"] = stages.spent["verify"]
    outcome |= verification.as_dict()
    if verification.verdict != "ok" or protocol is None:
        return
    work, clock = built(build, case, device, process)
    result = called_once(work, clock, process, outcome)
    with stages.enter("the digest of the first call", "verify"):
        first = attest.digest(work.traces(result)) if work.optimizer else {}
        del result
    calls = _Calls(work, device, protocol.stopping, process, outcome)
    call_s = calls.trained(first) if work.optimizer else calls.served()
    with stages.enter("timing of the host", "warm_up"):
        describe_call(work, device, protocol, call_s, outcome)
    outcome["compile"] = compiled(outcome, cold, compilations.variants - before)
    outcome["model"] |= calls.metered or calls.meter()
    attest_and_weigh(work, device, protocol, process, outcome, calls.kernels)


@dataclass
class _Calls:
    """The calls between a model's first one and its samples.

    One that may be long is watched (kernels, share of the mixer) while it is made for another purpose. Where
    it was short after all, what was seen is dropped: there are calls for each purpose then.
    """

    work: ModelWorkload
    device: str
    stopping: Stopping
    process: Process
    outcome: Outcome
    kernels: Kernels = ()
    metered: dict[str, float] = field(default_factory=dict)
    """mixer_ms and metered_ms; empty where no long call was watched."""

    def trained(self, first: Mapping[str, str]) -> float:
        """Ledger and determinism of a training step; how long it takes, in seconds.

        `first` is the digest of the first one; every one of them begins at the same weights.
        """
        from lbench.memory import slows_calls

        watched = self.stopping.is_long(self.outcome["first_call_s"]) and not slows_calls(self.device)
        digest, call_s = self._ledger(watched)
        deterministic = digest == first
        mixers = (self.work.case.backend, self.work.case.attention)
        untold = not deterministic and mixers not in self.process.varying
        if untold or not self.metered:
            # The first call may differ by right, where autotuning chose another kernel meanwhile.
            later, call_s = self._step(watched=not self.metered and self.stopping.is_long(call_s))
            deterministic = later == digest
            if not deterministic:
                self.process.varying.add(mixers)
        self.outcome["deterministic"] = deterministic
        return call_s

    def served(self) -> float:
        """Ledger and determinism of prefill or decoding; how long a call takes, in seconds."""
        from lbench import attest

        digest, call_s = self._ledger(watched=False)
        with self.process.stages.enter("a second call", "verify"):
            watch = self._watching() if self.stopping.is_long(call_s) else None
            again = attest.call_again(self.work, digest, self.device, watch)
        self._keep(again.watched, again.call_s)
        self.outcome["deterministic"] = again.deterministic
        return again.call_s

    def meter(self) -> dict[str, float]:
        """mixer_ms and metered_ms of a call of their own."""
        with self.process.stages.enter("the metered call", "attest"), self.work.meter.running() as metered:
            self.work.call()
        return metered

    def _ledger(self, watched: bool) -> tuple[dict[str, str], float]:
        """The digest of a call whose memory is watched, and how long it took."""
        from lbench import attest, memory

        with self.process.stages.enter("the memory pass", "memory"):
            self.work.begin_again()
            if self.device.startswith("cuda"):
                memory.give_back()  # now: the meter is not to count what the driver takes for it
            with self._watching() if watched else contextlib.nullcontext() as seen:
                started = time.perf_counter()
                result, self.outcome["memory"] = self.work.ledger(self.device)
                call_s = time.perf_counter() - started
        self._keep(seen, call_s)
        with self.process.stages.enter("the digest of the memory pass", "verify"):
            return attest.digest(self.work.traces(result)), call_s

    def _step(self, watched: bool) -> tuple[dict[str, str], float]:
        """The digest of one more step of training, and how long it took."""
        from lbench import attest
        from lbench.clock import clock_of

        with self.process.stages.enter("a second call", "verify"):
            clock = clock_of(self.device, cold=False)
            self.work.begin_again()
            clock.wait()
            with self._watching() if watched else contextlib.nullcontext() as seen:
                started = time.perf_counter()
                result = self.work.call()
                clock.wait()
                call_s = time.perf_counter() - started
            self._keep(seen, call_s)
            return attest.digest(self.work.traces(result)), call_s

    @contextlib.contextmanager
    def _watching(self) -> Iterator[_Seen]:
        from lbench import attest

        with attest.kernels_seen(self.device) as kernels, self.work.meter.running() as metered:
            yield kernels, metered

    def _keep(self, seen: _Seen | None, call_s: float) -> None:
        if seen is not None and self.stopping.is_long(call_s):
            self.kernels, self.metered = tuple(seen[0]), seen[1]
