"""Backends of other packages: entry points of the group `lbench.backends`.

    [project.entry-points."lbench.backends"]
    my_attention = "my_package.lbench_backend:BACKEND"

The name on the left is the backend's. The module is imported whenever backends are listed, so it declares
data and imports heavy packages within functions, as the files in this folder do. A name of lbench's own stays
with lbench; what cannot be used is told and left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from lbench.backends.spec import Backend
from lbench.errors import UsageError

GROUP = "lbench.backends"
_usable: dict[str, Backend] | None = None
_problems: dict[str, str] = {}
"""Name -> why its entry point is left out."""


def found(taken: Sequence[str]) -> dict[str, Backend]:
    """The backends of other packages by name; names in `taken` are left out. Looked up once a process."""
    global _usable
    if _usable is None:
        _usable = {}
        for point in sorted(entry_points(group=GROUP), key=lambda one: (one.name, _package(one))):
            if problem := _add(point, taken, _usable):
                _problems[point.name] = problem
    return _usable


def problems() -> list[str]:
    """Entry points that are left out, in words."""
    return list(_problems.values())


def unusable(name: str) -> UsageError | None:
    """Why the backend of that name cannot be used; None where no package declares it."""
    return UsageError(_problems[name]) if name in _problems else None


def _add(point: EntryPoint, taken: Sequence[str], usable: dict[str, Backend]) -> str:
    """Takes an entry point in; what is wrong with it, in words."""
    of = f"backend {point.name!r} of package {_package(point)}"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", point.name):
        return f"{of} is left out: a name has lower-case letters, digits and _, a letter first"
    if point.name in taken or point.name in usable:
        return f"{of} is left out: there is another backend of that name; its author must rename it"
    try:
        backend = point.load()
    except Exception as error:  # whatever another package does wrong, the rest can be used
        return f"{of} is left out: {point.value} cannot be imported: {type(error).__name__}: {error}"
    if not isinstance(backend, Backend):
        return f"{of} is left out: {point.value} is a {type(backend).__name__}, not a Backend"
    usable[point.name] = backend
    return ""


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "?"
