"""Can lbench's times be trusted? Three proofs, as rows and figures in a folder.

agreement    its times of ten calls, 20 us to 100 ms, against the GPU's own. Those timed by events: against
             the times of their kernels by torch's profiler, of the very calls that lbench samples, so that
             both have one clock. Those timed as chains in a graph: against ncu's gpu__time_duration of the
             same graph, or the profiler's times of its kernels where ncu tells none. Both are kept for all
A/A          one call measured as if it were two: how often are equal calls told apart?
slowdowns    calls that do 2, 3 and 5 % more work: how often is that found?

    python studies/timing.py --out results/timing-study          # a GPU, about four minutes
    python studies/timing.py --device cpu --small --out /tmp/study

Rows are written as they come. Ctrl-C (or `timeout -s INT 400`) ends the part in hand: figures and summary are
then of the rows until there, and say how many these are.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import timing_calls
import timing_figures
import timing_ncu
import timing_reference
import torch
from timing_calls import Timed
from timing_summary import SLOWDOWNS, summary

from lbench import environment, measurement, preflight, ratios, rotation, timers, timing
from lbench.clock import Clock
from lbench.protocol import Protocol, Stopping
from lbench.statistics import median, median_interval
from lbench.timers import Turn

LONG_MS = 20.0
"""A chain that ncu watches takes so long: what ncu counts for nothing is a hundredth of it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    shortest_s: float
    longest_s: float
    calls: int
    """Of the agreement."""
    pairs: int
    """A/A comparisons."""
    slowed: int
    """Comparisons a slowdown."""
    pair_call_s: tuple[float, ...]
    """Lengths of the calls that are compared."""
    turn_samples: int
    """Samples of one turn."""
    stopping: Stopping = dataclasses.field(default_factory=lambda: Stopping(warm_up_s=0.1))


