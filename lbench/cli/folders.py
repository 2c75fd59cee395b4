"""The result folder a command writes to: a new one, or one to go on with."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lbench.cli.lists import split_names
from lbench.errors import UsageError
from lbench.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbench.case import Case
    from lbench.claims.rows import Measured
    from lbench.device import Device
    from lbench.results import Results, Row, Writer
    from lbench.suite import Suite


class Target:
    """Where a command keeps its rows; `standing` are those that the folder has, of all verdicts."""

    def __init__(
        self, out: Path | None, resume: bool, other_environment: bool, retry: str | None = None
    ) -> None:
        """UsageError where the options do not fit each other, or the folder."""
        self.out, self.resume, self.other_environment = out, resume, other_environment
        self.retry = _verdicts(retry)
        if resume and out is None:
            raise UsageError("--resume needs --out FOLDER, the folder to go on with")
        if other_environment and not resume:
            raise UsageError(
                "--other-environment mixes new rows with earlier ones; add --resume --out FOLDER"
            )
        if retry and not resume:
            raise UsageError(f"--retry {retry} measures rows of a folder again; add --resume --out FOLDER")
        self._told: set[str] = set()
        self._found = None if out is None or _is_new(out) else self._read(out)
        if resume and self._found is None:
            print(f"lbench: {out} is new: nothing is there to go on with", file=sys.stderr)

    def _read(self, out: Path) -> Results:
        from lbench import results

        if not out.is_dir():
            raise UsageError(f"--out {out} is a file; give a folder")
        if not self.resume:
            raise UsageError(f"--out {out} exists; add --resume to go on with it, or choose another folder")
        found = results.read(out)
        for problem in found.problems:
            if problem not in self._told:
                print(f"lbench: {problem}", file=sys.stderr)
        self._told.update(found.problems)
        return found

    @property
    def standing(self) -> dict[str, Row]:
        """The rows that the folder has, those to measure again among them."""
        return self._found.rows if self._found else {}

    def earlier(self, device: Device) -> Results | None:
        """The rows to go on from, without those to measure again.

        UsageError where they come unasked from another environment than the device's.
        """
        if self._found is None:
            return None
        if not self.other_environment:
            _check_environment(self._found, device)
        rows = {key: row for key, row in self.standing.items() if row.verdict not in self.retry}
        return dataclasses.replace(self._found, rows=rows)

    def check_protocol(self, suite: Suite, cases: Iterable[Case]) -> None:
        """UsageError where rows that would stand were measured by another protocol than the suite's."""
        runs = self._found.runs if self._found else {}
        rows = [self.standing[case.key] for case in cases if case.key in self.standing]
        rows = [row for row in rows if row.times_ms and row.verdict not in self.retry]
        for name in ("l2", "timer"):
            asked = getattr(suite, name)
            had = [runs.get(row.run, {}).get("suite", {}).get(name, asked) for row in rows]
            if others := [value for value in had if value != asked]:
                raise UsageError(
                    f"--out {self.out}: {len(others)} of these cases stand{'s' * (len(others) == 1)} there "
                    f"with {name} {others[0]}, the suite says {asked}; choose another --out, or measure them "
                    "again with --retry ok"
                )

    def open(self, name: str, device: Device) -> tuple[Writer, Results | None]:
        """A writer to the folder, for this command alone, and the rows to go on from as they are then.

        While this command made ready, or waited for the device, another may have written there.
        """
        from lbench.results import Writer

        self.earlier(device)
        folder = self.out or new(name)
        then = f"the same command with --out {shlex.quote(str(folder))} --resume goes on"
        writer = Writer(folder, then=then, new=not self.resume)
        try:
            self._found = self._read(folder) if self.resume else None
            return writer, self.earlier(device)
        except UsageError:
            writer.close()
            raise


def _verdicts(retry: str | None) -> tuple[str, ...]:
    from lbench import results
    from lbench.errors import unknown

    again = tuple(split_names(retry, "retry"))
    for verdict in again:
        if verdict not in results.VERDICTS:
            raise unknown("verdict", verdict, results.VERDICTS)
    return again


def _is_new(out: Path) -> bool:
    return not out.exists() or (out.is_dir() and not any(out.iterdir()))


def _check_environment(found: Results, device: Device) -> None:
    """UsageError where rows come from another machine or other software, or it is not known from where."""
    from lbench.environment import differences
    from lbench.results import content_id

    mix = "add --other-environment to mix them, or choose another --out"
    apart = [differences(known, device.environment) for known in found.environments.values()]
    if apart and all(apart):
        raise UsageError(
            f"the rows in {found.folder} come from another environment ({'; '.join(apart[0])}); {mix}"
        )
    # Named by its content: what has the name of this one is this one, also where its document is lost.
    known = {name for name, content in found.environments.items() if content_id(content) == name}
    known.add(content_id(device.environment))
    runs = {name for name, run in found.runs.items() if run.get("environment") in known}
    strange = sum(row.run not in runs for row in found.rows.values())
    if strange:
        raise UsageError(
            f"of {counted(strange, 'row')} in {found.folder} the environment is not known, as its document, "
            f"or that of the run, is missing or damaged; {mix}"
        )


def new(name: str) -> Path:
    """A folder in `runs/` that is not there yet."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path("runs") / f"{name}-{stamp}"
    number = 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{stamp}-{number}"
    return folder


def measured(folders: list[Path]) -> list[Measured]:
    """The rows of result folders with the machines they come from; what is wrong with them is told."""
    from lbench import results
    from lbench.claims.rows import gather

    read = [results.read(folder) for folder in folders]
    for one in read:
        for problem in one.problems:
            print(f"lbench: {problem}", file=sys.stderr)
    return gather(read)
