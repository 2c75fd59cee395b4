"""The plain kernels fit cards with less shared memory: compiled for one here, without a GPU."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

STUDIES = Path(__file__).parents[2] / "studies"
PROBE = """
import sys
sys.path.insert(0, sys.argv[1])
import cards
print(cards.shared_kib("A10", "bf16", 128, backward=False))
"""


def test_forward_and_decoding_fit_a_card_with_99_kib() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(STUDIES)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    taken = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    assert {"walk_kernel", "own_states_kernel", "step_kernel"} <= set(taken)
    assert 0 < max(taken.values()) <= 99
