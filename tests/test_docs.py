"""Every command that the documentation shows, run for real, and the site, built without a warning."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from runpy import run_path

import pytest

import lbench
from lbench.limits import Limits
from lbench.protocol import Stopping

Cli = Callable[..., tuple[int, str, str]]
ROOT = Path(lbench.__file__).parent.parent
DOCS = ROOT / "docs"
KEPT = "results/headline-h100-2026-11-22"
PAGES = sorted(path for folder in ("tutorial", "howto") for path in (DOCS / folder).glob("*.md"))
GATE = """[[sweep]]
backend = "lightning_triton"
pass = "fwd"
seq = "1k"
"""
MEASURING = ("run", "verify", "frontier")
WORKING = (*MEASURING, "profile")

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="not a checkout")


def code_blocks(text: str, language: str) -> list[tuple[str, str]]:
    """(code, what stands behind it) of each block."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```\n(.*?)(?=^```|\Z)", text, re.MULTILINE | re.DOTALL)
    return [(code, behind) for known, code, behind in found if known == language]


def commands(block: str) -> Iterator[list[str]]:
    """The lbench commands of a block; a loop is written out, comments are left out."""
    loop = re.compile(r"for i in ([\d ]+); do\s+(.*?);?\s+done", re.DOTALL)
    written_out = loop.sub(
        lambda found: "\n".join(found[2].replace("$i", number) for number in found[1].split()), block
    )
    for line in written_out.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["lbench"]:
            yield words[1:]


def smaller(words: list[str]) -> tuple[str, ...]:
    """Options that leave less to do."""
    if words[0] in ("run", "verify") and "--case" not in words:
        return ("--seq", "1k,4k")
    return ("--metric", "time_ms") if words[0] == "plot" else ()


def at_hand(words: list[str]) -> tuple[str, ...]:
    """Options that leave less to wait for: a worker for each backend is what tests of runs are for."""
    if words[0] not in WORKING:
        return ()
    hasty = words[0] == "run" and not any(word.startswith("replay:") for word in words)
    return ("--in-process", *(("--case-budget", "0.01") if hasty else ()))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the repository's results are at hand, as on the pages."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_commands_of_a_page_do_what_it_says(cli: Cli, elsewhere: Path, page: Path) -> None:
    shown = code_blocks(page.read_text(), "sh")
    assert shown
    for block, behind in shown:
        told = re.match(r"\s*Exit code (\d)", behind)
        *before, last = commands(block)
        for words in (*before, last):
            code, _, err = cli(*words, *at_hand(words))
            assert code == (int(told[1]) if told and words is last else 0), (words, err)


def test_no_page_of_a_reader_s_way_makes_a_folder_that_is_there() -> None:
    way = ("tutorial/first-sweep", "tutorial/first-plot", "tutorial/first-gate", "howto/put-it-in-ci")
    shown = [block for page in way for block, _ in code_blocks((DOCS / f"{page}.md").read_text(), "sh")]
    runs = [words for block in shown for words in commands(block) if "--out" in words]
    folders = [words[words.index("--out") + 1] for words in runs if "--resume" not in words]
    assert len(folders) > 8
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("kind", [Stopping, Limits])
def test_the_reference_tells_every_field_of_a_suite_s_tables(kind: type) -> None:
    pytest.importorskip("sphinx", reason="needs the extra docs")
    told = list(run_path(str(DOCS / "reference_pages.py"))["fields"](kind))
    known = [(field.name, field.default) for field in dataclasses.fields(kind)]
    assert [(name, default) for name, _, default, _ in told] == known
    assert all(meaning for *_, meaning in told)


def test_a_profile_is_explained_in_the_words_it_is_written_in() -> None:
    from lbench.profiling import bounds, kinds, rest

    page = (DOCS / "howto" / "read-a-profile.md").read_text()
    named = re.findall(r"^\| (bound by [^|]*?) \|", page, re.MULTILINE)
    said = inspect.getsource(bounds.sentence)
    assert len(named) == 5
    assert all(one in said for one in named)
    parts = {kind.value for kind in kinds.Kind} | {rest.HOST_GAP, rest.DEVICE_GAP}
    shown = {
        one
        for line in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
        for one in re.findall("`(.*?)`", line)
    }
    assert shown <= parts
    assert {rest.HOST_GAP, rest.DEVICE_GAP} <= shown


def test_the_python_of_the_tutorial_runs(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ((code, _),) = code_blocks((DOCS / "tutorial" / "first-plot.md").read_text(), "python")
    exec(compile(code, "first-plot.md", "exec"), {})
    assert "lightning_triton" in capsys.readouterr().out


def test_the_commands_of_the_readme_are_commands(cli: Cli, elsewhere: Path) -> None:
    """Those that measure are given the replay device and one length. `doctor` is run by the tutorial."""
    text = (ROOT / "README.md").read_text().partition("## Use")[2]
    Path("gate.toml").write_text(GATE)
    Path("path/to").mkdir(parents=True)
    Path("path/to/mine.py").write_text("def my_attention(q, k, v, slopes):\n    return v\n")
    replay = ("--device", f"replay:{KEPT}", "--in-process")
    for block, _ in code_blocks(text, ""):
        for words in (one for one in commands(block) if one != ["doctor"]):
            code, _, err = cli(*words, *(replay if words[0] in MEASURING else ()), *smaller(words))
            # What a gate says of a part of the rows is not the page's matter.
            assert code in ((0, 1, 3) if words[0] == "check" else (0,)), (words, err)
            if Path("my-h100").is_dir() and not Path("another").is_dir():
                shutil.copytree("my-h100", "another")


def test_every_mechanism_is_explained() -> None:
    from lbench import mechanisms

    headings = re.findall(r"^## (.*)", (DOCS / "explanation" / "mechanisms.md").read_text(), re.MULTILINE)
    titles = {heading.partition(" (")[0] for heading in headings}
    assert {mechanisms.load(name).title for name in mechanisms.names()} <= titles


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("furo", reason="needs the extra docs")
    source = tmp_path / "docs"
    shutil.copytree(DOCS, source)
    for name in ("DESIGN.md", "kernels", "results"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(source), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    site = "\n".join(path.read_text() for path in (tmp_path / "site").rglob("*.html"))
    assert "<math" in site
    words = re.sub(r"<[^>]*>", "", site)
    for name in ("lbench run", "lightning_triton", "floor_share", "quick-cpu", "BACKEND"):
        assert name in words
    assert "--resume" in words, "two hyphens are no dash"
    assert "\u2013resume" not in words
    # Nothing is fetched from elsewhere.
    assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="https?://', site)
