"""The timing study runs in small on a CPU, and its summary counts what its rows say."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_study_writes_rows_figures_and_a_summary(tmp_path: Path) -> None:
    command = [sys.executable, "studies/timing.py", "--device", "cpu", "--small", "--out", str(tmp_path)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    agreed, compared = rows(tmp_path / "agreement.csv"), rows(tmp_path / "comparisons.csv")
    assert len(agreed) == summary["agreement"]["calls"] == 3
    equal = [row for row in compared if row["kind"] == "A/A"]
    assert len(equal) == summary["A/A"]["of"] == 4
    assert sum(row["differs"] == "True" for row in equal) == summary["A/A"]["found"]
    assert {float(row["slowdown"]) for row in compared} == {0.0, 0.02, 0.03, 0.05}
    for row in compared:
        one, other = (
            [float(time) for time in row[name].split()] for name in ("rounds_ms", "other_rounds_ms")
        )
        assert len(one) == len(other) == 5
        assert float(row["low"]) <= float(row["ratio"]) <= float(row["high"])
    assert {path.name for path in tmp_path.glob("*.png")} == {"agreement.png", "comparisons.png"}
    assert all(float(row["time_ms"]) > 0 < float(row["reference_ms"]) for row in agreed)
