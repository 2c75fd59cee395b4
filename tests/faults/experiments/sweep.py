"""A sweep as a process, and what faults left of it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lbench import results
from lbench.results import Row

LOCKS = tempfile.TemporaryDirectory()
"""Where devices are locked: no other test is waited for."""


@dataclass(kw_only=True)
class Experiment:
    """What a faulty sweep left, and its resume."""

    folder: Path
    cases: set[str]
    """Keys of all the cases that the sweep has."""
    said: str = ""
    """Standard error of the faulty run."""
    printed: str = ""
    """Its standard output."""
    codes: list[int] = field(default_factory=list)
    ended: int = 0
    """How many cases had ended for all that the run said."""
    first: dict[str, Row] = field(default_factory=dict)
    """Rows after the fault."""
    resumed: dict[str, Row] = field(default_factory=dict)
    resumed_said: str = ""

    @property
    def keys(self) -> list[str]:
        """The key of each line of the file."""
        return [row.case.key for _, row in results.entries(self.folder, [])]


@contextlib.contextmanager
def lbench(*arguments: object, shell: str = "", **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`lbench arguments` as a process of its own; `shell` is run with it as "$@"."""
    command = [sys.executable, "-m", "lbench", *map(str, arguments)]
    process = subprocess.Popen(
        ["sh", "-c", shell, "sh", *command] if shell else command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LBENCH_LOCK_FOLDER": LOCKS.name, "OMP_NUM_THREADS": "1", **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(*arguments: object, shell: str = "", **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a run that ends by itself."""
    with lbench(*arguments, shell=shell, **environment) as process:
        stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


def ended(said: str) -> int:
    """How many cases a run said had ended."""
    return len(re.findall(r"^\[\d+/\d+\]", said, re.MULTILINE))


def rows(folder: Path) -> dict[str, Row]:
    """The rows of a folder, none where it has none yet."""
    return results.read(folder).rows if (folder / "rows.jsonl").exists() else {}
