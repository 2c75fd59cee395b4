"""A kept profile: a folder of what the tools wrote. Tables are made from it whenever it is read.

profile.json          case, environment, ceilings of the card, times, and which part is missing why
trace.json.gz         torch.profiler's trace: Perfetto (ui.perfetto.dev) and chrome://tracing open it
ncu.ncu-rep, ncu.csv  Nsight Compute's report and its raw page; ncu.log, what it said
memory.json.gz        allocations of one call by call site, drawn in memory.png; memory.pickle, the
                      allocator's own snapshot
triton/               what Triton compiled: kernels.json, and PTX and SASS of those that ran
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbench.case import Case
from lbench.errors import UsageError

DOCUMENT = "profile.json"
TRACE = "trace.json.gz"
MEMORY = "memory.json.gz"
SNAPSHOT = "memory.pickle"
TRITON = "triton"
FIGURE = "memory.png"
NCU = "ncu.csv"
REPORT = "ncu.ncu-rep"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The document of a kept profile and where its files are."""

    folder: Path
    case: Case
    document: Mapping[str, Any]

    @property
    def missing(self) -> dict[str, str]:
        """Parts that were wanted and are not there, with the reason."""
        return {part: str(why) for part, why in (self.document.get("parts") or {}).items() if why}

    def wanted(self, part: str) -> bool:
        """Whether a part was asked for and came about."""
        return (self.document.get("parts") or {}).get(part) == ""


def write(folder: Path, document: Mapping[str, Any]) -> None:
    """Writes the document of a profile."""
    text = json.dumps({"schema": SCHEMA, **document}, indent=1, sort_keys=True)
    (folder / DOCUMENT).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Kept:
    """A kept profile. UsageError where the folder is none."""
    path = folder / DOCUMENT
    if not path.is_file():
        raise UsageError(f"{folder} holds no {DOCUMENT}; give a folder that `lbench profile` wrote")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("schema") != SCHEMA:
            raise ValueError(f"schema {document.get('schema')!r}, this lbench reads {SCHEMA}")
        return Kept(folder=folder, case=Case.from_dict(document["case"]), document=document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def read_json(path: Path) -> Any:
    """What a packed or plain JSON file of a profile holds; ValueError where it holds none."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open() as file:
            return json.load(file)
    except (OSError, EOFError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
