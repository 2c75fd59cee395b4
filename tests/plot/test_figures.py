"""Figures from synthetic rows: everything drawn, where it belongs, legible and the same each time."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from plot.synthetic import cpu, frame, h100, row

import lbench
from lbench.errors import UsageError
from lbench.metrics import METRICS
from lbench.plot.draw import draw
from lbench.plot.files import render
from lbench.plot.layout import WIDTH
from lbench.plot.style import PT, RC, look
from lbench.report.conditions import conditions
from lbench.report.values import DEFAULT_METRICS, RELATIVE, axis, pick_reference, values


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with matplotlib.rc_context(RC):
        yield


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return sweep()


@functools.cache
def sweep() -> pd.DataFrame:
    return h100()


@functools.cache
def whole(metric: str = "time_ms", number: int = 0) -> Figure:
    FigureCanvasAgg(drawn(metric, number)).draw()
    return drawn(metric, number)


@functools.cache
def drawn(metric: str, number: int) -> Figure:
    """A figure of the whole sweep, not yet laid out."""
    made = draw(conditions(sweep())[number], axis(metric, pick_reference(sweep())))
    assert made is not None
    return made


def figure_of(rows: pd.DataFrame, metric: str = "time_ms", number: int = 0) -> Figure:
    made = draw(conditions(rows)[number], axis(metric, pick_reference(rows)))
    assert made is not None
    FigureCanvasAgg(made).draw()
    return made


def lines_of(figure: Figure) -> dict[tuple[int, str], object]:
    return {
        (number, line.get_gid().removeprefix("line-")): line
        for number, ax in enumerate(figure.axes)
        for line in ax.get_lines()
        if (line.get_gid() or "").startswith("line-")
    }


def failures_of(ax: Axes) -> set[tuple[str, str, float]]:
    return {(t.get_gid().removeprefix("failure-"), t.get_text(), t.get_position()[0]) for t in ax.texts}


@pytest.mark.parametrize("metric", DEFAULT_METRICS)
@pytest.mark.parametrize("number", [0, 1])
def test_times_of_too_few_samples_for_an_interval_are_drawn(
    rows: pd.DataFrame, metric: str, number: int
) -> None:
    unknown = figure_of(rows.assign(time_ms_low=np.nan, time_ms_high=np.nan), metric, number)
    for place, line in lines_of(figure_of(rows, metric, number)).items():
        assert lines_of(unknown)[place].get_xydata().tolist() == line.get_xydata().tolist()


@pytest.mark.parametrize("metric", DEFAULT_METRICS)
def test_every_ok_value_is_on_its_line(rows: pd.DataFrame, metric: str) -> None:
    one = conditions(rows)[1]
    shown = one.rows.assign(**values(one.rows, axis(metric, "lightning_triton")))
    points = {
        (backend, x, y)
        for (_, backend), line in lines_of(drawn(metric, 1)).items()
        for x, y in zip(*line.get_data(), strict=True)
    }
    ok = shown[shown["verdict"] == "ok"]
    assert points == set(zip(ok["backend"], ok["seq_len"], ok["y"], strict=True))


def test_failures_are_marked_where_they_happened(rows: pd.DataFrame) -> None:
    strip = next(ax for ax in whole().axes if ax.get_gid() == "failures")
    marks = failures_of(strip)
    batch_1 = rows[(rows["batch"] == 1) & (rows["pass"] == "fwd")].set_index(["backend", "seq_len"])[
        "verdict"
    ]
    assert ("softmax_eager", "OOM", 32768) in marks
    for backend, text, length in marks:
        verdict = batch_1[backend, int(length)]
        assert {"OOM": "out_of_memory", "skip": "skipped", "wrong": "wrong"}[text] == verdict
    failed = batch_1[~batch_1.isin(["ok", "unsupported", "unavailable"])]
    assert {backend for backend, _, _ in marks} == set(failed.index.get_level_values("backend"))


def test_backends_that_could_not_run_are_told_in_a_note() -> None:
    notes = " ".join(text.get_text() for text in whole().texts)
    assert "Unavailable: FlexAttention." in notes
    assert "Unsupported: FlashAttention-3 (forward + backward), " in notes


def test_colours_and_markers_are_those_of_the_style_in_every_figure(rows: pd.DataFrame) -> None:
    mechanism = dict(zip(rows["backend"], rows["mechanism"], strict=True))
    for number, metric in ((0, "time_ms"), (1, "peak_mib")):
        for (_, backend), line in lines_of(whole(metric, number)).items():
            assert to_hex(line.get_color()) == look(backend, mechanism[backend]).colour


def test_a_subset_of_the_rows_looks_like_the_whole(rows: pd.DataFrame) -> None:
    few = figure_of(rows[rows["backend"].isin(["gla_fla_chunk", "sdpa_flash"])])
    colours = {backend: line.get_color() for (_, backend), line in lines_of(whole()).items()}
    assert all(line.get_color() == colours[backend] for (_, backend), line in lines_of(few).items())


# Sweeps of one folder differ in their points alone: of the second one two figures are looked at.
@pytest.mark.parametrize(
    ("metric", "number"), [*((metric, 0) for metric in DEFAULT_METRICS), ("time_ms", 1), ("peak_mib", 1)]
)
def test_no_text_overlaps_another_or_leaves_the_page(metric: str, number: int) -> None:
    figure = whole(metric, number)
    boxes = [(text.get_text(), box_of(text)) for text in texts_of(figure)]
    assert len(boxes) > 50
    width, height = figure.get_size_inches() * figure.dpi
    for name, (left, bottom, right, top) in boxes:
        assert min(left, bottom, width - right, height - top) >= 0, name
    for (one, a), (other, b) in combinations(boxes, 2):
        slack = 1.5  # pixels of 200 an inch: ascenders of one line and descenders of the next
        apart = a[2] <= b[0] + slack or b[2] <= a[0] + slack or a[3] <= b[1] + slack or b[3] <= a[1] + slack
        assert apart, f"{one!r} and {other!r} overlap"


def texts_of(figure: Figure) -> list[Text]:
    """All texts that are drawn: matplotlib keeps labels of ticks beyond the limits, and never draws them."""
    unseen = {
        label
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not ax.axison
        or not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    return [
        text for text in figure.findobj(Text) if text.get_text() and text.get_visible() and text not in unseen
    ]


def box_of(text: Text) -> tuple[float, float, float, float]:
    box = text.get_window_extent()
    return box.x0, box.y0, box.x1, box.y1


def test_names_cover_no_point_of_a_line(rows: pd.DataFrame) -> None:
    figure = figure_of(rows[rows["mechanism"].isin(["softmax", "lightning"])])
    points = np.concatenate(
        [
            ax.transData.transform(np.column_stack(line.get_data()))
            for ax in figure.axes
            for line in ax.get_lines()
        ]
    )
    names = [text for text in figure.texts if text.get_gid() in ("label", "label-break")]
    assert any(text.get_gid() == "label-break" for text in names)
    for text in names:
        left, bottom, right, top = box_of(text)
        inside = (points > (left, bottom)) & (points < (right, top))
        assert not inside.all(axis=1).any(), text.get_text()


@pytest.mark.parametrize("metric", ["ns_per_token", RELATIVE])
def test_names_within_a_panel_cover_no_marker_and_no_interval(metric: str) -> None:
    folder = Path(__file__).parents[2] / "results" / "headline-h100-2026-11-22"
    if not folder.is_dir():
        pytest.skip("not a checkout")
    figure = figure_of(lbench.load(folder), metric)
    names = [box_of(text) for text in figure.texts if text.get_gid() == "label-break"]
    assert names
    for ax in figure.axes:
        markers = [spot for line in ax.get_lines() for spot in ax.transData.transform(line.get_xydata())]
        stems = [ax.transData.transform(part) for one in ax.collections for part in one.get_segments()]
        for left, bottom, right, top in names:
            assert not any(left < x < right and bottom < y < top for x, y in markers)
            assert not any(
                left < stem[0][0] < right and stem[0][1] < top and bottom < stem[1][1] for stem in stems
            )


def test_every_figure_has_the_papers_width_and_legible_letters() -> None:
    figure = whole()
    assert figure.get_size_inches()[0] == WIDTH
    assert all(text.get_fontsize() >= PT for text in texts_of(figure))
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == (
        ["1k", "2k", "4k", "8k", "16k", "32k", "64k", "128k", "256k"]
    )


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_same_rows_same_bytes(kind: str) -> None:
    few = h100("1k..64k", ("fwd",), ("lightning_triton", "softmax_eager"), tokens=None)
    first, second = (dict(render(few, ("time_ms",), (kind,))) for _ in range(2))
    assert first == second
    assert list(first) == [f"time-batch-1.{kind}"]
    if kind == "svg":
        text = first["time-batch-1.svg"].decode()
        assert re.search(r"<text[^>]*>OOM</text>", text)
        assert not re.search(r"<dc:date>|matplotlib v", text, re.IGNORECASE)


@pytest.mark.parametrize("metric", [*METRICS, RELATIVE])
def test_every_metric_can_be_drawn(metric: str) -> None:
    few = h100("1k,4k,16k", ("fwdbwd",), ("lightning_triton", "gla_fla_chunk"), tokens=None)
    assert lines_of(figure_of(few, metric))


def test_a_cpu_run_gives_its_figures_and_says_which_it_cannot() -> None:
    made = dict(render(cpu()))
    assert {name for name, content in made.items() if content is None} == {"peak-memory-batch-1.png"}
    assert sum(content is not None for content in made.values()) == 5


@pytest.mark.parametrize("verdict", ["out_of_memory", "unavailable"])
def test_rows_without_any_value_give_no_figure(verdict: str) -> None:
    rows = frame([row(verdict=verdict, seq_len=1024), row(verdict=verdict, seq_len=2048)])
    assert set(dict(render(rows)).values()) == {None}


def test_one_length_zeros_and_names_with_signs_are_drawn() -> None:
    odd = "my/own $x_2$.py:fast[red]|mix"
    rows = frame(
        [
            row(time_ms=1.0, peak_mib=0.0),
            row(time_ms=2.0, peak_mib=5.0, backend=odd, mechanism="$other$"),
            row(verdict="timeout", backend="sdpa_flash", mechanism="softmax"),
        ]
    )
    for metric in ("time_ms", "peak_mib", RELATIVE):
        texts = [text.get_text() for text in figure_of(rows, metric).texts]
        assert "fast[red]|mix (own $x_2$.py)" in texts


def test_relative_speed_is_the_ratio_of_times_at_the_same_point() -> None:
    rows = h100("1k,2k", ("fwd", "fwdbwd"), ("lightning_triton", "sdpa_flash"), tokens=4096)
    made = rows.assign(**values(rows, axis(RELATIVE, "sdpa_flash")))
    assert (made.loc[made["backend"] == "sdpa_flash", "y"] == 1).all()
    times = rows.pivot(index=["pass", "batch", "seq_len"], columns="backend", values="time_ms")
    ours = made[made["backend"] == "lightning_triton"].set_index(["pass", "batch", "seq_len"])
    expected = times["sdpa_flash"] / times["lightning_triton"]
    assert ours["y"].to_numpy() == pytest.approx(expected.loc[ours.index].to_numpy())
    assert ours["y"].between(ours["low"], ours["high"], inclusive="neither").all()


def test_the_reference_is_ours_else_lightning_else_the_first() -> None:
    assert pick_reference(h100("1k", ("fwd",))) == "lightning_triton"
    assert pick_reference(cpu()) == "lightning_eager"
    assert pick_reference(cpu(("sdpa_math",))) == "sdpa_math"
    with pytest.raises(UsageError, match="did you mean sdpa_math"):
        pick_reference(cpu(), "sdpa_maths")


def test_an_unknown_metric_names_the_near_one() -> None:
    with pytest.raises(UsageError, match="did you mean time_ms"):
        list(render(cpu(), ("time_m",)))


def test_the_memory_floor_is_drawn_where_a_line_comes_near_it() -> None:
    near = frame([row(seq_len=n, tokens=n, time_ms=n / 1e3, floor_ms=n / 2e3) for n in (1024, 2048)])
    far = near.assign(floor_ms=near["floor_ms"] / 100)
    for rows, expected in ((near, True), (far, False)):
        names = [text.get_text() for text in figure_of(rows).texts]
        assert ("memory floor (lightning)" in names) == expected
