"""A worker's process and its channel: whatever ends it, the runner hears how."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lbench.isolation import WARNING, Died, ProcessWorker

ANSWER = '{"verdict": "ok", "times_ms": [1.0, 2.0]}\n'
CHILD = """#!{python}
import os, signal, sys
requests, answers = map(int, sys.argv[3:5])
os.read(requests, 4096)
os.write(answers, {answer!r}.encode())
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("length", [1, 20, len(ANSWER) - 1])
def test_a_worker_killed_within_its_answer_has_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    child = tmp_path / "child"
    child.write_text(CHILD.format(python=sys.executable, answer=ANSWER[:length]))
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    worker = ProcessWorker(preload=False)
    with pytest.raises(Died, match="SIGKILL"):
        worker.ask({"do": "prepare"}, timeout_s=10)


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
