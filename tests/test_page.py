"""The HTML report: what it draws is what the rows say, and a hostile result file stays text."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import math
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest
from page_parts import Page
from plot.synthetic import frame, h100, row
from rows import make_row

from lbench import results
from lbench.page import render
from lbench.page.charts import unpacked
from lbench.page.marks import SYMBOLS, outline
from lbench.plot.style import COLOURS, MARKERS, ON_DARK, OTHER_COLOURS, OUR_MARKERS
from lbench.report.sources import Source
from lbench.report.values import axis, values
from lbench.report.wording import title
from lbench.results import Results

Cli = Callable[..., tuple[int, str, str]]
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}<!--"


def source(rows: pd.DataFrame, label: str = "card @ abc") -> Source:
    return Source(label=label, results=Results(Path("."), {}, {}, {}, []), rows=rows)


@pytest.fixture(scope="module")
def swept() -> tuple[pd.DataFrame, str]:
    rows = h100("1k..64k:x4")
    return rows, render.html([source(rows)])


def same(one: object, other: object) -> bool:
    missing = [value is None or (isinstance(value, float) and math.isnan(value)) for value in (one, other)]
    return all(missing) if any(missing) else one == other


def test_every_value_drawn_is_the_rows(swept: tuple[pd.DataFrame, str]) -> None:
    rows, html = swept
    data = Page(html).data
    assert {chart["metric"] for chart in data["charts"]} >= {
        "time_ms",
        "ns_per_token",
        "peak_mib",
        "tokens_per_s",
        "error_rms",
    }
    for chart in data["charts"]:
        expected = values(rows, axis(chart["metric"]))
        for name in ("y", "low", "high"):
            drawn = [math.nan if value is None else value for value in chart[name]]
            assert drawn == pytest.approx(list(expected[name]), rel=1e-6, nan_ok=True)
        for y, verdict in zip(chart["y"], rows["verdict"], strict=True):
            assert (y is not None) <= (verdict in ("ok", "wrong"))


def test_rows_are_kept_in_full(swept: tuple[pd.DataFrame, str]) -> None:
    rows, html = swept
    columns = Page(html).data["columns"]
    assert set(columns) == {"source", *rows.columns}
    for name in rows.columns:
        assert all(map(same, unpacked(columns[name]), rows[name])), name


def test_the_table_without_a_script_says_what_the_rows_say(swept: tuple[pd.DataFrame, str]) -> None:
    rows, html = swept
    page = Page(html)
    lines = [line for line in page.lines if line]
    assert len(lines) == len(rows)
    for line, (_, one) in zip(lines, rows.iterrows(), strict=True):
        cells = dict(zip(page.heads, line, strict=True))
        assert cells["backend"] == title(one["backend"])
        assert cells["verdict"] == one["verdict"].replace("_", " ")
        if one["verdict"] == "ok":
            shown = float(cells["time, ms"].partition(" ")[0].replace("k", "e3"))
            assert shown == pytest.approx(one["time_ms"], rel=0.006)
        else:
            assert cells["time, ms"] == ""
            assert one["reason"] in cells["doubts, reason"]
    assert not page.unbalanced
    assert "noscript" not in {tag for tag, _ in page.elements}


def test_a_row_belongs_to_the_sweeps_that_hold_it(swept: tuple[pd.DataFrame, str]) -> None:
    rows, html = swept
    for condition in Page(html).data["conditions"]:
        held = rows.iloc[condition["rows"]]
        batch = condition["title"].startswith("batch")
        assert len(set(held["batch"] if batch else held["batch"] * held["seq_len"])) == 1


def test_every_failure_is_listed_with_its_command(swept: tuple[pd.DataFrame, str]) -> None:
    rows, html = swept
    text = Page(html).text
    failed = rows[rows["verdict"].isin(["wrong", "out_of_memory", "timeout"])]
    assert len(failed)
    for reproduce in failed["reproduce"]:
        assert reproduce in text


def test_nothing_is_fetched_and_only_our_scripts_may_run(swept: tuple[pd.DataFrame, str]) -> None:
    page = Page(swept[1])
    for tag, given in page.elements:
        assert not {"src", "srcset", "onclick", "onload"} & set(given), tag
        assert given.get("href", "#").startswith("#")
        assert tag not in ("link", "iframe", "object", "embed")
    (policy,) = [given["content"] for _, given in page.elements if given.get("http-equiv")]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    (script,) = [content for given, content in page.scripts if given == {"type": "module"}]
    (packed,) = [content for given, content in page.scripts if given.get("id") == "plotly"]
    for text in (script.encode(), gzip.decompress(base64.b64decode(packed))):
        assert base64.b64encode(hashlib.sha256(text).digest()).decode() in policy
    assert "url(" not in swept[1].partition("</style>")[0]


def test_a_hostile_result_file_stays_text() -> None:
    hostile = frame(
        [
            row(backend=EVIL, mechanism=EVIL, time_ms=1.5, doubts=EVIL),
            row(backend="b", verdict="failed", reason=EVIL, seq_len=2048, key=EVIL),
        ]
    )
    harmless = frame(
        [
            row(backend="a", mechanism="m", time_ms=1.5, doubts="d"),
            row(backend="b", verdict="failed", reason="r", seq_len=2048, key="k"),
        ]
    )
    evil = Page(render.html([source(hostile, EVIL)]))
    good = Page(render.html([source(harmless, "label")]))
    assert [tag for tag, _ in evil.elements] == [tag for tag, _ in good.elements]
    assert [set(given) for _, given in evil.elements] == [set(given) for _, given in good.elements]
    assert EVIL in evil.text
    assert "{{7*7}}" in evil.text
    assert list(unpacked(evil.data["columns"]["reason"])) == ["", EVIL]


def test_plotly_is_the_published_file() -> None:
    library = files("lbench.page").joinpath("parts", "plotly-basic.min.js").read_bytes()
    # npm pack plotly.js-basic-dist-min@4.1.1
    digest = "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"
    assert hashlib.sha256(library).hexdigest() == digest


def test_two_thousand_rows_stay_under_6_mb() -> None:
    rows = pd.concat([h100("1k..256k", ("fwd", "bwd", "fwdbwd"))] * 2, ignore_index=True).iloc[:2000]
    rows["key"] += [f",s{number}" for number in range(len(rows))]
    rows["reproduce"] = "lbench run --case " + rows["key"]
    assert len(rows) == 2000
    # Every figure of its own, so that no column repeats itself.
    numbers = rows.select_dtypes("float").columns
    factors = pd.Series(range(1, 2001), index=rows.index) / 1999.7
    rows = rows.assign(**{name: rows[name] * factors for name in numbers})
    assert len(render.html([source(rows)]).encode()) < 6_000_000


def test_the_same_rows_give_the_same_bytes(swept: tuple[pd.DataFrame, str]) -> None:
    assert render.html([source(swept[0])]) == swept[1]


def test_several_folders_are_compared() -> None:
    first = frame([row(time_ms=2.0, rounds_ms=None), row(seq_len=2048, time_ms=4.0)])
    second = first.assign(
        gpu="another card", time_ms=[1.0, 2.0], time_ms_low=[0.99, 1.98], time_ms_high=[1.01, 2.02]
    )
    page = Page(render.html([source(first, "one @ a"), source(second, "two @ b")]))
    assert page.heads[0] == "source"
    assert [line[0] for line in page.lines if line] == ["one @ a"] * 2 + ["two @ b"] * 2
    assert "0.500" in page.text
    assert [len(condition["rows"]) for condition in page.data["conditions"]] == [4]
    assert Page(render.html([source(first)])).heads[0] == "mechanism"


def test_looks_are_those_of_the_figures(swept: tuple[pd.DataFrame, str]) -> None:
    for look in Page(swept[1]).data["looks"]:
        assert look["colour"] == COLOURS[look["mechanism"]]
        assert look["symbol"] == SYMBOLS[look["marker"]]
    assert set(SYMBOLS) == {*MARKERS, *OUR_MARKERS}
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)
    assert len({outline(marker) for marker in SYMBOLS}) >= len(SYMBOLS) - 1


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_in_both_modes(swept: tuple[pd.DataFrame, str]) -> None:
    style = re.search(r"<style>(.*?)</style>", swept[1], re.DOTALL)
    assert style
    modes = re.findall(r":root \{([^}]*--ink[^}]*)\}", style[1])
    assert len(modes) == 2
    for mode in modes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", mode))
        for ground in ("ground", "panel"):
            for text in ("ink", "faint", "bad", "doubt", "link"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    dark = dict(re.findall(r"--(\w+): (#\w{6})", modes[1]))["ground"]
    for colour in (*COLOURS.values(), *OTHER_COLOURS):
        assert contrast(ON_DARK.get(colour, colour), dark) >= 3, colour


def test_the_command_writes_the_file_and_says_its_size(cli: Cli, tmp_path: Path) -> None:
    writer = results.Writer(tmp_path / "run")
    run = {"environment": "e1", "lbench_commit": "abc", "suite": {"name": "s", "stopping": {"budget_s": 0.3}}}
    writer.document("runs", "r1", run)
    writer.document("environments", "e1", {"torch": "2.13.0", "cpu": "a CPU", "cores": 2})
    writer.append(make_row())
    writer.append(dataclasses.replace(make_row(seq_len=2048), doubts=("outliers: 3 of 10",)))
    writer.close()
    out = tmp_path / "page.html"
    code, said, _ = cli("report", tmp_path / "run", "-o", out)
    assert code == 0
    assert re.fullmatch(rf"2 rows, \d+\.\d [kM]B: {re.escape(str(out))}\n", said)
    text = Page(out.read_text()).text
    for known in ("a CPU", "2.13.0", "budget s", "0.3", "outliers: 3 of 10", "end other programs", "@ abc"):
        assert known in text, known
    assert cli("report", tmp_path / "run", "-o", tmp_path)[0] == 2
    assert cli("report", tmp_path)[0] == 2
