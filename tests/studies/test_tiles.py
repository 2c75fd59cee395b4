"""The search for tiles: what a tile is compiled to is said without a GPU."""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

TILES = Path(__file__).parents[2] / "studies" / "tiles.py"


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run([sys.executable, TILES, *flags], env=environment, capture_output=True, text=True)


def test_says_what_a_tile_takes_and_goes_on_after_one_that_is_none() -> None:
    done = run("--compile-only", "--dim", "64", "--tiles", "63,64,4,1", "64,64,4,2", "64,128,4,1")
    assert done.returncode == 0, done.stderr[-2000:]
    none, first, second = done.stdout.splitlines()
    assert none == "63 tokens x 64 columns, 4 warps, 1 stages: not compiled"
    shared, registers, stack, fit = map(
        int, re.findall(r": (\d+) of 227 KiB, (\d+) registers, (\d+) bytes of stack, (\d+) an SM", first)[0]
    )
    assert 0 < shared < 227
    assert 16 <= registers <= 255
    assert stack >= 0
    assert 1 <= fit <= 4
    assert second.startswith("64 tokens x 128 columns")


def test_a_process_that_a_tile_breaks_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TILES.parent))
    from tiles import Apart

    with Apart() as apart:
        assert "fails" in apart.run(os._exit, 1)
        assert apart.run(int, "none").startswith("fails: invalid literal")
        assert apart.run(int, "7") == 7


def test_a_process_that_a_tile_hangs_in_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TILES.parent))
    import tiles

    with tiles.Apart() as apart:
        assert apart.run(int, "7") == 7
        monkeypatch.setattr(tiles, "PATIENCE_S", 0.2)
        assert apart.run(time.sleep, 600) == "fails: no answer in 0.2 s"
        monkeypatch.undo()
        assert apart.run(int, "7") == 7


@pytest.mark.parametrize("wrong", range(3))
@pytest.mark.parametrize("value", [math.nan, math.inf, 1.1])
def test_a_tile_with_one_wrong_gradient_has_no_time(
    monkeypatch: pytest.MonkeyPatch, wrong: int, value: float
) -> None:
    monkeypatch.syspath_prepend(str(TILES.parent))
    import tiles
    import torch

    right = tuple(torch.ones(4) for _ in range(3))
    found = [value * one if number == wrong else one for number, one in enumerate(right)]
    answers = iter([right, found])
    monkeypatch.setattr(tiles, "backward", lambda _: next(answers))
    monkeypatch.setattr(tiles, "make_inputs", lambda *_: ())
    monkeypatch.setattr(tiles, "use", lambda *_: None)
    monkeypatch.setattr(tiles, "_time", lambda _: 1.0)
    arguments = argparse.Namespace(dtype="bf16", products="ieee")
    with pytest.raises(RuntimeError, match="off those of the table's tile"):
        tiles.time_tile((64, 64, 4, 1), 1, arguments, gradients=True)


def test_a_search_needs_a_gpu() -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, TILES], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--compile-only" in done.stderr
