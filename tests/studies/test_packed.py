"""Packed documents beside sequences: what is packed, and that no time is told without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STUDIES = Path(__file__).parents[2] / "studies"
sys.path.insert(0, str(STUDIES))

import packed  # noqa: E402


@pytest.mark.parametrize(("mean", "kind"), packed.PACKS)
def test_documents_fill_the_pack(mean: int, kind: str) -> None:
    lengths = packed.lengths_of(mean, kind)
    assert sum(lengths) == packed.TOKENS
    assert min(lengths) > 0
    assert min(lengths[:-1], default=mean) >= packed.shortest(mean, kind)
    assert max(lengths) <= 7 * mean // 4
    if kind == "equal":
        assert set(lengths) == {mean}
    else:
        assert len(set(lengths)) > len(lengths) // 2
        assert sum(lengths) / len(lengths) == pytest.approx(mean, rel=0.3)


def test_no_time_is_told_without_a_gpu() -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, STUDIES / "packed.py"], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "no GPU" in done.stderr
