"""Sources: the result folders of a report, each with a name that tells it from the others."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lbench import frame, results
from lbench.errors import UsageError
from lbench.results import Results


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """One result folder."""

    label: str
    """Machine and commit; the number of the folder behind it where another one has the same."""
    results: Results
    rows: pd.DataFrame
    """As `lbench.load` gives them, not empty."""

    @property
    def machines(self) -> list[str]:
        """The devices that its rows were measured on."""
        named = self.rows["gpu"].fillna(self.rows["cpu"]).fillna(self.rows["device"].str.upper())
        return sorted(set(named))


def gather(folders: Sequence[Path]) -> list[Source]:
    """Reads result folders; problems of the files go to standard error. UsageError where one has no rows."""
    found = [_source(folder) for folder in folders]
    counts = Counter(source.label for source in found)
    return [
        source if counts[source.label] == 1 else _numbered(source, number)
        for number, source in enumerate(found, start=1)
    ]


def _source(folder: Path) -> Source:
    loaded = results.read(folder)
    for problem in loaded.problems:
        print(f"lbench: {problem}", file=sys.stderr)
    rows = frame.of(loaded)
    if rows.empty:
        raise UsageError(f"{folder} holds no rows yet; let `lbench run` finish a case first")
    source = Source(label="", results=loaded, rows=rows)
    commits = sorted({str(commit)[:12] for commit in rows["lbench_commit"].dropna()})
    label = ", ".join(source.machines)
    return Source(label=" @ ".join(filter(None, [label, ", ".join(commits)])), results=loaded, rows=rows)


def _numbered(source: Source, number: int) -> Source:
    return Source(label=f"{source.label} (folder {number})", results=source.results, rows=source.rows)
