"""Figures as files: stable names, and the same bytes for the same rows."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lbench.errors import UsageError
from lbench.plot.draw import draw
from lbench.plot.models import draw_models
from lbench.plot.style import RC
from lbench.report.conditions import conditions
from lbench.report.model_conditions import of_models
from lbench.report.values import DEFAULT_METRICS, axis, pick_reference

FORMATS = ("png", "svg", "pdf")
DPI = (RC["savefig.dpi"], RC["savefig.dpi"])
METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Nothing that changes with time, machine or version goes into a file."""
ORIGIN = {"png": "Description", "svg": "Description", "pdf": "Subject"}
"""Where a file says how it was drawn."""


def render(
    frame: pd.DataFrame,
    metrics: Sequence[str] = DEFAULT_METRICS,
    formats: Sequence[str] = ("png",),
    relative_to: str = "",
    origin: str = "",
) -> Iterator[tuple[str, bytes | None]]:
    """File names and contents of all figures of the rows; None where no row has a figure's metric.

    Models are drawn by size, unless metrics are named with what their passes are asked for.
    Files keep `origin`, which says how they were drawn (`plot.redraw`).

    Raises UsageError for an unknown metric or reference backend.
    """
    reference = pick_reference(frame, relative_to)
    axes = [axis(metric, reference) for metric in metrics]
    is_model = of_models(frame)
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **RC}  # nothing of a user's matplotlibrc
    with matplotlib.rc_context(settings):
        made = itertools.chain(
            (
                (f"{wanted.slug}-{condition.slug}", draw(condition, wanted))
                for condition in conditions(frame[~is_model])
                for wanted in axes
            ),
            draw_models(frame[is_model], None if tuple(metrics) == DEFAULT_METRICS else axes),
        )
        for name, figure in made:
            for kind in formats:
                yield f"{name}.{kind}", None if figure is None else content(figure, kind, origin)


def write(contents: dict[str, bytes], folder: Path) -> list[Path]:
    """Writes the files into the folder, which is made where it is missing. UsageError where it cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            partial = folder / f".{name}.partial"
            partial.write_bytes(content)
            os.replace(partial, folder / name)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; choose another --out") from error
    return [folder / name for name in contents]


def content(figure: Figure, kind: str, origin: str = "") -> bytes:
    """A figure as the bytes of a file that keeps how it was drawn."""
    told = {ORIGIN[kind]: origin} if origin else {}
    with io.BytesIO() as file:
        figure.savefig(file, format=kind, metadata={**METADATA[kind], **told})
        return _with_palette(file, told) if kind == "png" else file.getvalue()


def _with_palette(file: io.BytesIO, told: Mapping[str, str]) -> bytes:
    """A PNG in 256 colours: a third of the size, which counts where figures are kept in a repository."""
    picture = Image.open(file).convert("RGB")
    texts = PngInfo()
    for name, text in told.items():
        texts.add_text(name, text)
    with io.BytesIO() as smaller:
        small = picture.quantize(256, dither=Image.Dither.NONE)
        small.save(smaller, format="png", optimize=True, dpi=DPI, pnginfo=texts)
        return smaller.getvalue()
