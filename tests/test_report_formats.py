"""The report as Markdown, LaTeX and PDF: the numbers of the tables, and hostile labels stay text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from plot.synthetic import frame, h100, row
from rows import make_row

from lbench import results
from lbench.errors import UsageError
from lbench.page.files import SUFFIXES, kind_of, make
from lbench.page.pdf import PAGE, _on_page, _text
from lbench.page.text import latex, markdown
from lbench.plot.draw import draw
from lbench.plot.style import RC
from lbench.report.conditions import conditions
from lbench.report.sources import Source, gather
from lbench.report.table_formats import to_latex, to_markdown
from lbench.report.tables import tables
from lbench.report.values import axis
from lbench.results import Results, Row

Cli = Callable[..., tuple[int, str, str]]
EVIL = "|x|`y`<img src=x onerror=alert(1)>[a](javascript:b)\\input{/etc/passwd}%$&#_{}~^\x1b[2J\n# h"


def source(rows: pd.DataFrame, label: str = "card @ abc") -> Source:
    return Source(label=label, results=Results(Path("."), {}, {}, {}, []), rows=rows)


def hostile() -> pd.DataFrame:
    return frame(
        [
            row(backend=EVIL, mechanism=EVIL, time_ms=1.5, doubts=EVIL),
            row(backend="b", verdict="failed", reason=EVIL, seq_len=2048),
        ]
    )


def test_markdown_holds_the_tables_as_lbench_table_prints_them() -> None:
    rows = h100("1k..64k:x4")
    text = markdown([source(rows)])
    for table in tables(rows, "ns_per_token"):
        assert to_markdown([table]).strip() in text
    assert "overtakes" in text
    assert "Fastest: " in text


def test_latex_holds_the_tables_and_closes_what_it_opens() -> None:
    rows = h100("1k..64k:x4")
    text = latex([source(rows), source(rows, "two @ b")])
    for table in tables(rows, "ns_per_token"):
        body = to_latex([table]).partition("\\begin{tabular}")[2]
        assert body in text
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")


def test_labels_are_neither_markdown_nor_latex() -> None:
    made = markdown([source(hostile(), EVIL)])
    assert "<img" not in re.sub(r"\\<", "", made)
    assert not re.search(r"(?<!\\)\]\(javascript", made)
    assert "\n# h" not in made
    made = latex([source(hostile(), EVIL)])
    assert "\\input" not in made
    assert "\x1b" not in made + markdown([source(hostile(), EVIL)])


def test_a_pdf_is_drawn_of_anything_and_always_the_same() -> None:
    made = make([source(hostile(), EVIL)], "pdf")
    assert made.startswith(b"%PDF-")
    assert made == make([source(hostile(), EVIL)], "pdf")
    # Text, then the six figures, all on paper of one size.
    assert len(re.findall(rb"/Type /Page\b", made)) >= 2
    sizes = {tuple(map(float, size.split()[2:])) for size in re.findall(rb"/MediaBox \[([^]]*)\]", made)}
    assert {(round(wide), round(tall)) for wide, tall in sizes} == {(595, 842)}


def test_the_name_of_the_file_says_the_format() -> None:
    for name, suffix in SUFFIXES.items():
        assert kind_of(None, Path(f"r.{suffix}")) == kind_of(name, Path("r.txt")) == name
    assert kind_of(None, None) == kind_of(None, Path("page.HTM")) == "html"
    assert kind_of(None, Path("r.markdown")) == "markdown"
    assert kind_of(None, Path("r.latex")) == "latex"
    for unknown in ("r.docx", "noext", ".html", "r."):
        assert kind_of("pdf", Path(unknown)) == "pdf"
        with pytest.raises(UsageError, match=r"choose one with --format"):
            kind_of(None, Path(unknown))
    with pytest.raises(UsageError, match="did you mean markdown"):
        kind_of("markdwn", None)


def test_the_command_writes_each_format(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    writer = results.Writer(tmp_path / "run")
    writer.append(make_row())
    writer.append(make_row("out_of_memory", seq_len=2048))
    writer.close()
    for name, suffix in SUFFIXES.items():
        code, said, _ = cli("report", "run", "--format", name)
        assert (code, said.startswith("2 rows, ")) == (0, True)
        size = (tmp_path / f"report.{suffix}").stat().st_size
        assert size > 500
        number, unit = said.split(", ")[1].split(":")[0].split()
        assert float(number) * {"kB": 1e3, "MB": 1e6}[unit] == pytest.approx(size, rel=0.1)
    code, _, err = cli("report", "run", "--format", "docx")
    assert code == 2
    assert "html, latex, markdown, pdf" in err


def keep(folder: Path, rows: list[Row]) -> Path:
    writer = results.Writer(folder)
    for one in rows:
        writer.append(one)
    writer.close()
    return folder


@pytest.mark.parametrize("kind", SUFFIXES)
def test_rows_without_times_are_reported_with_what_they_have(tmp_path: Path, kind: str) -> None:
    """Rows that were only verified have errors, those that failed reasons."""

    def told(folder: Path) -> str:
        sources = gather([folder])
        if kind != "pdf":
            return make(sources, kind).decode()
        assert make(sources, kind).startswith(b"%PDF")
        return " ".join(text.get_text() for page in _text(sources[0]) for text in page.texts)

    right = dataclasses.replace(make_row(), times_ms=(), enqueue_us=())
    wrong = make_row("wrong", seq_len=2048)
    report = told(keep(tmp_path / "verified", [right, wrong]))
    assert "0.00300" in report
    assert "Fastest: " not in report
    assert "wrong: because" in report
    failed = told(keep(tmp_path / "failed", [make_row("crashed"), make_row("failed", seq_len=64)]))
    assert "crashed: because" in failed
    assert "failed: because" in failed


@pytest.mark.parametrize("kind", ["html", "markdown", "latex"])
def test_a_comparison_says_what_was_not_timed(tmp_path: Path, kind: str) -> None:
    timed = keep(tmp_path / "timed", [make_row()])
    verified = keep(tmp_path / "verified", [dataclasses.replace(make_row(), times_ms=(), enqueue_us=())])
    report = make(gather([timed, verified]), kind).decode()
    assert "ok, not timed" in report
    assert not re.search(r"\bnan\b", report.partition('id="plotly"')[0])


@matplotlib.rc_context(RC)
def test_a_figure_on_a_page_is_the_figure_moved_as_a_whole() -> None:
    rows = h100("1k..64k:x4")
    alone, moved = (draw(conditions(rows)[0], axis("time_ms")) for _ in range(2))
    on_page = _on_page(moved)
    spots = []
    for figure in (alone, on_page):
        FigureCanvasAgg(figure).draw()
        artists = [*figure.texts, *figure.artists, *(text for ax in figure.axes for text in ax.texts)]
        boxes = [
            *(ax.get_window_extent() for ax in figure.axes),
            *(one.get_window_extent() for one in artists),
        ]
        spots.append(np.array([box.extents for box in boxes]) / figure.dpi)
    shift = spots[1] - spots[0]
    assert np.allclose(shift, shift[0], atol=0.03)
    assert spots[1][:, :2].min() > 0.6
    assert spots[1][:, 2].max() < PAGE[0] - 0.6
    assert tuple(on_page.get_size_inches()) == PAGE
