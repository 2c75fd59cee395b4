"""A model's case in the hands of a worker: checked in its parts, then prepared as any other case is.

Its mixers and the whole at tiny size are checked before its weights are made, so that the checks have the
memory to themselves.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

from lbench.case import Case
from lbench.measurement import Outcome, Process, attest_and_weigh, built, called_once, compiled, describe_call
from lbench.protocol import Protocol

if TYPE_CHECKING:
    from lbench.models.workload import ModelWorkload


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
    called_once(work, clock, process, outcome)
    with stages.enter("the memory pass", "memory"):
        result, outcome["memory"] = work.ledger(device)
    with stages.enter("a second call", "verify"):
        first = attest.digest(work.outputs(result))
        del result
        call_s = _second_call(work, first, device, outcome)
    with stages.enter("timing of the host", "warm_up"):
        describe_call(work, device, protocol, call_s, outcome)
    outcome["compile"] = compiled(outcome, cold, compilations.variants - before)
    with stages.enter("the metered call", "attest"):
        mixer_ms, metered_ms = work.meter.measure(work.call)
    outcome["model"] |= {"mixer_ms": mixer_ms, "metered_ms": metered_ms}
    attest_and_weigh(work, device, protocol, process, outcome)


def _second_call(work: ModelWorkload, first: dict[str, str], device: str, outcome: Outcome) -> float:
    """How long a call takes, and whether its bits are the first one's; a training step moves the weights."""
    from lbench import attest
    from lbench.clock import clock_of

    if work.optimizer is None:
        again = attest.call_again(work, first, device)
        outcome["deterministic"] = again.deterministic
        return again.call_s
    clock = clock_of(device, cold=False)
    started = time.perf_counter()
    work.call()
    clock.wait()
    return time.perf_counter() - started
