"""What the README says is what the kept rows say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from page_parts import Page

import lbench
from lbench.page.charts import unpacked

ROOT = Path(lbench.__file__).parent.parent
README = ROOT / "README.md"

pytestmark = pytest.mark.skipif(not README.is_file(), reason="not a checkout")


def test_the_tables_are_made_from_the_kept_rows(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = README.read_text()
    commands = re.findall(r"^lbench (table results/.*--format markdown.*)$", text, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        code, stdout, stderr = cli(*shlex.split(command))
        assert code == 0, stderr
        assert stdout.strip() in text


def test_the_page_holds_the_kept_rows() -> None:
    (name,) = re.findall(r"\]\((results/[^)]*report\.html)\)", README.read_text())
    columns = Page((ROOT / name).read_text()).data["columns"]
    rows = lbench.load((ROOT / name).parent)
    for column in ("key", "verdict", "started_at"):
        assert list(unpacked(columns[column])) == rows[column].tolist(), "make the page again: lbench report"


def test_why_backends_differ_is_what_their_kept_profiles_say(cli) -> None:
    text = README.read_text()
    folder = ROOT / "results" / "profiles-h100-2026-11-23"
    said = {}
    for backend in ("lightning_triton", "lightning_fla_chunk", "lightning_authors"):
        code, said[backend], err = cli("profile", "--reparse", folder / backend)
        assert (code, err) == (0, "")
        call, moved = (
            re.search(pattern, said[backend])
            for pattern in (r"([\d.]+) ms a call", r"must move, ([\d.]+) GB did")
        )
        assert call is not None
        assert f"{call[1]} ms" in text
        assert moved is not None
        assert f"{moved[1]} GB" in text
    told = "16 blocks leave 116 of 132 multiprocessors without work"
    assert told in re.sub(r"\s+", " ", said["lightning_authors"])
    assert "runs 16 blocks, one a head, and leaves 116 of 132 multiprocessors without work" in text


def test_every_figure_and_link_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_every_backend_is_listed() -> None:
    from lbench import backends

    text = README.read_text()
    assert [name for name in backends.names() if f"`{name}`" not in text] == []
