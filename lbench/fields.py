"""Fields of a TOML file: what each may be, and the error that says so."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lbench.errors import UsageError, unknown


@dataclass(frozen=True)
class Kind:
    """What a field may be."""

    words: str
    """As the error says it."""
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


TEXT = Kind("a text", lambda value: isinstance(value, str))
YES_NO = Kind("true or false", lambda value: isinstance(value, bool))
NUMBER = Kind("a number", _is_number)
AMOUNT = Kind("a number of at least 0", lambda value: _is_number(value) and value >= 0)
POSITIVE = Kind("a number above 0", lambda value: _is_number(value) and value > 0)
WHOLE = Kind("a whole number", _is_whole)
COUNT = Kind("a whole number of at least 1", lambda value: _is_whole(value) and value >= 1)
LENGTH = Kind("a whole number, or a text such as 4k", lambda value: TEXT.fits(value) or _is_whole(value))
TABLE = Kind("a table", lambda value: isinstance(value, Mapping))


def some(kind: Kind) -> Kind:
    """A list of such values."""
    return Kind(f"a list, of which each is {kind.words}", lambda value: _is_list_of(kind, value))


def one_or_some(kind: Kind) -> Kind:
    """Such a value, or a list of them."""
    return Kind(
        f"{kind.words}, or a list of such", lambda value: kind.fits(value) or _is_list_of(kind, value)
    )


def _is_list_of(kind: Kind, value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(map(kind.fits, value))


def check(given: Mapping[str, Any], kinds: Mapping[str, Kind], where: str) -> None:
    """UsageError for a key that is not among `kinds`, and for a value that is not of its kind."""
    for name, value in given.items():
        if name not in kinds:
            raise UsageError(f"{where}: {unknown('key', name, kinds)}")
        if not kinds[name].fits(value):
            raise UsageError(f"{where}: {name} is {value!r}; it is {kinds[name].words}")


def parse(content: bytes, where: str) -> dict[str, Any]:
    """A TOML file's content. UsageError where it is none."""
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{where} is no valid TOML: {error}") from error
