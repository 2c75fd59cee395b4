"""Fixtures for tests of gates."""

from __future__ import annotations

from pathlib import Path

import pytest
from processes import jitter, keep


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    for number in range(6):
        started = f"2026-01-0{1 + number // 2}T0{number}:00:00Z"
        keep(tmp_path / "baseline" / str(number), f"b{number}", jitter(number), started_at=started)
    return tmp_path / "baseline"
