"""The figures of the study of the gate name the limits that they draw."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.figure
import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parents[2]


def test_limits_are_in_the_legend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    import gate_figures

    drawn: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(plt, "close", drawn.append)
    gate_figures.draw(json.loads((ROOT / "results/gate-curves/curves.json").read_text()), tmp_path)
    monkeypatch.undo()
    assert len(drawn) == 2
    for figure in drawn:
        named = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
        straight = [one for ax in figure.axes for one in ax.lines if list(one.get_ydata()) == [0, 1]]
        assert straight
        assert {one.get_label() for one in straight} <= named
        plt.close(figure)
