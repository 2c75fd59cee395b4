"""The replay device: a clock and a card made of kept samples, so that all above them runs without a GPU.

`--device replay:FOLDER` takes the rows of a result folder in place of a device. Verdicts, errors and memory
come back as kept, and so do the samples, each once (oftener where there are more rounds than samples). A
`replay.toml` in the folder changes that, or stands alone:

    copy_bandwidth_gb_s = 3000.0    # where the folder has no runs
    environment = { device = "cuda", gpu = "a GPU" }

    [[case]]                        # for every case that `match` fits; the last one wins, any key may lack
    match = "lightning_*,fwd,*"     # a pattern for keys
    times_ms = [1.0, 1.01]          # samples, in place of kept ones
    verdict = "crashed"             # in place of the kept verdict, with a reason
    reason = "..."
    seed = 1                        # as many samples as the protocol asks for, drawn at random from these
    slowdown = 1.3                  # times from `after` on are longer by this factor
    drift = 0.1                     # times grow evenly, by this share over as many samples as there are
    jump_ms = 5000.0                # the clock jumps by so much (backwards too) during one sample, at `after`
    after = 0.5                     # where: a share of as many samples as there are
    state = { sm_mhz = 1200, power_w = 300.0, temperature_c = 90, slowdowns = ["thermal"] }   # after that
    silent = true                   # the card tells nothing any more after that
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbench import fields, results, timing
from lbench.case import Case
from lbench.errors import UsageError, unknown
from lbench.protocol import Protocol
from lbench.replay_clock import ReplayClock, ReplayTelemetry, Script
from lbench.results import Results, Row, content_id
from lbench.statistics import median

PREFIX = "replay:"
SCRIPT = "replay.toml"
ENVIRONMENT = {"device": "cuda", "gpu": "scripted GPU", "cpu": "scripted CPU"}
TOP = {
    "copy_bandwidth_gb_s": fields.POSITIVE,
    "environment": fields.TABLE,
    "case": fields.some(fields.TABLE),
}
"""Fields of a script, and what each may be."""
CASE = {
    "match": fields.TEXT,
    "times_ms": fields.some(fields.NUMBER),
    "verdict": fields.TEXT,
    "reason": fields.TEXT,
    "seed": fields.WHOLE,
    "slowdown": fields.NUMBER,
    "drift": fields.NUMBER,
    "jump_ms": fields.NUMBER,
    "after": fields.NUMBER,
    "state": fields.TABLE,
    "silent": fields.YES_NO,
}
"""Those of a [[case]]."""
STATE = {
    "sm_mhz": fields.NUMBER,
    "power_w": fields.NUMBER,
    "temperature_c": fields.NUMBER,
    "slowdowns": fields.some(fields.TEXT),
}
KEPT = (
    "verdict",
    "reason",
    "first_call_s",
    "verify_s",
    "compile",
    "memory",
    "energy",
    "errors",
    "limits",
    "coverage",
    "inputs_id",
    "kernels",
    "deterministic",
    "model",
    "enqueue_us",
)
"""What comes back of a row as it is; samples and what follows from them are taken anew."""


def is_replay(device: str | None) -> bool:
    """Whether a device is `replay:FOLDER`."""
    return (device or "").startswith(PREFIX)


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A folder in place of a device."""

    folder: Path
    kept: Results
    scripts: tuple[Script, ...]
    environment: dict[str, Any]
    """That of the run with the most rows, marked as a replay."""
    copy_bandwidth_gb_s: float
    matrix_tflop_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(cls, device: str) -> Replay:
        """The device `replay:FOLDER`. UsageError where the folder has neither rows nor a script."""
        folder = Path(device.removeprefix(PREFIX))
        script = _read_script(folder / SCRIPT)
        if (folder / "rows.jsonl").is_file() or (folder / "rows.jsonl.gz").is_file():
            kept = results.read(folder)
        elif script:
            kept = Results(folder, {}, {}, {}, [])
        else:
            raise UsageError(f"device {device!r}: {folder} holds neither rows.jsonl nor {SCRIPT}")
        runs = Counter(row.run for row in kept.rows.values()).most_common(1)
        run = kept.runs.get(runs[0][0], {}) if runs else {}
        told = {**ENVIRONMENT, **kept.environments.get(run.get("environment", ""), {})}
        told |= script.get("environment", {})
        name = "cpu" if told["device"] == "cpu" else "gpu"
        told |= {
            name: f"{told[name]} (replay)",
            "replay": content_id({"rows": [row.to_line() for row in kept.rows.values()], **script}),
        }
        return cls(
            folder=folder,
            kept=kept,
            scripts=tuple(_script(given, folder / SCRIPT) for given in script.get("case", ())),
            environment=told,
            copy_bandwidth_gb_s=script.get("copy_bandwidth_gb_s") or run.get("copy_bandwidth_gb_s") or 1000.0,
            matrix_tflop_s=run.get("matrix_tflop_s") or {},
        )

    def script(self, case: Case) -> Script | None:
        """The last script that matches; None where none does."""
        matching = [one for one in self.scripts if fnmatch.fnmatchcase(case.key, one.match)]
        return matching[-1] if matching else None

    def row(self, case: Case) -> Row | None:
        """What is kept of a case."""
        return self.kept.rows.get(case.key)

    def samples_ms(self, case: Case, twin: bool = False) -> tuple[float, ...]:
        """The samples that a clock for the case reads, or one for its twin where that was kept."""
        row, script = self.row(case), self.script(case)
        kept = row.times_ms if row else ()
        if twin and row and row.twin:
            kept = tuple(row.twin["times_ms"])
        return (script.times_ms if script else ()) or kept

    def clock(self, case: Case, first: int = 0, twin: bool = False) -> ReplayClock:
        """A clock for a case that has samples; `first` were read before."""
        script = self.script(case) or Script()
        chance = random.Random(f"{script.seed} {case.key} {first} {twin}")
        return ReplayClock(samples_ms=self.samples_ms(case, twin), script=script, first=first, random=chance)

    def telemetry(self, case: Case, clock: ReplayClock) -> ReplayTelemetry:
        """The card beside that clock."""
        row = self.row(case)
        return ReplayTelemetry(clock=clock, blocks=row.blocks if row else ())


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker answers where the device is a replay; the requests are those of `lbench.worker`."""
    device = request["device"]
    try:
        replay = _opened(device)
    except UsageError as error:
        return {"usage_error": str(error)}
    if request["do"] in ("locate", "start"):
        return {"device": device, "uuid": ""}
    if request["do"] == "probe":
        return {
            "environment": replay.environment,
            "copy_bandwidth_gb_s": replay.copy_bandwidth_gb_s,
            "matrix_tflop_s": replay.matrix_tflop_s,
        }
    case = Case.from_dict(request["case"])
    if request["do"] == "round":
        return _round(replay, case, Protocol.from_dict(request["protocol"]), request["turn"])
    return _prepare(replay, case)


@functools.cache
def _opened(device: str) -> Replay:
    return Replay.open(device)


def _prepare(replay: Replay, case: Case) -> dict[str, Any]:
    row, script = replay.row(case), replay.script(case)
    outcome: dict[str, Any] = {name: getattr(row, name) for name in KEPT} if row else {"verdict": ""}
    if script and (script.verdict or script.times_ms):
        outcome |= {"verdict": script.verdict or "ok", "reason": script.reason}
    if not outcome["verdict"] or (outcome["verdict"] == "ok" and not replay.samples_ms(case)):
        return {"verdict": "unavailable", "reason": "the replayed folder has no samples of this case"}
    if outcome["verdict"] != "ok":
        return outcome
    enqueue_us = outcome.setdefault("enqueue_us", ())
    call_s = median(replay.samples_ms(case)) * 1e-3
    return outcome | {"call_s": call_s, "enqueue_s": max(enqueue_us, default=0.0) * 1e-6, "spent": {}}


def _round(replay: Replay, case: Case, protocol: Protocol, turn: Mapping[str, Any]) -> dict[str, Any]:
    clock = replay.clock(case, first=len(turn.get("seen", ())), twin=turn.get("twin", False))
    stopping = protocol.stopping
    if clock.script.seed is None:
        # Each of the samples once, spread over the rounds.
        count = len(clock.samples_ms)
        stopping = dataclasses.replace(
            stopping, least=count, most=count, slow_least=count, very_slow_samples=count, budget_s=math.inf
        )
    part = stopping.share(clock.first, turn.get("spent_s", 0.0), turn["number"], turn["call_s"])
    try:
        taken = timing.take(
            lambda: None,
            clock,
            part,
            sample_s=turn["call_s"],
            seen=turn.get("seen", ()),
            telemetry=replay.telemetry(case, clock),
            now=clock.now,
        )
    except timing.NoTime as error:
        return {"verdict": "failed", "reason": f"in round {turn['number'] + 1}: NoTime: {error}"}
    outcome = {"verdict": "ok", "reason": "", **dataclasses.asdict(taken)}
    del outcome["enqueue_us"]
    used = dataclasses.replace(protocol, timer="replay")
    return outcome | {"protocol": used.as_dict(), "spent": {"sampling": clock.now()}}


def _read_script(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    script = fields.parse(path.read_bytes(), str(path))
    fields.check(script, TOP, str(path))
    return script


def _script(given: Mapping[str, Any], path: Path) -> Script:
    fields.check(given, CASE, f"{path}, [[case]]")
    fields.check(given.get("state", {}), STATE, f"{path}, state of a [[case]]")
    if given.get("verdict", "ok") not in results.VERDICTS:
        raise UsageError(f"{path}, [[case]]: {unknown('verdict', given['verdict'], results.VERDICTS)}")
    return Script(**{**given, "times_ms": tuple(given.get("times_ms", ()))})
