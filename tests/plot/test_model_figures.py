"""Figures of models: every size has its panel, every line its name, every failure its mark."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from models.scripted import row_of, rows_of, write
from plot.synthetic import cpu

import lbench
from lbench.plot.files import render
from lbench.plot.models import draw_models
from lbench.plot.style import RC
from lbench.report.values import axis
from lbench.results import Row


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    kept = rows_of("models-train", "models-serve")
    return lbench.load(write(tmp_path_factory.mktemp("models") / "rows", kept))


@pytest.fixture(scope="module")
def figures(rows: pd.DataFrame) -> dict[str, Figure]:
    with matplotlib.rc_context(RC):
        made = {name: figure for name, figure in draw_models(rows) if figure is not None}
        for figure in made.values():
            FigureCanvasAgg(figure).draw()
    return made


def drawn_as(folder: Path, kept: list[Row]) -> dict[str, Figure]:
    with matplotlib.rc_context(RC):
        return {name: one for name, one in draw_models(lbench.load(write(folder, kept))) if one is not None}


def panels(figure: Figure) -> list[dict[str, dict[float, float]]]:
    """Backend -> length -> value of each panel."""
    return [
        {
            line.get_gid().removeprefix("line-"): dict(zip(*map(list, line.get_data()), strict=True))
            for line in ax.get_lines()
            if (line.get_gid() or "").startswith("line-")
        }
        for ax in figure.axes
        if ax.get_gid() != "failures"
    ]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def test_each_pass_has_its_figures(figures: dict[str, Figure]) -> None:
    assert set(figures) >= {
        "models-train-tgs",
        "models-train-memory",
        "models-prefill-time-batch-1",
        "models-decode-latency-batch-1",
        "models-decode-latency-batch-16",
        "models-decode-memory-batch-1",
    }


def test_a_panel_holds_what_the_rows_of_its_size_say(figures: dict[str, Figure], rows: pd.DataFrame) -> None:
    drawn = panels(figures["models-train-tgs"])
    assert len(drawn) == 3
    for panel, size in zip(drawn, ("385m", "1b", "3b"), strict=True):
        mine = rows[rows["model"].str.endswith(f"-{size}") & (rows["pass"] == "train")]
        assert set(panel) == set(mine["backend"])
        for backend, points in panel.items():
            of = mine[mine["backend"] == backend].set_index("seq_len")["tokens_per_s"]
            assert points == pytest.approx(of.to_dict())


@pytest.mark.parametrize("name", ["models-train-tgs", "models-decode-latency-batch-16"])
def test_every_line_is_named_once_a_panel_and_no_name_hides_another(
    figures: dict[str, Figure], name: str
) -> None:
    figure = figures[name]
    labels = [text for text in figure.texts if text.get_gid() == "label"]
    lines = [backend for panel in panels(figure) for backend in panel]
    bounds = [text for text in labels if "floor" in text.get_text()]
    assert len(labels) - len(bounds) == len(lines)
    assert {"tnl: Lightning (ours, Triton)", "llama: FlashAttention-2"} <= {
        text.get_text() for text in labels
    }
    every = [text for text in figure.texts if (text.get_gid() or "").startswith("label")]
    for one, other in combinations([text.get_window_extent() for text in every], 2):
        assert not one.overlaps(other)
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_failures_are_marked(figures: dict[str, Figure]) -> None:
    figure = figures["models-decode-latency-batch-16"]
    strips = [ax for ax in figure.axes if ax.get_gid() == "failures"]
    assert len(strips) == 2
    for strip in strips:
        assert [text.get_text() for text in strip.texts] == ["OOM", "OOM"]
    assert any("OOM: out of memory." in text for text in texts(figure))


def test_the_fastest_batch_of_a_length_stands_and_the_step_is_told(tmp_path: Path) -> None:
    from lbench import models

    case = models.fields_of("tnl-1b", "lightning_triton", "lightning", "native", "", "cuda")
    kept = []
    for batch, length, time_ms in ((8, 1024, 100.0), (1, 1024, 50.0), (4, 2048, 100.0), (1, 2048, 50.0)):
        made = row_of(dataclasses.replace(case, batch=batch, seq_len=length))
        kept.append(dataclasses.replace(made, times_ms=(time_ms,) * 10, rounds=()))
    figure = drawn_as(tmp_path / "rows", kept)["models-train-tgs"]
    (panel,) = panels(figure)
    assert panel["lightning_triton"] == pytest.approx({1024: 81_920, 2048: 81_920})
    assert any("8,192 tokens a step" in text for text in texts(figure))


def test_a_speed_on_a_cpu_is_none_of_a_gpu(tmp_path: Path) -> None:
    from lbench import models

    case = models.fields_of("tnl-tiny", "lightning_eager", "lightning", "native", "", "cpu")
    drawn = texts(drawn_as(tmp_path / "rows", [row_of(case)])["models-train-tgs"])
    assert "tokens/s" in drawn
    assert not any("GPU and second" in text for text in drawn)


def test_a_hybrid_has_a_line_for_each_attention(tmp_path: Path) -> None:
    from lbench import models

    kept = [
        row_of(models.fields_of("minimax-1b", "lightning_triton", "lightning", "native", name, "cuda"))
        for name in ("sdpa_flash", "sdpa_math")
    ]
    figure = drawn_as(tmp_path / "rows", kept)["models-train-tgs"]
    for name in ("SDPA flash", "SDPA math"):
        assert f"minimax with {name}: Lightning (ours, Triton)" in texts(figure)


def test_a_row_that_was_skipped_is_drawn_as_such(tmp_path: Path) -> None:
    from lbench import models

    case = models.fields_of("tnl-1b", "lightning_triton", "lightning", "native", "", "cuda")
    fits, not_tried = (dataclasses.replace(case, seq_len=length) for length in (1024, 2048))
    skipped = row_of(not_tried, verdict="skipped", times_ms=())
    skipped = dataclasses.replace(skipped, model={"params": 1_020_266_496}, memory={}, reason="no room")
    drawn = drawn_as(tmp_path / "rows", [row_of(fits), skipped])
    assert "skip" in texts(drawn["models-train-tgs"])


def test_figures_of_mixers_are_what_they_are_without_models(rows: pd.DataFrame) -> None:
    usual = {"model": "", "body": "native", "attention": "", "checkpoint": "none", "chunk": 0}
    alone = cpu().assign(**usual, prefill_chunk=0, compile="off")
    both = pd.concat([alone, rows[rows["pass"] == "prefill"]], ignore_index=True)
    expected = dict(render(alone, ("time_ms",)))
    found = dict(render(both, ("time_ms",)))
    assert {name: found[name] for name in expected} == expected
    assert set(found) - set(expected) == {"models-prefill-time-batch-1.png"}


def test_a_metric_that_is_asked_for_is_drawn(rows: pd.DataFrame) -> None:
    trained = rows[rows["pass"] == "train"]
    ((name, figure),) = draw_models(trained, [axis("mfu_useful")])
    assert name == "models-train-mfu-useful"
    assert figure is not None
    assert all(0 < y < 1 for panel in panels(figure) for line in panel.values() for y in line.values())
