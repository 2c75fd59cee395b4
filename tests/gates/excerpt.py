"""Makes the excerpt of the recorded H100 rows that the tests of gates judge: `python tests/gates/excerpt.py`.

`excerpt.sha256` beside it holds the digest of every file, `gate.sha256` those of a run of our gate's suite.
A verdict stands on rows that nobody altered.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from lbench import folders
from lbench.results import Row

HERE = Path(__file__).parent
EXCERPT = HERE / "h100"
DIGESTS = HERE / "excerpt.sha256"
RESULTS = HERE.parent.parent / "results"
SOURCE = RESULTS / "headline-h100-2026-11-22"
GATE = RESULTS / "gate-h100-2026-11-23"
GATE_DIGESTS = HERE / "gate.sha256"
BACKENDS = ("lightning_triton", "lightning_authors", "flash_attn2", "flash_attn3", "softmax_eager")
LENGTHS = (1024, 4096, 16384, 65536, 131072, 262144)


def wanted(row: Row) -> bool:
    all_lengths = row.case.backend == "softmax_eager"  # it ends in between
    return row.case.backend in BACKENDS and (all_lengths or row.case.seq_len in LENGTHS)


def digests(folder: Path) -> str:
    """Lines of sha256sum, sorted by path."""
    files = sorted(path for path in folder.rglob("*.json*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files
    ]
    return "".join(lines)


if __name__ == "__main__":
    if EXCERPT.exists():
        shutil.rmtree(EXCERPT)
    folders.cut(SOURCE, EXCERPT, wanted)
    DIGESTS.write_text(digests(EXCERPT))
    GATE_DIGESTS.write_text(digests(GATE))
