"""The report as PDF: pages of text and tables, then the figures of `lbench plot`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from lbench.lengths import format_length
from lbench.page.verdicts import Part, Verdict, verdict
from lbench.plot.canvas import add_rule, add_text
from lbench.plot.draw import draw
from lbench.plot.files import METADATA
from lbench.plot.labels import wrap
from lbench.plot.layout import text_width
from lbench.plot.models import draw_models
from lbench.plot.style import FAINT, GRID, INK, PT, RC
from lbench.report.conditions import conditions
from lbench.report.failures import failures
from lbench.report.model_conditions import of_models
from lbench.report.sources import Source
from lbench.report.tables import Line, Table
from lbench.report.values import DEFAULT_METRICS, axis, pick_reference

PAGE = (8.27, 11.69)
"""A4 in inches."""
MARGIN = 0.7
STEP = 0.15
"""From one line of text to the next."""
NAMES = 2.1
"""Column of the backends' names."""


class _Pages:
    """A cursor that goes down pages and begins a new one where there is no room."""

    def __init__(self) -> None:
        self.made: list[Figure] = []
        self.y = 0.0

    def need(self, height: float) -> None:
        """Makes sure that so much fits below the cursor."""
        if not self.made or self.y - height < MARGIN:
            self.made.append(Figure(figsize=PAGE))
            self.y = PAGE[1] - MARGIN

    def line(self, text: str, size: float = PT + 1, gap: float = 0.0, **options: Any) -> None:
        """A paragraph, wrapped to the page's width."""
        width = PAGE[0] - 2 * MARGIN
        step = STEP * size / (PT + 1)
        for number, part in enumerate(wrap(_clean(text).split(), lambda one: text_width(one, size), width)):
            self.need(step + gap)
            self.y -= step + (gap if number == 0 else 0.0)
            add_text(self.made[-1], MARGIN, self.y, part, size=size, **options)


def pdf(sources: Sequence[Source]) -> bytes:
    """The whole file. The same rows give the same bytes."""
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **RC}
    with matplotlib.rc_context(settings), io.BytesIO() as file:
        with PdfPages(file, metadata=METADATA["pdf"]) as pages:
            for source in sources:
                for figure in (*_text(source), *map(_on_page, _figures(source))):
                    pages.savefig(figure)
        return file.getvalue()


def _on_page(figure: Figure) -> Figure:
    """The figure at the top of a page, within its margins; a figure too tall for A4 has a taller page."""
    wide, tall = (float(size) for size in figure.get_size_inches())
    page = (PAGE[0], max(PAGE[1], tall + 2 * MARGIN))
    left, bottom = (page[0] - wide) / 2, page[1] - MARGIN - tall
    places = [(ax, ax.get_position(original=True)) for ax in figure.axes]
    figure.set_size_inches(page)
    for ax, place in places:
        x, y = left + place.x0 * wide, bottom + place.y0 * tall
        size = (place.width * wide / page[0], place.height * tall / page[1])
        ax.set_position((x / page[0], y / page[1], *size))
    for artist in (*figure.texts, *figure.artists):  # these are placed in inches
        artist.set_transform(artist.get_transform() + ScaledTranslation(left, bottom, figure.dpi_scale_trans))
    return figure


def _text(source: Source) -> list[Figure]:
    pages, made = _Pages(), verdict(source)
    pages.line(made.label, PT + 5, weight="bold")
    _verdict(pages, made)
    found = failures(source.rows.to_dict("records"))
    if found:
        pages.line("Failures", PT + 3, gap=0.12, weight="bold")
    for told, command in found:
        pages.line(told, gap=0.05)
        pages.line(command, PT, color=FAINT, family="DejaVu Sans Mono")
    return pages.made


def _verdict(pages: _Pages, made: Verdict) -> None:
    pages.line(made.counts.sentence, gap=0.05)
    for advice in made.counts.advice:
        pages.line(f"doubt: {advice}", color=FAINT)
    for part in made.parts:
        pages.need(STEP * (len(part.table.shown) + 6))
        pages.line(part.table.title, PT + 2, gap=0.16, weight="bold")
        pages.line(part.table.setting, PT, color=FAINT)
        _table(pages, part.table)
        _words(pages, part)


def _words(pages: _Pages, part: Part) -> None:
    for told in (part.table.legend, part.sentence, *part.crossovers):
        if told:
            pages.line(told, PT, gap=0.02, color=FAINT if told == part.table.legend else INK)


def _table(pages: _Pages, table: Table) -> None:
    """Lengths across, the best of each in bold; a line that finds no room goes to the next page."""
    columns = len(table.lengths)
    width = min((PAGE[0] - 2 * MARGIN - NAMES) / max(columns, 1), 0.75)
    ends = [MARGIN + NAMES + width * (column + 1) for column in range(columns)]
    _cells(pages, "", zip(ends, map(format_length, table.lengths), [False] * columns, strict=True))
    add_rule(pages.made[-1], (MARGIN, ends[-1]), (pages.y - 0.05,) * 2, GRID)
    for line in table.shown:
        _cells(pages, line.title, _texts(line, ends))
    pages.y -= 0.06


def _texts(line: Line, ends: Sequence[float]) -> Iterator[tuple[float, str, bool]]:
    for end, cell in zip(ends, line.cells, strict=True):
        yield end, cell.text, cell.best


def _cells(pages: _Pages, name: str, cells: Iterator[tuple[float, str, bool]]) -> None:
    pages.need(STEP)
    pages.y -= STEP
    shown = _clean(name)
    while shown and text_width(shown) > NAMES - 0.1:
        shown = shown[:-2].rstrip() + "\u2026"
    add_text(pages.made[-1], MARGIN, pages.y, shown)
    for end, text, best in cells:
        weight = "bold" if best else "normal"
        add_text(pages.made[-1], end, pages.y, text, ha="right", weight=weight)


def _figures(source: Source) -> Iterator[Figure]:
    reference = pick_reference(source.rows)
    models = of_models(source.rows)
    for condition in conditions(source.rows[~models]) if (~models).any() else ():
        for metric in DEFAULT_METRICS:
            if figure := draw(condition, axis(metric, reference)):
                yield figure
    yield from (figure for _, figure in draw_models(source.rows[models]) if figure)


def _clean(text: str) -> str:
    """Text without what no font can show."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
