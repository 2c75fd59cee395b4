"""How a figure was drawn, kept within its file, so that it can be drawn once more and compared."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from lbench import results
from lbench.errors import UsageError
from lbench.frontier import frontiers
from lbench.plot import files
from lbench.plot.frontier import frontier_files
from lbench.plot.roofline import roofline_files
from lbench.report import roofline
from lbench.report.choices import select
from lbench.report.frontier import rows_of
from lbench.report.values import DEFAULT_METRICS
from lbench.results import Row

COMMANDS = ("plot", "roofline", "frontier")
ELSEWHERE = "from elsewhere"
"""Said of a figure that other folders or profiles went into."""


def origin(
    command: str,
    folders: Sequence[Path] = (),
    profiles: Sequence[Path] | None = None,
    **choices: str | None,
) -> str:
    """A command that draws and the choices made, as its figures keep them."""
    told = {"command": command, **{name: one for name, one in choices.items() if one}}
    if len(folders) > 1 or profiles:
        told[ELSEWHERE] = "yes"
    return json.dumps(told)


def read_origin(path: Path) -> dict[str, str]:
    """What a figure says of how it was drawn; empty for older ones, and those of others."""
    try:
        told = json.loads(_kept(path))
    except (OSError, ValueError):
        return {}
    ours = isinstance(told, dict) and told.get("command") in COMMANDS
    return {str(name): str(one) for name, one in told.items()} if ours else {}


def wrong_figures(folder: Path, rows: pd.DataFrame) -> Iterator[str]:
    """The figures of a result folder that its rows do not draw, in words."""
    by_origin: dict[str, list[Path]] = {}
    for path in sorted((folder / "figures").glob("*")):
        if path.suffix[1:] in files.FORMATS:
            by_origin.setdefault(json.dumps(read_origin(path)), []).append(path)
    for text, paths in by_origin.items():
        choices = json.loads(text)
        try:
            made = _drawn(folder, rows, choices, sorted({path.suffix[1:] for path in paths}))
        except UsageError as error:
            yield from (f"{_name(path)} cannot be drawn again: {error}" for path in paths)
        else:
            yield from filter(None, (_unlike(path, made, choices) for path in paths))


def _unlike(path: Path, made: Mapping[str, bytes | None], choices: Mapping[str, str]) -> str:
    """What is wrong with one figure; empty where nothing is. One that no rows draw may be anybody's."""
    if made.get(path.name, b"" if choices else path.read_bytes()) == path.read_bytes():
        return ""
    if choices:
        command = f"lbench {choices['command']}"
        return f"{_name(path)} is not what the rows draw with this matplotlib (`{command}` redraws it)"
    return (
        f"{_name(path)} is not what all rows draw, and does not say what was selected for it: figures of an "
        "older lbench do not (draw it again)"
    )


def _name(path: Path) -> str:
    return f"figures/{path.name}"


def _drawn(
    folder: Path, rows: pd.DataFrame, choices: Mapping[str, str], kinds: Sequence[str]
) -> dict[str, bytes | None]:
    """The files that a command draws of a folder; of every command, with all rows, where none is named."""
    if ELSEWHERE in choices:
        raise UsageError("it was drawn with other folders or profiles too; draw it from this folder alone")
    text = json.dumps(choices) if choices else ""
    commands = COMMANDS if not choices else (choices["command"],)
    made: dict[str, bytes | None] = {}
    if "plot" in commands:
        metrics = _split(choices, "metric") or DEFAULT_METRICS
        made |= files.render(_chosen(rows, choices), metrics, kinds, choices.get("relative_to", ""), text)
    if "roofline" in commands:
        under = _chosen(roofline.load([results.read(folder)]), choices)
        made |= roofline_files(roofline.panels(under), kinds, text)
    if "frontier" in commands and (found := frontiers(_searched(folder, choices))):
        made |= frontier_files(found, kinds, text)
    return made


def _chosen(rows: pd.DataFrame, choices: Mapping[str, str]) -> pd.DataFrame:
    backends, passes, models = (_split(choices, name) for name in ("backend", "passes", "model"))
    return select(rows, backends, passes, choices.get("seq"), models)


def _searched(folder: Path, choices: Mapping[str, str]) -> list[Row]:
    """The rows of a search, or those of a sweep over lengths that were chosen."""
    if "of" not in choices:
        return list(results.read(folder).rows.values())
    return rows_of(folder, json.loads(choices["of"]))


def _split(choices: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in choices.get(name, "").split(",") if part.strip())


def _kept(path: Path) -> str:
    """The text that `files.content` put into a file; ValueError or OSError where it cannot be had."""
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return str(picture.info.get(files.ORIGIN["png"], ""))
    text = path.read_bytes().decode("latin-1")
    if path.suffix == ".svg":
        found = re.search(r"<dc:description>(.*?)</dc:description>", text, re.DOTALL)
        return html.unescape(found[1]) if found else ""
    found = re.search(r"/Subject \(((?:\\.|[^\\)])*)\)", text)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else ""
