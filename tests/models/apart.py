"""A kernel in a process of its own: Triton reads once, when it is defined, whether to interpret it."""

from __future__ import annotations

import os
import subprocess
import sys

import torch


def run_apart(script: str) -> subprocess.CompletedProcess[str]:
    """The script, on the GPU or in Triton's interpreter."""
    environment = dict(os.environ)
    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
