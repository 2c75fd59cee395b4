"""Joining and cutting result folders. Lines are carried over as they are, with the documents they name."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from lbench import results
from lbench.environment import differences
from lbench.errors import UsageError
from lbench.results import Results, Row, Writer

Entry = tuple[str, Row]
"""A line as kept, and its row."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a new folder got."""

    folder: Path
    cases: int
    told: list[str] = field(default_factory=list)
    """What a person should know: damaged lines left behind, cases that were measured twice."""


def merge(folders: Sequence[Path], out: Path, newest: bool = False) -> Written:
    """Joins folders into a new one. UsageError where it exists, or where two machines measured one case.

    A case that two folders hold was measured twice: all its lines are carried over, the newest last, so that
    it stands; one that was only verified, and is right, leaves the times of an older one. On two machines
    these are two measurements; `newest` lets the newest stand all the same.
    """
    _refuse_existing(out)
    told: list[str] = []
    read = [results.read(folder) for folder in folders]
    kept = [list(results.entries(folder, told)) for folder in folders]
    twice = _measured_twice(kept)
    if not newest:
        _refuse_two_machines(twice, read)
    entries = _in_order(kept)
    if not entries:
        raise UsageError(_no_rows(folders[0] if len(folders) == 1 else "none of the folders", told))
    standing = results.standing(row for _, row in entries)
    newest_of = {row.case.key: row for _, row in entries}
    for key, count in twice.items():
        stands = "the newest row" if standing[key] is newest_of[key] else "the newest row with times"
        told.append(f"{key} is in {count} folders; {stands} stands")
    return _write(out, entries, read, told)


def _in_order(kept: Sequence[Sequence[Entry]]) -> list[Entry]:
    """The entries of all folders, the older first, each folder's in its own order: clocks may be set back.

    A line that folders share is one measurement, and comes once.
    """
    left = [deque(_last_of_each(entries)) for entries in kept]
    holders = Counter(line for entries in left for line, _ in entries)
    ordered: list[Entry] = []
    while left := [entries for entries in left if entries]:
        heads = Counter(entries[0][0] for entries in left)
        # A line that is not the first in all its folders waits there; none is where orders contradict.
        free = [entries[0] for entries in left if heads[entries[0][0]] == holders[entries[0][0]]]
        chosen = min(free or [entries[0] for entries in left], key=lambda entry: entry[1].started_at)
        ordered.append(chosen)
        for entries in left:
            if entries[0][0] == chosen[0]:
                entries.popleft()
        holders[chosen[0]] -= heads[chosen[0]]
    return list(_last_of_each(ordered))


def _last_of_each(entries: Sequence[Entry]) -> Iterable[Entry]:
    """Of lines that are written twice the later, which is the one that stands."""
    return reversed(dict(reversed(entries)).items())


def cut(folder: Path, out: Path, wanted: Callable[[Row], bool]) -> Written:
    """Copies the rows that stand and are wanted into a new folder, with the older rows of their cases.

    UsageError where it exists or no row is wanted.
    """
    _refuse_existing(out)
    told: list[str] = []
    entries = list(results.entries(folder, told))
    if not entries:
        raise UsageError(_no_rows(folder, told))
    standing = results.standing(row for _, row in entries)
    chosen = {key for key, row in standing.items() if wanted(row)}
    if not chosen:
        raise UsageError(
            f"no row that stands in {folder} is like that; `lbench export {quote(str(folder))}` shows them"
        )
    kept = [(line, row) for line, row in entries if row.case.key in chosen]
    return _write(out, kept, [results.read(folder)], told)


def _no_rows(where: object, told: Sequence[str]) -> str:
    return f"{where} holds no rows; {'; '.join(told) or 'let `lbench run` finish a case first'}"


def _refuse_existing(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists; choose another --out, nothing is overwritten")


def _measured_twice(kept: Sequence[Sequence[Entry]]) -> dict[str, int]:
    """Keys that several folders hold, not all in the same line, and in how many folders."""
    lines: dict[str, list[str]] = {}
    for entries in kept:
        for key, line in {row.case.key: line for line, row in entries}.items():
            lines.setdefault(key, []).append(line)
    return {key: len(of_key) for key, of_key in lines.items() if len(set(of_key)) > 1}


def _refuse_two_machines(twice: Iterable[str], read: Sequence[Results]) -> None:
    apart = [key for key in twice if _on_two_machines(key, [one for one in read if key in one.rows])]
    if apart:
        more = f" and {len(apart) - 1} more" if len(apart) > 1 else ""
        raise UsageError(
            f"{apart[0]}{more} was measured in two environments; reports take several folders as they are, "
            f"or add --newest to let the newest row of a case stand"
        )


def _on_two_machines(key: str, read: Sequence[Results]) -> bool:
    names = [str(one.runs.get(one.rows[key].run, {}).get("environment")) for one in read]
    records = [one.environments.get(name) for one, name in zip(read, names, strict=True)]
    for name, record in zip(names, records, strict=True):
        if name != names[0] and (record is None or records[0] is None or differences(records[0], record)):
            return True
    return False


def _write(out: Path, entries: Sequence[Entry], read: Sequence[Results], told: list[str]) -> Written:
    rows = [row for _, row in entries]
    runs = _joined("run", ((name, run) for one in read for name, run in one.runs.items()))
    runs = {name: runs[name] for name in {row.run for row in rows} & runs.keys()}
    environments = {str(run.get("environment")) for run in runs.values()}
    protocols = {row.protocol for row in rows}
    writer = Writer(out, then=f"remove {quote(str(out))} and give the same command again", new=True)
    try:
        for name, run in runs.items():
            writer.document("runs", name, run)
        for one in read:
            for name in environments & one.environments.keys():
                writer.document("environments", name, one.environments[name])
            for name in protocols & one.protocols.keys():
                writer.document("protocols", name, one.protocols[name])
        for line, _ in entries:
            writer.append_line(line)
    finally:
        writer.close()
    return Written(folder=out, cases=len({row.case.key for row in rows}), told=told)


def _joined(what: str, documents: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    joined: dict[str, dict[str, Any]] = {}
    for name, content in documents:
        if joined.setdefault(name, content) != content:
            raise UsageError(f"{what} {name} differs between the folders: one of them was altered")
    return joined
