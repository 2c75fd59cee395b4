"""The roofline: laws of the roof, its numbers against the rows, what is told where one was not measured."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from models.scripted import rows_of, write
from rows import make_row

from lbench import mechanisms, results
from lbench.case import Case
from lbench.plot.roofline import figure_of, roofline_files
from lbench.plot.style import RC
from lbench.report import roofline
from lbench.report.roofline import Roof
from lbench.statistics import median

H100 = {"gpu": "NVIDIA H100 80GB HBM3", "cpu": "x", "cores": 1}
rates = st.one_of(st.just(math.nan), st.floats(1e-3, 1e6))


@given(rates, rates, st.floats(1e-3, 1e6), st.floats(1.0, 100.0))
def test_a_roof_never_falls_and_is_the_lower_of_the_two(
    gb_s: float, tflop_s: float, at: float, on: float
) -> None:
    roof = Roof(bandwidth_gb_s=gb_s, matrix_tflop_s=tflop_s)
    here, further = roof.tflop_s(at), roof.tflop_s(at * on)
    if math.isnan(gb_s) and math.isnan(tflop_s):
        assert math.isnan(here)
        assert (roof.share(1.0, at), roof.name(at)) == ("", "")
        return
    assert here <= further
    assert math.isnan(gb_s) or here <= gb_s * at / 1e3
    assert math.isnan(tflop_s) or here <= tflop_s
    assert roof.share(here, at).endswith("100%")
    assert roof.share(here, at).startswith("\u2265") == (math.isnan(gb_s) or math.isnan(tflop_s))


def kept(folder: Path, **run: Any) -> Path:
    """Rows of two backends at two lengths, the run's ceilings as given."""
    writer = results.Writer(folder)
    writer.document("environments", results.content_id(H100), H100)
    writer.document("runs", "r1", {"environment": results.content_id(H100), **run})
    for backend, time_ms in (("lightning_triton", 0.5), ("lightning_authors", 4.0)):
        for seq_len in (1024, 4096):
            fields = {"backend": backend, "seq_len": seq_len, "device": "cuda", "dtype": "bf16"}
            writer.append(make_row(time_ms=time_ms * seq_len / 1024, **fields))
    writer.append(make_row("out_of_memory", backend="lightning_eager", seq_len=4096, device="cuda"))
    writer.close()
    return folder


def profile_of(case: Case, **document: Any) -> Any:
    """What the roofline reads of a kept profile."""
    return SimpleNamespace(
        kept=SimpleNamespace(case=case, document={"environment": H100, **document}),
        executed_flops=7e9,
        moved_bytes=5e8,
    )


def test_points_are_the_rows_work_over_its_time(tmp_path: Path) -> None:
    read = results.read(kept(tmp_path, copy_bandwidth_gb_s=3000.0, matrix_tflop_s={"bf16": 700.0}))
    (panel,) = roofline.panels(roofline.load([read]))
    assert len(panel.points) == 4, "a case without a time has no point"
    for point in panel.points:
        row = next(
            row for row in read.rows.values()
            if (row.case.backend, row.case.seq_len) == (point.backend, point.seq_len)
        )  # fmt: skip
        mechanism = mechanisms.load("lightning")
        flops = mechanism.useful_flops(row.case)
        assert point.tflop_s == pytest.approx(flops / (median(row.times_ms) * 1e-3) / 1e12)
        assert point.intensity == pytest.approx(flops / mechanism.floor_bytes(row.case))
    assert [point.backend for point in panel.longest] == ["lightning_triton", "lightning_authors"]
    assert {point.seq_len for point in panel.longest} == {4096}
    assert panel.roof == Roof(bandwidth_gb_s=3000.0, matrix_tflop_s=700.0)
    assert len(roofline.table(panel, every_length=True)) == 4
    assert roofline.missing(panel) == [text for text in roofline.missing(panel) if "executed" in text]


def test_a_profile_lends_executed_work_and_the_cards_rate(tmp_path: Path) -> None:
    read = results.read(kept(tmp_path, copy_bandwidth_gb_s=3000.0))
    (panel,) = roofline.panels(roofline.load([read]))
    assert math.isnan(panel.roof.matrix_tflop_s)
    assert any("no matrix rate" in text for text in roofline.missing(panel))
    case = next(row.case for row in read.rows.values() if row.case.backend == "lightning_authors")
    lent = [profile_of(case, matrix_tflop_s={"bf16": 740.0})]
    (panel,) = roofline.panels(roofline.load([read], lent))
    assert panel.roof.matrix_tflop_s == 740.0
    (counted,) = [point for point in panel.points if not math.isnan(point.executed_tflop_s)]
    assert (counted.backend, counted.seq_len) == (case.backend, case.seq_len)
    assert counted.executed_intensity == pytest.approx(14.0)
    assert counted.executed_tflop_s / counted.tflop_s == pytest.approx(
        7e9 / mechanisms.load("lightning").useful_flops(case)
    )
    other = [profile_of(case, environment={"gpu": "another"}, matrix_tflop_s={"bf16": 1.0})]
    (panel,) = roofline.panels(roofline.load([read], other))
    assert math.isnan(panel.roof.matrix_tflop_s), "another card's rate is no roof of these rows"


