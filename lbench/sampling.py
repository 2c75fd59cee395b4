"""A round of samples of a case that was prepared.

Between the rounds nothing of a case is kept but what its libraries have compiled: every round makes the
inputs anew, so that the memory belongs to the backend whose turn it is.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from lbench.case import Case
from lbench.compilation import Compilations
from lbench.doubts import Doubt
from lbench.measurement import Outcome, Process
from lbench.protocol import Protocol
from lbench.timers import Turn, clock_for

if TYPE_CHECKING:
    from lbench.clock import Clock

MOST_WARM_UPS = 5
"""Warm-up is repeated until nothing is compiled in it, so often at the most."""


def sample_round(case: Case, device: str, protocol: Protocol, turn: Turn, process: Process) -> Outcome:
    """Takes one round of samples: times_ms, blocks, discarded, doubts, and the protocol as it was.

    In a process that has not had the case before it is compiled first. Of a long call energy comes too.
    """
    from lbench import energy, memory, timing, workload

    stages, compilations = process.stages, process.compilations
    with stages.enter(f"the set-up of round {turn.number + 1}", "build"):
        work = workload.build(case, device)
    if case.key not in process.prepared:
        with stages.enter("the first call of a new worker", "compile"):
            work.call()
        process.prepared.add(case.key)
    with stages.enter(f"the warm-up of round {turn.number + 1}", "warm_up"):
        clock, resolved, doubts = clock_for(work, device, protocol, turn)
        # After the clock, which has memory of its own.
        memory.reserve(process.segments.get(case.key, ()), device)
        sample_s = turn.call_s * resolved.calls_per_sample + clock.between_s
        _warm_up(work, clock, protocol, sample_s, compilations)
    part = protocol.stopping.share(len(turn.seen), turn.spent_s, turn.number, turn.call_s)
    ready = compilations.variants
    long = protocol.stopping.is_long(turn.call_s)
    weighed = long and protocol.energy

    def take() -> timing.Sample:
        return timing.take(
            work.call, clock, part, sample_s=sample_s, seen=turn.seen, telemetry=process.telemetry(device)
        )

    with stages.enter(f"round {turn.number + 1}", "sampling"):
        taken, weight = energy.weighed(take, device, timing.Sample.calls) if weighed else (take(), {})
    if compilations.variants > ready:
        doubts.append(Doubt.FIRST_RUN_SLOW.told("a kernel was compiled between samples"))
    outcome = dataclasses.asdict(taken)
    if weighed:
        outcome["energy"] = weight
    if not long:
        del outcome["enqueue_us"]  # the host was timed when the case was prepared
    return outcome | {"doubts": [*taken.doubts, *doubts], "protocol": resolved.as_dict()}


def _warm_up(
    work: Any, clock: Clock, protocol: Protocol, sample_s: float, compilations: Compilations
) -> None:
    """The calls that a round begins with, again until nothing is compiled in them."""
    from lbench import timing

    for _ in range(MOST_WARM_UPS):
        ready = compilations.variants
        timing.warm_up(work.call, clock, protocol.stopping, sample_s)
        if compilations.variants == ready:
            break
    clock.wait()
