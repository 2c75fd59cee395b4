"""Result folders: the one place where writers and readers of rows meet.

    rows.jsonl            one line a case, appended and flushed as it ends (rows.jsonl.gz is read too)
    runs/ID.json          one file a command: its resolved suite, commit, environment id, measured ceilings
    environments/ID.json  machines and software by content

Each row carries a schema version, its key, the id of its run and a checksum. Nothing derived is stored.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbench.case import Case
from lbench.errors import UsageError

SCHEMA = 1
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


@dataclass(frozen=True, kw_only=True)
class Row:
    """All that happened to a case. Only an `ok` row has times."""

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
    enqueue_us: tuple[float, ...] = ()
    """Host time of a call, device work not waited for."""
    host_bound: int = 0
    """Samples during which the device waited for the host."""
    first_call_s: float | None = None
    """The first call in its process: compilation and autotuning included."""
    verify_s: float | None = None
    wall_s: float | None = None
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes: inputs, outputs, gradients, peak (beyond the inputs)."""
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    """Tensor -> {rms, block}: relative RMS over all of it, and of its worst 64-token block."""
    limits: dict[str, dict[str, float]] = field(default_factory=dict)
    coverage: str = ""
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict {self.verdict!r}; allowed are {', '.join(VERDICTS)}")
        if self.times_ms and self.verdict != "ok":
            raise ValueError(f"a row that is {self.verdict} has no times")

    def to_line(self) -> str:
        """The row as one line of JSON, checksum included, without the newline."""
        fields = {"schema": SCHEMA, "key": self.case.key, **self.__dict__, "case": self.case.as_dict()}
        return json.dumps({**fields, "checksum": _checksum(fields)}, allow_nan=True)

    @classmethod
    def from_line(cls, line: str) -> Row:
        """The inverse of `to_line`; ValueError where the line is torn, altered or of another schema."""
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError("not a row")
        if fields.get("schema") != SCHEMA:
            raise ValueError(f"schema {fields.get('schema')!r}, this lbench reads {SCHEMA}")
        if fields.pop("checksum", None) != _checksum(fields):
            raise ValueError("its checksum does not match")
        known: dict[str, Any] = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        for name in {"times_ms", "enqueue_us", "doubts"} & known.keys():
            known[name] = tuple(known[name])
        return cls(**{**known, "case": Case.from_dict(fields["case"])})


def _checksum(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Results:
    """What a folder holds, rows by key with the last one of a key standing."""

    folder: Path
    rows: dict[str, Row]
    runs: dict[str, dict[str, Any]]
    environments: dict[str, dict[str, Any]]
    problems: list[str]
    """Lines that could not be used, in words."""


def read(folder: Path) -> Results:
    """Reads a result folder (or the rows.jsonl in it). UsageError where there is none."""
    folder = folder.parent if folder.is_file() else folder
    paths = [path for name in ("rows.jsonl.gz", "rows.jsonl") if (path := folder / name).is_file()]
    if not paths:
        raise UsageError(f"{folder} holds no rows.jsonl; give a folder that `lbench run` wrote")
    rows: dict[str, Row] = {}
    problems: list[str] = []
    for path in paths:
        for number, line in enumerate(_lines(path, problems), start=1):
            if not line.strip():
                continue
            try:
                row = Row.from_line(line)
            except (ValueError, KeyError, TypeError, UsageError) as error:
                what = "is cut off" if isinstance(error, json.JSONDecodeError) else f"is no row: {error}"
                problems.append(f"{path.name} line {number} {what}; it is left out, the rest is used")
            else:
                rows[row.case.key] = row
    return Results(folder, rows, _documents(folder / "runs"), _documents(folder / "environments"), problems)


def _lines(path: Path, problems: list[str]) -> Iterable[str]:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        problems.append(f"{path.name} cannot be read: {error}")
        return []
    return data.decode("utf-8", errors="replace").split("\n")


def _documents(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


class Writer:
    """Appends rows to a folder; every row is on the disk before the next case begins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._cut_torn_line()
            self._file = (folder / "rows.jsonl").open("a", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write to {folder}: {error.strerror}; choose another --out") from error

    def _cut_torn_line(self) -> None:
        path = self.folder / "rows.jsonl"
        if path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n"):
            os.truncate(path, data.rfind(b"\n") + 1)

    def append(self, row: Row) -> None:
        """Writes one row and waits until the disk has it."""
        self._file.write(row.to_line() + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def document(self, kind: str, name: str, content: dict[str, Any]) -> None:
        """Writes `kind/name.json` (a run, an environment) in one step."""
        path = self.folder / kind / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        partial.replace(path)

    def close(self) -> None:
        """Closes the file; rows already appended are safe without it."""
        self._file.close()


def content_id(content: dict[str, Any]) -> str:
    """A short id that is the same for the same content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
