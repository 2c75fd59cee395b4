"""Claims: published tables as data (`published/*.toml`), to be measured again at the same shapes."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any

from lbench.claims.spec import Claim, parse
from lbench.errors import unknown


@functools.cache
def names() -> list[str]:
    """Names of all claims, sorted."""
    return sorted(
        path.name.removesuffix(".toml") for path in _folder().iterdir() if path.name.endswith(".toml")
    )


@functools.cache
def load(name: str) -> Claim:
    """The claim of that name."""
    if name not in names():
        raise unknown("claim", name, names())
    return parse(name, tomllib.loads((_folder() / f"{name}.toml").read_text()))


def _folder() -> Any:
    return resources.files("lbench.claims") / "published"
