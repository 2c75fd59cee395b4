"""Draws one figure: a panel a pass, a line a backend, failures in a strip above, names at the right."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from lbench.plot.axes import set_up
from lbench.plot.canvas import add_axes, add_marker, add_text
from lbench.plot.captions import name_lines
from lbench.plot.labels import wrap
from lbench.plot.layout import GAP, LEFT, LINE, RIGHT, WIDTH, Layout, Place, arrange, text_width
from lbench.plot.marks import draw_failures, draw_lines
from lbench.plot.series import Panel, panel
from lbench.plot.style import FAINT, PT, look
from lbench.report.conditions import Condition
from lbench.report.values import Axis
from lbench.report.wording import MEANINGS, PASS_TITLES, SHORT


def draw(condition: Condition, wanted: Axis) -> Figure | None:
    """The figure of one quantity in one condition; None where no row has it."""
    panels = [panel(condition.rows, name, wanted, PASS_TITLES[name]) for name in condition.passes]
    heading = f"{wanted.heading}, {condition.title}"
    return compose(panels, wanted, heading, condition)


def compose(
    panels: Sequence[Panel], wanted: Axis, heading: str, condition: Condition, told: Sequence[str] = ()
) -> Figure | None:
    """Panels under one title, with `told` in the small print; None where no panel has a value."""
    panels = [one for one in panels if one.drawn]
    if not any(one.has_values for one in panels):
        return None
    notes = _notes(panels, told)
    layout = arrange(panels, len(notes))
    figure = Figure(figsize=(WIDTH, layout.height))
    _header(figure, condition, heading, layout)
    for one, place in zip(panels, layout.places, strict=True):
        _draw_panel(figure, one, place, condition, wanted)
    for number, note in enumerate(reversed(notes)):
        add_text(figure, LEFT, 0.05 + LINE * (number + 0.3), note, color=FAINT)
    return figure


def _header(figure: Figure, condition: Condition, heading: str, layout: Layout) -> None:
    """Title, setting, and a key of the mechanisms' colours."""
    top = layout.height
    add_text(figure, LEFT, top - 0.2, heading, size=PT + 2, weight="bold")
    add_text(figure, LEFT, top - 0.36, condition.setting, color=FAINT)
    pairs = condition.rows[["backend", "mechanism"]].drop_duplicates().itertuples(index=False)
    looks = [(look(str(backend), str(mechanism)), str(mechanism)) for backend, mechanism in pairs]
    x = LEFT
    for _, mechanism, colour in sorted({(one.order[0], mechanism, one.colour) for one, mechanism in looks}):
        add_marker(figure, x + 0.05, top - 0.49, "s", colour, 6)
        add_text(figure, x + 0.12, top - 0.52, mechanism)
        x += 0.12 + text_width(mechanism) + 0.14


def _draw_panel(figure: Figure, one: Panel, place: Place, condition: Condition, wanted: Axis) -> None:
    ax = add_axes(figure, place.left, place.bottom, place.right, place.top)
    set_up(ax, one, wanted, place)
    ax.set_xlabel(_length_title(one, condition), labelpad=2)
    add_text(figure, place.left, place.title, one.title, weight="bold")
    draw_lines(ax, one)
    if place.strip:
        bottom = place.top + GAP
        draw_failures(add_axes(figure, place.left, bottom, place.right, bottom + place.strip), one)
    name_lines(figure, ax, one, place)


def _notes(panels: Sequence[Panel], told: Sequence[str]) -> list[str]:
    """Small print: backends not drawn, what the strip's words mean, what markers and bars stand for."""
    words = " ".join([*told, *_absent(panels)]).split()
    verdicts = {run.verdict for one in panels for series in one.drawn for run in series.failures}
    words += [f"{SHORT[verdict]}: {MEANINGS[verdict]}." for verdict in MEANINGS if verdict in verdicts]
    drawn = [series.points for one in panels for series in one.drawn]
    if any(points["doubted"].any() for points in drawn):
        words.append("Hollow marker: a row with a doubt.")
    if any((points["high"] > points["low"] * 1.05).any() for points in drawn):
        words.append("Vertical bars: 95 % interval of the median.")
    return wrap(words, text_width, WIDTH - LEFT - RIGHT)


def _absent(panels: Sequence[Panel]) -> list[str]:
    """A sentence a verdict with the backends that could not run, and in which passes if not in all."""
    passes: dict[tuple[str, str], list[str]] = {}
    for one in panels:
        for title, verdict in one.absent:
            passes.setdefault((verdict, title), []).append(one.title)
    named: dict[str, list[str]] = {}
    for (verdict, title), where in passes.items():
        only = "" if len(where) == len(panels) else f" ({', '.join(where)})"
        named.setdefault(verdict, []).append(title + only)
    return [f"{verdict.capitalize()}: {', '.join(titles)}." for verdict, titles in sorted(named.items())]


def _length_title(one: Panel, condition: Condition) -> str:
    if one.pass_name == "decode":
        return f"context held in tokens ({condition.title})"
    held = condition.title
    if not held:
        return "sequence length"
    return (
        f"sequence length ({held})"
        if held.startswith("batch")
        else f"sequence length (batch \u00d7 length = {held})"
    )
