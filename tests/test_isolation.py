"""What is told of a worker that ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lbench.isolation import WARNING


@pytest.mark.parametrize("said", ["", "Traceback\n  File\nValueError: 3\n"])
def test_a_warning_is_no_cause(tmp_path: Path, said: str) -> None:
    script = tmp_path / "warns.py"
    script.write_text(
        "import sys, warnings\n"
        f"sys.stderr.write({said!r})\n"
        "warnings.warn('old', DeprecationWarning)\n"
        "exec(\"warnings.warn('of no file')\")\n"
    )
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert ended.stderr.count("Warning: ") == 2
    assert WARNING.sub("", ended.stderr) == said
