"""The tables of the kernels' README are those that kept rows make, and a changed figure or row shows."""

from __future__ import annotations

import functools
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lbench.results import entries

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "studies"))

import kernel_tables  # noqa: E402

NAMES = (*kernel_tables.TABLES, "aims", "packed")
KEYS = (
    "lightning_triton,fwd,b1,t1024,h16,d128,bf16,cuda",
    "lightning_triton,fwdbwd,b1,t65536,h16,d128,bf16,cuda",
    "lightning_fla_chunk,fwdbwd,b8,t16384,h16,d128,bf16,cuda",
    "lightning_triton,fwd,b1,t131072,h16,d128,bf16,cuda,decay=zero",
    "lightning_triton,decode,b64,t4096,h16,d128,bf16,cuda",
)


@pytest.fixture
def text() -> str:
    return kernel_tables.README.read_text()


def test_every_table_is_made_from_the_kept_rows(text: str) -> None:
    assert kernel_tables.filled(text) == text, "make them again: python studies/kernel_tables.py"
    assert sorted(name for _, name, _ in kernel_tables.BLOCK.findall(text)) == sorted(NAMES)


def test_no_table_below_is_typed_by_hand(text: str) -> None:
    measured = text.partition("## How fast\n")[2]
    assert "|" not in kernel_tables.BLOCK.sub("", measured)


def test_a_changed_figure_shows(text: str) -> None:
    by_hand = kernel_tables.BLOCK.sub(lambda found: re.sub(r"\d(\D*)$", r"x\1", found[0]), text)
    assert sum(one != other for one, other in zip(text, by_hand, strict=True)) == len(NAMES)
    assert kernel_tables.filled(by_hand) == text


@pytest.mark.parametrize("key", KEYS)
def test_a_changed_row_shows(key: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in kernel_tables.RESULTS.iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    changed = tmp_path / kernel_tables.H100
    changed.unlink()
    shutil.copytree(kernel_tables.RESULTS / kernel_tables.H100, changed)
    rows = {row.case.key: row for _, row in entries(changed, [])}
    rows[key] = replace(rows[key], times_ms=tuple(1.1 * time for time in rows[key].times_ms))
    (changed / "rows.jsonl").write_text("".join(row.to_line() + "\n" for row in rows.values()))
    monkeypatch.setattr(kernel_tables, "RESULTS", tmp_path)
    monkeypatch.setattr(kernel_tables, "_load", functools.cache(kernel_tables._load.__wrapped__))
    assert kernel_tables.filled(text) != text


def test_a_cell_is_of_one_row() -> None:
    with pytest.raises(ValueError, match="a cell is of one"):
        kernel_tables.cell({**kernel_tables.USUAL, "figure": "ms", "batch": None})