def test_runs_lend_the_rate_of_their_card_to_older_ones(tmp_path: Path) -> None:
    folder = kept(tmp_path, copy_bandwidth_gb_s=3000.0)
    writer = results.Writer(folder)
    for name, rate in (("r2", 700.0), ("r3", 720.0), ("r4", 790.0)):
        run = {"environment": results.content_id(H100), "matrix_tflop_s": {"bf16": rate, "fp16": 1.0}}
        writer.document("runs", name, run)
    other = {"gpu": "another"}
    writer.document("environments", results.content_id(other), other)
    writer.document("runs", "r5", {"environment": results.content_id(other), "matrix_tflop_s": {"bf16": 1.0}})
    writer.close()
    (panel,) = roofline.panels(roofline.load([results.read(folder)]))
    assert panel.roof.matrix_tflop_s == 720.0
    assert not any("\u2265" in text or "matrix rate" in text for text in roofline.missing(panel))


@pytest.mark.parametrize("backends", [["lightning_triton"], ["lightning_triton", "lightning_authors"]])
@pytest.mark.parametrize("lengths", [[4096], [1024, 4096]])
@pytest.mark.parametrize(
    ("rate", "named"),
    [(0.0, ["copy"]), (700.0, ["copy"]), (192.0, ["copy", "matrix"]), (5.0, ["matrix"])],
    ids=["unknown", "beyond the panel", "ridge within", "level alone"],
)
def test_every_axis_has_numbers_and_every_roof_its_name(
    tmp_path: Path, backends: list[str], lengths: list[int], rate: float, named: list[str]
) -> None:
    run = {"copy_bandwidth_gb_s": 3000.0, "matrix_tflop_s": {"bf16": rate}}
    rows = roofline.load([results.read(kept(tmp_path, **run))])
    rows = rows[rows["backend"].isin(backends) & rows["seq_len"].isin(lengths)]
    with matplotlib.rc_context(RC):
        figure = figure_of(roofline.panels(rows))
        FigureCanvasAgg(figure).draw()
    (ax,) = figure.axes
    for axis in (ax.xaxis, ax.yaxis):
        low, high = axis.get_view_interval()
        assert sum(low <= place <= high for place in axis.get_majorticklocs()) >= 2
    assert [text.get_text().split()[0] for text in ax.texts] == named
    low, high = ax.get_ylim()
    assert all(low <= text.xy[1] <= high for text in ax.texts)
    panel = ax.get_window_extent()
    assert all(panel.y0 <= text.get_window_extent().y0 for text in ax.texts)
    assert all(text.get_window_extent().y1 <= panel.y1 for text in ax.texts)
    assert not any(
        a.get_window_extent().overlaps(b.get_window_extent()) for a, b in combinations(ax.texts, 2)
    )


def test_the_figure_shows_the_tables_values(tmp_path: Path) -> None:
    read = results.read(kept(tmp_path, copy_bandwidth_gb_s=3000.0, matrix_tflop_s={"bf16": 700.0}))
    panels = roofline.panels(roofline.load([read]))
    (ax,) = figure_of(panels).axes
    drawn = {line.get_gid(): line.get_xydata() for line in ax.lines}
    for point in panels[0].longest:
        assert drawn[f"longest-{point.title}"].tolist() == [[point.intensity, point.tflop_s]]
    roof = dict(drawn["roof"].tolist())
    assert all(rate == pytest.approx(min(3.0 * x, 700.0)) for x, rate in roof.items())
    made = roofline_files(panels)
    assert list(made) == ["roofline-batch-1.png"]
    assert made == roofline_files(panels)


def test_rows_of_models_stand_under_the_roof_by_their_own_work(tmp_path: Path, cli: Any) -> None:
    rows = [row for row in rows_of("models-fast") if row.case.seq_len == 32768]
    folder = write(tmp_path / "rows", rows)
    read = results.read(folder)
    points = [point for panel in roofline.panels(roofline.load([read])) for point in panel.points]
    works = {row.model["useful_flops"] / row.model["floor_bytes"] for row in rows if row.times_ms}
    assert {point.intensity for point in points} == works
    assert all(point.executed_tflop_s >= point.tflop_s for point in points)
    code, out, _ = cli("roofline", folder)
    assert code == 0
    assert "tnl-1b, compile on" in out


def test_the_command_prints_draws_and_says_what_is_missing(tmp_path: Path, cli: Any) -> None:
    folder = kept(tmp_path / "rows", copy_bandwidth_gb_s=3000.0)
    code, out, error = cli("roofline", folder)
    assert code == 0
    assert "Lightning (ours, Triton)" in out
    assert "no matrix rate" in " ".join(out.split())
    assert "\u2265: of the one roof that is known" in " ".join(out.split())
    assert Path(error.strip()).read_bytes().startswith(b"\x89PNG")
    code, out, _ = cli("roofline", folder, "--json", "--backend", "lightning_authors")
    (panel,) = json.loads(out)
    assert panel["roof"] == {"bandwidth_gb_s": 3000.0, "matrix_tflop_s": None}
    assert {point["backend"] for point in panel["points"]} == {"lightning_authors"}
    code, _, error = cli("roofline", folder, "--backend", "lightning_eager")
    assert code == 2
    assert "no row has a time" in error


def test_a_run_measures_the_rate_of_matrix_products(monkeypatch: pytest.MonkeyPatch) -> None:
    from lbench import environment, timing
    from lbench.device import Device

    shortly = lambda call, clock, stopping: SimpleNamespace(time_ms=(call(), 2.0)[1])  # noqa: E731
    monkeypatch.setattr(timing, "sample", shortly)
    environment.matrix_tflop_s.cache_clear()  # tests measure it once
    found = environment.matrix_tflop_s("cpu")
    environment.matrix_tflop_s.cache_clear()
    assert found == {"fp32": pytest.approx(2 * 1024**3 / 2e-3 / 1e12)}
    device = Device(device="cpu", environment={}, copy_bandwidth_gb_s=1.0, matrix_tflop_s=found)
    assert dataclasses.asdict(device)["matrix_tflop_s"] == found
