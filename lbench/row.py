"""A row: all that happened to a case, and the line of JSON that keeps it."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lbench.case import Case

SCHEMA = 2
READABLE = frozenset({1, 2})
"""Schemas that are read. Rows of schema 1 have no rounds, blocks, protocol, kernels, energy nor `spent`."""
VERDICTS = (
    "ok",
    "wrong",
    "unsupported",
    "unavailable",
    "out_of_memory",
    "timeout",
    "skipped",
    "crashed",
    "failed",
)
FINAL = frozenset({"ok", "wrong", "unsupported", "out_of_memory", "timeout", "crashed", "failed"})
"""Verdicts that a resume leaves alone; `skipped` and `unavailable` are looked at again."""
_TUPLES = ("times_ms", "rounds", "blocks", "enqueue_us", "kernels", "doubts")


@dataclass(frozen=True, kw_only=True)
class Row:
    """All that happened to a case. Only an `ok` row has times, unless it was only verified."""

    case: Case
    suite: str
    run: str
    """Id of the command that made it."""
    started_at: str
    """UTC, ISO 8601."""
    verdict: str
    reason: str = ""
    times_ms: tuple[float, ...] = ()
    """Every sample, in the order taken."""
    rounds: tuple[int, ...] = ()
    """Where in `times_ms` each round of samples begins; () where all were taken in one."""
    blocks: tuple[dict[str, Any], ...] = ()
    """Stretches of samples of 100 ms or more: first, count, sm_mhz, power_w, temperature_c, slowdown."""
    discarded: dict[str, int] = field(default_factory=dict)
    """Samples thrown away, by reason."""
    host_bound: int = 0
    """Schema 1: samples during which the device waited for the host."""
    protocol: str = ""
    """Id of the document in `protocols/` that says how the samples were taken."""
    enqueue_us: tuple[float, ...] = ()
    """Host time of a call, device work not waited for."""
    first_call_s: float | None = None
    """The first call in its process: compilation and autotuning included."""
    compile: dict[str, float] = field(default_factory=dict)
    """What compilation and autotuning cost: cold_s, variants."""
    verify_s: float | None = None
    wall_s: float | None = None
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds of the case by what they went to: start_up, build, compile, memory, verify, sampling ..."""
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes: inputs, outputs, gradients, saved, peak (beyond what was there), workspace; on a GPU also slack,
    reserved, device; of a model also weights, optimizer, cache."""
    energy: dict[str, float] = field(default_factory=dict)
    """joules_per_call (idle power subtracted), idle_w, window_s, calls; empty where the device has no counter
    or waited for the host."""
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    """Tensor -> {rms, block}: relative RMS over all of it, and of its worst 64-token block."""
    limits: dict[str, dict[str, float]] = field(default_factory=dict)
    coverage: str = ""
    model: dict[str, float] = field(default_factory=dict)
    """Of a model: params, useful_flops, executed_flops, floor_bytes, least_bytes, and of one metered call
    mixer_ms and metered_ms."""
    twin: dict[str, Any] = field(default_factory=dict)
    """The case measured once more in the same rotation, as if it were another's: times_ms, rounds."""
    kernels: tuple[dict[str, Any], ...] = ()
    """The GPU kernels of one call: name, count."""
    inputs_id: str = ""
    """Content of all the call was given: rows of one certificate must share it."""
    deterministic: bool | None = None
    """Whether two calls gave the same bits; None where that was not looked at."""
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in _TUPLES:  # JSON has lists alone
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict {self.verdict!r}; allowed are {', '.join(VERDICTS)}")
        if not isinstance(self.started_at, str):
            raise ValueError(f"started_at {self.started_at!r}; it is a text")
        if self.times_ms and self.verdict != "ok":
            raise ValueError(f"a row that is {self.verdict} has no times")

    @property
    def only_verified(self) -> bool:
        """Whether it is right and nobody set out to time it: a row of `lbench verify`."""
        return self.verdict == "ok" and not (self.times_ms or self.enqueue_us or self.protocol)

    @property
    def is_final(self) -> bool:
        """Whether a resume leaves it alone."""
        return self.verdict in FINAL and not self.only_verified

    def reproduce(self, run: Mapping[str, Any], device: str = "") -> str:
        """The command that runs just this case; `run` is the document of the run that made the row.

        One that took too long is given twice the time. `device` is named where the key does not
        say it all: of a replay.
        """
        command = f"lbench run --case {shlex.quote(self.case.key)}"
        if device:
            command += f" --device {shlex.quote(device)}"
        if self.verdict == "timeout" and (allowed_s := run.get("suite", {}).get("cell_timeout_s")):
            command += f" --cell-timeout {2 * allowed_s:g}"
        return command

    def to_line(self) -> str:
        """The row as one line of JSON, checksum included, without the newline."""
        fields = {"schema": SCHEMA, "key": self.case.key, **self.__dict__, "case": self.case.as_dict()}
        return json.dumps({**fields, "checksum": checksum(fields)}, allow_nan=True)

    @classmethod
    def from_line(cls, line: str) -> Row:
        """The inverse of `to_line`; ValueError where the line is torn, altered or of another schema."""
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError("not a row")
        if fields.get("schema") not in READABLE:
            raise ValueError(f"schema {fields.get('schema')!r}, this lbench reads {sorted(READABLE)}")
        if fields.pop("checksum", None) != checksum(fields):
            raise ValueError("its checksum does not match")
        known: dict[str, Any] = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        return cls(**{**known, "case": Case.from_dict(fields["case"])})


def checksum(fields: dict[str, Any]) -> str:
    """16 hexadecimal digits that change with any of the fields, whatever their order."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]
