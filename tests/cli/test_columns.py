"""Plain columns: within the width, nothing cut, a line each where no width is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbench.cli.columns import fitted
from lbench.terminal import ENDLESS

Cli = Callable[..., tuple[int, str, str]]
EXCERPT = Path(__file__).parents[1] / "gates" / "h100"
words = st.text("abc,=", min_size=1, max_size=50)
notes = st.lists(st.text("xyz", min_size=1, max_size=12), max_size=20).map(" ".join)
tables = st.lists(st.tuples(words, *[st.text("1", max_size=8)] * 3, notes), min_size=1, max_size=5)


@given(tables, st.integers(45, 120))
@settings(deadline=None)
def test_nothing_is_cut_and_only_a_first_cell_is_wider(lines: list[tuple[str, ...]], width: int) -> None:
    made = list(fitted(lines, 1, width))
    assert all(len(line) <= width or line in {first for first, *_ in lines} for line in made)
    assert " ".join(made).split() == [word for line in lines for cell in line for word in cell.split()]
    whole = list(fitted(lines, 1, ENDLESS))
    assert len(whole) == len(lines)
    assert len(made) > len(lines) or made == whole


DRY = ("run", "--dry-run", "--device", "cpu", "--seq", "1k,32k")


@pytest.mark.parametrize(
    "arguments",
    [
        (*DRY, "--pass", "fwd", "--backend", "softmax_eager,flash_attn2,lightning_fla_recurrent"),
        (*DRY, "--model", "tnl-tiny,tnl-1b"),
        (*DRY, "--model", "minimax-tiny", "--checkpoint", "selective", "--chunk", "16k", "--compile", "on"),
        ("compare", EXCERPT, EXCERPT),
    ],
)
def test_lists_of_cases_keep_to_a_terminal(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    code, wide, _ = cli(*arguments)
    assert code == 0
    assert max(map(len, wide.splitlines())) > 80, "a line each for other programs"
    monkeypatch.setenv("COLUMNS", "80")
    code, narrow, _ = cli(*arguments)
    assert code == 0
    assert max(map(len, narrow.splitlines())) <= 80
