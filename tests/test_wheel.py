"""A wheel carries the kernels and the suites, and runs outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import lbench

ROOT = Path(lbench.__file__).parent.parent
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "lbench", "kernels", "suites")

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not a checkout")


def test_a_wheel_runs_outside_the_checkout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert {path.name for path in (site / "lbench" / "suites").iterdir()} >= {
        path.name for path in (ROOT / "suites").glob("*.toml")
    }
    assert {path.parent.name for path in site.glob("*/__init__.py")} == {"lbench", "lightning_attention"}
    code = (
        "import lbench.suite, lightning_attention; print(lbench.__file__, lightning_attention.__file__)\n"
        "print(lbench.suite.load('headline').title)\n"
        "from lbench.cli.main import main; main(['list'])"
    )
    # -P and a clean path: nothing of the checkout may stand in for the wheel.
    result = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(str(site)) == 2
    assert "every backend" in result.stdout
    assert "lightning_triton" in result.stdout
