"""Tables of a profile in a narrow terminal: figures whole, names cut no further than they differ."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lbench.profiling.forms import WIDEST_NAME, PlainTable

NAMES = st.lists(st.text("abk_", min_size=1, max_size=WIDEST_NAME), min_size=1, max_size=6, unique=True)


def printed(table: PlainTable, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@given(names=NAMES, width=st.integers(WIDEST_NAME + 12, 120))
def test_names_that_differ_are_shown_different_and_figures_whole(names: list[str], width: int) -> None:
    table = PlainTable(["kernel", "ms"])
    for number, name in enumerate(names):
        table.add_row(name, f"{number}.125")
    lines = [line.split() for line in printed(table, width) if ".125" in line]
    assert [figure for _, figure in lines] == [f"{number}.125" for number in range(len(names))]
    assert len({name for name, _ in lines}) == len(names)


def test_names_alike_are_cut_and_columns_left_out_are_named() -> None:
    table = PlainTable(["kernel", "first figure", "second figure"])
    for end in "ab":
        table.add_row("void at::native::vectorized_elementwise_kernel<4, float>" + end, "1.5", "2.5")
    lines = printed(table, 64)
    assert max(map(len, lines)) <= 64
    assert lines[-1].strip() == "a wider terminal shows second figure"
