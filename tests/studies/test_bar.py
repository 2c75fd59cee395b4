"""The table of what the lightning kernels are held to: what it asks for, and what kept rows say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lbench import suite

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "studies"))

import bar  # noqa: E402

KEPT = "lightning-bar-h100-2026-11-23"


@pytest.mark.parametrize("aim", bar.AIMS, ids=lambda aim: aim[0])
def test_the_suite_measures_every_case_of_an_aim(aim) -> None:
    _, wanted, decays, shapes, figure, *_ = aim
    backends = ["lightning_triton"] + [f"lightning_{figure}"] * (figure in bar.LARGER[1:])
    there = {
        (case.backend, case.pass_name, case.decay, case.batch, case.seq_len)
        for case in suite.load("lightning").cases("cuda")
        if (case.heads, case.head_dim, case.head_dim_v, case.dtype) == (16, 128, 128, "bf16")
    }
    asked = {(name, wanted, decay, *shape) for name in backends for decay in decays for shape in shapes}
    assert asked <= there


def told(*folders: str) -> dict[str, str]:
    """The lines of the table by what they are of."""
    done = subprocess.run(
        [sys.executable, ROOT / "studies" / "bar.py", *(ROOT / "results" / name for name in folders)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr  # host time falls short
    return {line.split("|")[1].strip(): line for line in done.stdout.splitlines()[2:]}


def test_kept_rows_are_set_beside_the_aims() -> None:
    lines = told(KEPT)
    assert len(lines) == len(bar.AIMS)
    assert "54.4 (1 x 131,072) | goal reached" in lines["times the authors' speed, forward + backward"]
    assert "747 (1 x 1,024) | short by 274 %" in lines["host time of 1 x 1,024, us: forward + backward"]
    assert "0.634 (1 x 131,072, deep) | reached" in lines["no decay, a last layer's: forward"]
    assert not any("no row of" in line for line in lines.values())


def test_a_shape_without_a_row_is_told() -> None:
    lines = told("gate-h100-2026-11-23")
    assert "not measured" in lines["no decay, a last layer's: forward"]
    assert "no row of 64 x 2,048" in lines["forward, share of the floor"]
