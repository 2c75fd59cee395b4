"""Baselines kept by name and machine.

    STORE/NAME/DEVICE-ID/baseline.json    the fingerprint, and which generation is in force
    STORE/NAME/DEVICE-ID/1, 2, ...        generations: result folders of several processes each

The first generation is the anchor, which guards against slow drift until another one is pinned.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbench import folders, results
from lbench.errors import UsageError, unknown
from lbench.gates.fingerprint import UPGRADES, Fingerprint, apart, differences_told, fingerprint, label
from lbench.gates.processes import Side, places, read
from lbench.results import Row

STORE = Path("baselines")
DOCUMENT = "baseline.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A name on one machine, with its generations."""

    folder: Path
    fingerprint: Fingerprint
    current: int
    """The generation in force."""
    previous: int | None
    """The one in force before it."""
    anchor: int
    """The one that stays."""

    @property
    def name(self) -> str:
        """As given to `save`."""
        return self.folder.parent.name

    @property
    def machine(self) -> str:
        """The name of its folder: the device, and an id of the whole fingerprint."""
        return self.folder.name

    @property
    def generations(self) -> list[int]:
        """All that are kept, ascending."""
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())

    def side(self, generation: int, wanted: Callable[[Row], bool] = lambda _: True) -> Side:
        """The processes of a generation."""
        return dataclasses.replace(
            read(self.folder / str(generation), wanted), name=f"{self.name}/{generation}"
        )

    def older(self) -> dict[str, int]:
        """The generations that guard against slow drift, by what they are called, each once."""
        found = {self.previous: "previous"} if self.previous is not None else {}
        found[self.anchor] = "anchor"
        return {name: number for number, name in found.items() if number != self.current}


def is_name(text: str) -> bool:
    """Whether a baseline can be called so."""
    return _NAME.fullmatch(text) is not None


def kept(store: Path, name: str | None = None) -> list[Baseline]:
    """Every baseline of a store, or those of one name. UsageError where a document cannot be read."""
    paths = sorted(store.glob(f"{name or '*'}/*/{DOCUMENT}"))
    return [_load(path) for path in paths]


def find(store: Path, name: str, side: Side, any_machine: bool = False) -> Baseline:
    """The baseline of that name for the machine of a side.

    One under another torch or triton will do where there is none under the same; one of another machine only
    if asked for. UsageError, with what differs, where there is none.
    """
    name, _, machine = name.partition("/")
    found = _named(store, name)
    if machine:
        return _of_machine(found, machine)
    here = fingerprint(side)
    differing = [(apart(one.fingerprint, here), one) for one in found]
    for fits in (lambda names: not names, lambda names: names <= set(UPGRADES)):
        if fitting := [one for fields, one in differing if fits(set(fields))]:
            return fitting[-1]
    if any_machine and len(found) == 1:
        return found[0]
    told = "\n".join(f"  {one.machine}: {differences_told(fields)}" for fields, one in differing)
    raise UsageError(
        f"baseline {name!r} has nothing for the machine and protocol of {side.name}; it has\n{told}\n"
        f"save one here, or name a machine (--baseline {name}/MACHINE) with --across-machines"
    )


def only(store: Path, name: str) -> Baseline:
    """The baseline `NAME`, or `NAME/MACHINE` where several machines have one."""
    name, _, machine = name.partition("/")
    found = _named(store, name)
    if machine:
        return _of_machine(found, machine)
    if len(found) > 1:
        machines = ", ".join(one.machine for one in found)
        raise UsageError(f"baseline {name} has several machines: {machines}; choose one with --machine")
    return found[0]


def save(store: Path, name: str, given: Sequence[Path], add: bool = False) -> tuple[Baseline, int, bool]:
    """Keeps the processes of folders as a new generation, or adds them to the one saved last.

    The first generation is in force and the anchor at once; later ones wait for `promote`. Returns the
    baseline, the generation, and whether it holds more than before.
    """
    if not is_name(name):
        raise UsageError(f"baseline name {name!r}; letters, digits, dot, dash and underscore are allowed")
    sources = [place for folder in given for place in places(folder)]
    if not sources:
        raise UsageError("no folder to save; `lbench run --out` makes one")
    of = _shared_fingerprint(sources)
    folder = store / name / label(of)
    there = _load(folder / DOCUMENT) if (folder / DOCUMENT).is_file() else None
    last = there.generations[-1] if there else 0
    number = max(last, 1) if add else last + 1
    partial, target = folder / "partial", folder / str(number)
    if partial.exists():
        shutil.rmtree(partial)
    earlier = [target] if add and there else []
    # Environments may differ in what no fingerprint holds, such as the version of Python.
    folders.merge([*sources, *earlier], partial, newest=True)
    has_more = _lines(partial) != set().union(*map(_lines, earlier))
    if target.exists():
        shutil.rmtree(target)
    partial.replace(target)
    made = there or Baseline(folder=folder, fingerprint=of, current=1, previous=None, anchor=1)
    _write(made)
    return made, number, has_more


def _lines(folder: Path) -> set[str]:
    return {line for line, _ in results.entries(folder, [])}


def promote(baseline: Baseline, number: int, pin: bool) -> Baseline:
    """Puts a generation in force, and with `pin` makes it the anchor."""
    if number not in baseline.generations:
        known = [str(one) for one in baseline.generations]
        raise unknown("generation", str(number), known)
    moved = number != baseline.current
    made = dataclasses.replace(
        baseline,
        current=number,
        previous=baseline.current if moved else baseline.previous,
        anchor=number if pin else baseline.anchor,
    )
    _write(made)
    return made


def _named(store: Path, name: str) -> list[Baseline]:
    found = kept(store, name)
    if not found:
        if names := sorted({one.name for one in kept(store)}):
            raise unknown("baseline", name, names)
        raise UsageError(
            f"there is no folder {name}, and no baseline in {store}; `lbench baseline save {name} FOLDER` "
            f"keeps one"
        )
    return found


def _of_machine(found: Sequence[Baseline], machine: str) -> Baseline:
    for one in found:
        if one.machine == machine:
            return one
    raise unknown("machine", machine, [one.machine for one in found])


def _shared_fingerprint(sources: Sequence[Path]) -> Fingerprint:
    prints = [fingerprint(read(source)) for source in sources]
    for source, other in zip(sources, prints, strict=True):
        if differing := apart(prints[0], other):
            raise UsageError(
                f"{sources[0]} and {source} are of different machines or protocols "
                f"({differences_told(differing)}); save them apart"
            )
    return prints[0]


def _load(path: Path) -> Baseline:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Baseline(folder=path.parent, **fields)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} is no baseline: {error}") from error


def _write(baseline: Baseline) -> None:
    fields = dataclasses.asdict(baseline)
    del fields["folder"]
    partial = baseline.folder / f"{DOCUMENT}.partial"
    partial.write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(baseline.folder / DOCUMENT)
