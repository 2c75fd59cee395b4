"""Backends: one file, one implementation of one mechanism. A file's name is its backend's name.

To add one, put a file here that sets `BACKEND = Backend(...)`; nothing else needs to know. Other packages
add theirs through the entry-point group `lbench.backends` (`plugins`). Listing and limits import these files
only, never the packages behind them.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from pathlib import Path

from lbench.backends import plugins
from lbench.backends.spec import Backend
from lbench.errors import UsageError, unknown
from lbench.packages import is_installed

_NOT_BACKENDS = {"spec", "user", "plugins"}


@functools.cache
def names() -> list[str]:
    """Names of all registered backends, sorted."""
    return sorted({*own_names(), *plugins.found(own_names())})


@functools.cache
def own_names() -> list[str]:
    """Names of the backends that come with lbench, sorted."""
    files = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in files if name not in _NOT_BACKENDS and not name.startswith("_"))


def load(name: str, mechanism: str = "") -> Backend:
    """The backend of that name, or a user's own where the name is `path.py:function`."""
    if ":" in name:
        from lbench.backends.user import from_function

        return from_function(name, mechanism)
    check_function(name)
    if name not in names():
        raise plugins.unusable(name) or unknown("backend", name, names())
    if name not in own_names():
        return dataclasses.replace(plugins.found(own_names())[name], name=name)
    module = importlib.import_module(f"{__name__}.{name}")
    return dataclasses.replace(module.BACKEND, name=name)


def of_mechanism(mechanism: str) -> list[Backend]:
    """All registered backends of a mechanism, by name."""
    return [backend for backend in map(load, names()) if backend.mechanism == mechanism]


def missing_package(backend: Backend) -> str | None:
    """The first package of `backend` that is not installed, found without importing it."""
    for package in backend.packages:
        if not is_installed(package):
            return package
    return None


def check_function(name: str) -> None:
    """UsageError for a Python file that is given without a function of it."""
    if name.endswith(".py"):
        from lbench.backends.user import functions_of

        known = ", ".join(f"{name}:{function}" for function in functions_of(Path(name)))
        raise UsageError(
            f"backend {name} needs a function of that file, {name}:NAME; it has {known or 'none'}"
        )


def user_path(name: str) -> Path:
    """The file of a user's backend `path.py:function`."""
    path, _, function = name.rpartition(":")
    if not path.endswith(".py") or not function.isidentifier():
        raise UsageError(f"backend {name!r}: a function of your own is written path/to/file.py:function")
    return Path(path)
