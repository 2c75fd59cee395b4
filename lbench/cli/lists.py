"""Options that take several names, written with commas: `a,b`."""

from __future__ import annotations

from collections.abc import Collection

from lbench.errors import UsageError, unknown


def split_names(text: str | None, option: str) -> tuple[str, ...]:
    """`a,b` as names, each once; UsageError where one is empty."""
    if text is None:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(names):
        raise UsageError(f"--{option} {text!r} has an empty name; write --{option} a,b")
    return names


def split_models(text: str | None) -> tuple[str, ...]:
    """The names of models, some perhaps given by the path of a config.json."""
    from lbench import models

    return tuple(map(models.name_of, split_names(text, "model")))


def split_formats(text: str, known: Collection[str], most: int | None = None) -> tuple[str, ...]:
    """File formats; UsageError for one that is not in `known` or for more than `most`."""
    names = split_names(text, "format")
    for name in names:
        if name not in known:
            raise unknown("format", name, known)
    if most is not None and len(names) > most:
        raise UsageError(f"--format {text!r}; one at a time: {', '.join(known)}")
    return names
