"""Result folders: the one place where writers and readers of rows meet.

    rows.jsonl            one line a case, on the disk before the next case begins (rows.jsonl.gz is read too)
    runs/ID.json          one file a command: its resolved suite, commit, environment id, measured ceilings
    environments/ID.json  machines and software by content
    protocols/ID.json     how samples were taken, by content

Each row carries a schema version, its key, the id of its run and a checksum. Nothing derived is stored.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbench.errors import UsageError
from lbench.row import FINAL, VERDICTS, Row, checksum
from lbench.terminal import counted
from lbench.writer import Writer

__all__ = [
    "FINAL",
    "VERDICTS",
    "Results",
    "Row",
    "Writer",
    "content_id",
    "documents",
    "entries",
    "read",
    "standing",
]

KINDS = ("runs", "environments", "protocols")
"""Folders of documents; those of the last two are named by their content."""
TOLD = 3
"""Damaged lines of a file that are told one by one."""
TEXT, NUMBER = str | None, int | float | None
SHAPES: dict[str, dict[str, Any]] = {
    "runs": {
        "environment": str,
        "started_at": str,
        "cases": int,
        "copy_bandwidth_gb_s": NUMBER,
        "matrix_tflop_s": {"*": NUMBER},
        "lbench_commit": TEXT,
        "code_commit": TEXT,
        "suite": {"name": TEXT, "cell_timeout_s": NUMBER, "constancy": {"*": NUMBER}, "stopping": {}},
    },
    "environments": dict.fromkeys(("device", "gpu", "cpu", "driver", "torch", "triton"), TEXT),
    "protocols": {},
}
"""What readers take from documents: types by field, `*` for every other one."""


@dataclass(frozen=True)
class Results:
    """What a folder holds, rows by key, of each the one that stands."""

    folder: Path
    rows: dict[str, Row]
    runs: dict[str, dict[str, Any]]
    environments: dict[str, dict[str, Any]]
    problems: list[str]
    """Lines and documents that could not be used, in words."""
    protocols: dict[str, dict[str, Any]] = field(default_factory=dict)


def read(folder: Path) -> Results:
    """Reads a result folder (or the rows.jsonl in it). UsageError where there is none."""
    problems: list[str] = []
    rows = standing(row for _, row in entries(folder, problems))
    folder = folder.parent if folder.is_file() else folder
    runs, environments, protocols = (documents(folder / kind, problems) for kind in KINDS)
    return Results(folder, rows, runs, environments, problems, protocols)


def standing(rows: Iterable[Row]) -> dict[str, Row]:
    """Of each key the last row; one that was only verified, and is right, takes no times away."""
    found: dict[str, Row] = {}
    for row in rows:
        earlier = found.get(row.case.key)
        if earlier is None or not (row.only_verified and earlier.times_ms):
            found[row.case.key] = row
    return found


def entries(folder: Path, problems: list[str]) -> Iterator[tuple[str, Row]]:
    """Every line that can be used, as kept, with its row; the others go to `problems` in words."""
    place = folder.parent if folder.is_file() else folder
    paths = [path for name in ("rows.jsonl.gz", "rows.jsonl") if (path := place / name).is_file()]
    if not paths:
        raise UsageError(f"{folder} holds no rows.jsonl; give a folder that `lbench run` wrote")
    for path in paths:
        damaged = 0
        for number, line in enumerate(_lines(path, problems), start=1):
            if not line.strip():
                continue
            try:
                row = Row.from_line(line)
            except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
                what = "is cut off" if _is_cut_off(error, line) else f"is no row: {error}"
                damaged += 1
                if damaged <= TOLD:
                    problems.append(f"{path.name} line {number} {what}; it is left out, the rest is used")
            else:
                yield line.rstrip("\n"), row
        if damaged > TOLD:
            problems.append(f"{path.name}: {counted(damaged - TOLD, 'more line')} cannot be used either")


def _is_cut_off(error: Exception, line: str) -> bool:
    return isinstance(error, json.JSONDecodeError) and not line.endswith("\n")


def _lines(path: Path, problems: list[str]) -> Iterator[str]:
    """Lines with their ends, as far as the file can be read."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                yield line.decode("utf-8", errors="replace")
    except (OSError, EOFError, zlib.error) as error:
        problems.append(f"{path.name} cannot be read to its end: {error}")


def documents(folder: Path, problems: list[str]) -> dict[str, dict[str, Any]]:
    """The documents of one of `KINDS` by name; those that cannot be used go to `problems` in words."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text())
            if isinstance(content, dict) and content.pop("checksum", None) not in (None, checksum(content)):
                raise ValueError("its checksum does not match")
            for strange in _misshapen(content, SHAPES[folder.name], "its content"):
                raise ValueError(strange)
        except (OSError, ValueError) as error:
            problems.append(f"{folder.name}/{path.name} is no document: {error}; it is left out")
        else:
            found[path.stem] = content
    return found


def _misshapen(content: Any, shape: Any, name: str) -> Iterator[str]:
    """What is not of the type that readers expect, in words."""
    if not isinstance(shape, dict):
        if not isinstance(content, shape):
            yield f"{name} is {json.dumps(content)[:40]}"
    elif not isinstance(content, dict):
        yield f"{name} is no JSON object"
    else:
        for field_name, value in content.items():
            if expected := shape.get(field_name, shape.get("*")):
                yield from _misshapen(value, expected, f"its {field_name}")


def content_id(content: dict[str, Any]) -> str:
    """A short id that is the same for the same content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