FULL = Size(
    shortest_s=25e-6,  # calls come out up to a tenth shorter, and none is to be below 20 us
    longest_s=100e-3,
    calls=10,
    pairs=1000,
    slowed=100,
    pair_call_s=(50e-6, 120e-6, 300e-6, 800e-6),
    turn_samples=8,
)
SMALL = Size(
    shortest_s=1e-3,
    longest_s=5e-3,
    calls=3,
    pairs=4,
    slowed=2,
    pair_call_s=(5e-4, 1e-3),
    turn_samples=2,
    stopping=Stopping(budget_s=0.1),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ready:
    """A call with the clock that a sweep would take for it."""

    work: Timed
    clock: Clock
    protocol: Protocol
    """As used."""
    call_s: float
    telemetry: Any

    @property
    def sample_s(self) -> float:
        """How long a sample takes."""
        return self.call_s * self.protocol.calls_per_sample + self.clock.between_s

    def warm_up(self) -> None:
        """As a sweep does before samples."""
        timing.warm_up(self.work.call, self.clock, self.protocol.stopping, self.sample_s)

    def sampled(self) -> timing.Sample:
        """Samples as a sweep takes them, in one round."""
        self.warm_up()
        stopping = self.protocol.stopping
        part = stopping.share(0, 0.0, stopping.rounds_of(self.call_s), self.call_s)
        return timing.take(self.work.call, self.clock, part, sample_s=self.sample_s, telemetry=self.telemetry)

    def watched(self, device: str) -> tuple[timing.Sample, float]:
        """Samples, and by the profiler the kernels' time of a call (ms).

        Of chains, which a profiler draws out, some are looked at after the samples; else it sees the samples.
        """
        if self.protocol.calls_per_sample == 1:
            return timing_reference.watched(self.work, device, self.sampled)
        taken = self.sampled()
        self.warm_up()
        return taken, timing_reference.look(self.work, device, self.clock, self.protocol.calls_per_sample)


def clock_mhz(taken: timing.Sample) -> float:
    """The median SM clock over the blocks of a sample; 0 where the device tells none."""
    return median([block["sm_mhz"] or 0.0 for block in taken.blocks] or [0.0])


def ready(work: Timed, device: str, stopping: Stopping) -> Ready:
    """A call with the clock that a sweep would take for it."""
    protocol = Protocol(stopping=stopping)
    found: dict[str, Any] = {}
    work.call()
    measurement.describe_call(work, device, protocol, 0.0, found)
    turn = Turn(number=0, call_s=found["call_s"], enqueue_s=found["enqueue_s"])
    clock, used, doubts = timers.clock_for(work, device, protocol, turn)
    for doubt in doubts:
        print(f"  {work.name}: {doubt}")
    return Ready(
        work=work,
        clock=clock,
        protocol=used,
        call_s=found["call_s"],
        telemetry=measurement.telemetry_of(device),
    )


def agreement(device: str, size: Size) -> Iterator[dict[str, Any]]:
    """lbench's median and the profiler's for calls from the shortest to the longest."""
    for number in range(size.calls):
        wanted_s = size.shortest_s * (size.longest_s / size.shortest_s) ** (number / (size.calls - 1))
        one = ready(timing_calls.of_length(device, number, wanted_s), device, size.stopping)
        alone_ms = one.sampled().time_ms
        taken, profiler_ms = one.watched(device)
        low, high = median_interval(taken.times_ms)
        yield {
            "call": one.work.name,
            "timer": one.protocol.timer,
            "copies": one.protocol.input_copies,
            "length": one.protocol.calls_per_sample,
            "samples": len(taken.times_ms),
            "time_ms": taken.time_ms,
            "time_ms_low": low,
            "time_ms_high": high,
            "time_alone_ms": alone_ms,
            "sm_mhz": clock_mhz(taken),
            "kernels": timing_reference.kernels_of(one.work, device),
            "profiler_ms": profiler_ms,
        }


def watched_by_ncu(row: dict[str, Any]) -> timing_ncu.Watched:
    """What ncu is asked of a row."""
    kind, size = row["call"].split()
    chains = 1 if row["length"] == 1 else math.ceil(LONG_MS / (row["length"] * row["time_ms"]))
    return timing_ncu.Watched(kind=kind, size=int(size), copies=row["copies"], length=chains * row["length"])


def judged(row: dict[str, Any], seen: timing_ncu.Seen | None) -> dict[str, Any]:
    """A row against its reference: ncu's time of a whole chain where it told one, else the profiler."""
    reference = "ncu" if seen and seen.whole else "profiler"
    reference_ms = seen.time_ms if seen and seen.whole else row["profiler_ms"]
    return {
        **row,
        "ncu_ms": seen.time_ms if seen else None,
        "ncu_nothing_ms": seen.nothing_ms if seen else None,
        "ncu_sm_mhz": seen.sm_mhz if seen else None,
        "reference": reference,
        "reference_ms": reference_ms,
        "difference": row["time_ms"] / reference_ms - 1,
        "difference_to_profiler": row["time_ms"] / row["profiler_ms"] - 1,
        "difference_to_ncu": row["time_ms"] / seen.time_ms - 1 if seen else None,
    }


@dataclasses.dataclass(kw_only=True, eq=False)
class Player:
    """One side of a comparison that takes turns."""

    name: str
    slowdown: float
    turn: Callable[[], float]
    """The median (ms) of one turn."""


def players(device: str, size: Size) -> list[Player]:
    """Every call twice (the A/A pairs), and once a slowdown."""
    made = []
    for number, call_s in enumerate(size.pair_call_s):
        first = timing_calls.of_length(device, number, call_s, linear=True)
        for slowdown in (0.0, 0.0, *SLOWDOWNS):
            work = timing_calls.slowed(first, device, slowdown) if slowdown else first
            made.append(Player(name=first.name, slowdown=slowdown, turn=_turn(work, device, size)))
    return made


def _turn(work: Timed, device: str, size: Size) -> Callable[[], float]:
    one = ready(work, device, size.stopping)
    part = Stopping(least=size.turn_samples, most=size.turn_samples, budget_s=1.0)

    def turn() -> float:
        return median(timing.take(work.call, one.clock, part, sample_s=one.sample_s).times_ms)

    return turn


def comparisons(device: str, size: Size) -> Iterator[dict[str, Any]]:
    """A/A comparisons and those with a slowdown, all in one rotation.

    An A/A verdict has the noise floor of the comparison before it, the others that of their own rotation.
    """
    everyone = players(device, size)
    pairs_each = size.pairs // len(size.pair_call_s)
    slowed_each = size.slowed // len(size.pair_call_s)
    floors: dict[str, ratios.Noise | None] = {}
    for number in range(pairs_each):
        playing = [one for one in everyone if not one.slowdown or number < slowed_each]
        turns: dict[Player, list[float]] = {one: [] for one in playing}
        for round_number in range(size.stopping.rounds):
            for one in rotation.order(playing, number * size.stopping.rounds + round_number):
                turns[one].append(one.turn())
        for name in dict.fromkeys(one.name for one in playing):
            first, twin, *others = (one for one in playing if one.name == name)
            floor = floors.get(name)
            yield _row(
                "A/A", name, 0.0, ratios.paired(turns[twin], turns[first], floor), turns[twin], turns[first]
            )
            floors[name] = ratios.noise_of([(turns[twin], turns[first])])
            for other in others:
                judged = ratios.paired(turns[other], turns[first], floors[name])
                yield _row("slowdown", name, other.slowdown, judged, turns[other], turns[first])


def _row(
    kind: str, name: str, slowdown: float, judged: Any, one: Sequence[float], other: Sequence[float]
) -> dict[str, Any]:
    alone = ratios.paired(one, other)
    return {
        "kind": kind,
        "call": name,
        "slowdown": slowdown,
        **dataclasses.asdict(judged),
        "differs_without_floor": alone is not None and alone.differs,
        "rounds_ms": " ".join(f"{time_ms:.7g}" for time_ms in one),
        "other_rounds_ms": " ".join(f"{time_ms:.7g}" for time_ms in other),
    }


def kept(rows: Iterable[dict[str, Any]], path: Path, say: Callable[[Any], None]) -> list[dict[str, Any]]:
    """Rows as CSV, each written as it comes; where somebody stops the study, those until then."""
    found: list[dict[str, Any]] = []
    with path.open("w", newline="", encoding="utf-8") as file:
        try:
            for row in rows:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                if not found:
                    writer.writeheader()
                writer.writerow(row)
                file.flush()
                found.append(row)
                say(row)
        except KeyboardInterrupt:
            print(f"stopped after {len(found)} rows of {path.name}", flush=True)
    return found


def told(row: dict[str, Any]) -> None:
    """Prints a row of the agreement."""
    references = "" if row["ncu_ms"] is None else f"ncu {row['ncu_ms']:.4f} ms, "
    print(
        f"{row['call']}: {row['time_ms']:.4f} ms ({row['timer']}), {references}"
        f"profiler {row['profiler_ms']:.4f} ms, {row['difference']:+.2%} of {row['reference']}",
        flush=True,
    )


def study(device: str, size: Size, out: Path, compare: bool = True) -> dict[str, Any]:
    """Both parts (or the agreement alone), written as they come, and their figures."""
    path = out / "agreement.csv"
    measured_rows = kept(agreement(device, size), path, lambda row: print(row["call"], flush=True))
    seen = timing_ncu.watch([watched_by_ncu(row) for row in measured_rows], device)
    agreed = kept(list(map(judged, measured_rows, seen)), path, told)
    compared = kept(comparisons(device, size), out / "comparisons.csv", lambda _: None) if compare else []
    timing_figures.draw(agreed, compared, out)
    return summary(agreed, compared)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for rows and figures")
    parser.add_argument("--device", help="cpu, cuda or cuda:N; by default a GPU if there is one")
    parser.add_argument("--small", action="store_true", help="a few short calls, as the tests do")
    parser.add_argument("--agreement", action="store_true", help="the agreement alone")
    given = parser.parse_args(arguments)
    device = environment.choose_device(given.device)
    given.out.mkdir(parents=True, exist_ok=True)
    if device == "cpu":
        # The smallest share of a machine that may have other things to do.
        torch.set_num_threads(1)
    else:
        torch.cuda.set_device(device)
    started = time.perf_counter()
    with preflight.hold(measurement.gpu_uuid(device) or device):
        found = study(device, SMALL if given.small else FULL, given.out, not given.agreement)
    found |= {
        "wall_s": round(time.perf_counter() - started, 1),
        "environment": environment.describe(device),
        "lbench_commit": environment.lbench_commit(),
    }
    (given.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "environment"}, indent=1))


if __name__ == "__main__":
    main()
