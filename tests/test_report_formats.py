"""The report as Markdown, LaTeX and PDF: the numbers of the tables, and hostile labels stay text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from plot.synthetic import frame, h100, row
from rows import make_row

from lbench import results
from lbench.errors import UsageError
from lbench.page.files import SUFFIXES, kind_of, make
from lbench.page.text import latex, markdown
from lbench.report.sources import Source
from lbench.report.table_formats import to_latex, to_markdown
from lbench.report.tables import tables
from lbench.results import Results

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
    # Text, then the six figures.
    assert len(re.findall(rb"/Type /Page\b", made)) >= 2


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
