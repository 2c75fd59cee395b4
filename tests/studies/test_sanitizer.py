"""What the sanitizer would watch runs, and without it nothing is called clean."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

STUDIES = Path(__file__).parents[2] / "studies"
PROBE = """
import sys
sys.path.insert(0, sys.argv[1])
import sanitizer
made = list(sanitizer.calls("cpu"))
for call in (*made[:2], *made[-2:]):
    call()
print(len(made))
"""


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(STUDIES))
    import sanitizer

    return sanitizer


def test_its_calls_reach_the_kernels() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}  # read when kernels are imported
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(STUDIES)], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "35\n"), done.stderr[-2000:]


def test_without_a_gpu_or_the_tool_the_answer_is_neither_yes_nor_no(
    study: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sanitizer.py"])
    for program, gpu in ((None, True), ("compute-sanitizer", False)):
        monkeypatch.setattr(study, "sanitizer", lambda program=program: program)
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert study.main() == 2
        assert "pip install nvidia-cuda-sanitizer-api" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1])
def test_the_tools_exit_code_is_the_answer(
    study: Any, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compute-sanitizer").write_text(
        f"#!/bin/sh\necho $PYTORCH_NO_CUDA_MEMORY_CACHING $@ > {tmp_path}/asked\nexit {code}\n"
    )
    (tmp_path / "compute-sanitizer").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("sys.argv", ["sanitizer.py", "--tool", "racecheck"])
    assert study.main() == code
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("1 --tool racecheck --error-exitcode 1 ")
    assert asked.endswith("sanitizer.py --calls\n")
