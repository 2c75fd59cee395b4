"""What a GPU saw of a planted slowdown, replayed from what `studies/planted.py` keeps in `results`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import lbench

RESULTS = Path(lbench.__file__).parent.parent / "results"
KEPT = sorted(RESULTS.glob("planted-*"))

Cli = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
@pytest.mark.parametrize(("side", "code"), [("slower", 1), ("clean", 0)])
def test_the_slower_processes_fail_and_the_clean_ones_pass(
    cli: Cli, folder: Path, side: str, code: int
) -> None:
    store = folder / "baselines"
    found, out, err = cli(
        "check", "regression", folder / side, "--baseline", "planted", "--store", store, "--json"
    )
    assert found == code, err
    states = {one["state"] for one in json.loads(out)["findings"]}
    assert ("slower" in states) == bool(code)
    planted = json.loads((folder / "planted.json").read_text())
    ratios = [one["figures"]["ratio"] for one in json.loads(out)["findings"]]
    expected = 1 + planted["share"] * code
    assert all(abs(ratio - expected) < 0.02 for ratio in ratios)
