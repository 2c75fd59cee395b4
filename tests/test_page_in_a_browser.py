"""The HTML report in headless Chromium: charts drawn, filters, sorting, download, dark mode, a phone."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from page_parts import Page
from plot.synthetic import h100, row

from lbench.page import render
from lbench.page.charts import unpacked
from lbench.report.sources import Source
from lbench.results import Results

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
EVIL = "<img src=x onerror=alert(1)><a href='javascript:alert(2)'>x</a>&amp;"
EVIL_MODEL = f"{EVIL}-1b"
MODEL = {
    "pass": "train",
    "body": "native",
    "checkpoint": "none",
    "chunk": 0,
    "prefill_chunk": 0,
    "compile": "off",
}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium"),
]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    hostile = row(backend=EVIL, mechanism="odd", time_ms=1.5, seq_len=4096, tokens=4096)
    others = [
        row(time_ms=3.0, seq_len=length, tokens=length, dtype=dtype, model=model, params=1e9, **MODEL)
        for length, dtype, model in (
            *((1024, "fp16", EVIL_MODEL), (2048, "fp16", EVIL_MODEL)),
            *((1024, "fp16", "tnl-1b"), (1024, "fp32", "tnl-1b")),
        )
    ]
    return pd.concat([h100("1k..64k:x4"), pd.DataFrame([hostile, *others])], ignore_index=True)


def written(path: Path, *parts: pd.DataFrame) -> Path:
    """The page of one source a part."""
    sources = [
        Source(label=f"card {number} @ abc", results=Results(Path("."), {}, {}, {}, []), rows=rows)
        for number, rows in enumerate(parts)
    ]
    path.write_text(render.html(sources))
    return path


@pytest.fixture(scope="module")
def file(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("page") / "report.html", rows)


@pytest.fixture(scope="module")
def small(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every element of the page, few rows: two sources, models."""
    few = rows[rows["seq_len"].isin([1024, 4096])].groupby("mechanism").head(12)
    few = pd.concat([few, rows[rows["model"].notna()]]).drop_duplicates("key").reset_index(drop=True)
    return written(tmp_path_factory.mktemp("small") / "report.html", few, few.assign(gpu="another card"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Any]:
    """Opens the page and waits for its charts; no console error, dialog or request is let pass."""
    contexts, wrong = [], []

    def open_page(file: Path = file, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        here = file.as_uri()
        page.on("request", lambda asked: wrong.append(asked.url) if asked.url != here else None)
        page.goto(here)
        if options.get("java_script_enabled", True):
            settle(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [one for one in wrong if not one.startswith(("blob:", "data:"))] == []


def settle(page: Any) -> None:
    """Waits until the page answers and all charts show the present choice."""
    page.wait_for_selector("html[data-ready=yes]", timeout=60_000)
    drawn = "() => [...document.querySelectorAll('.chart')].every(one => one.dataset.drawn)"
    page.wait_for_function(drawn, timeout=60_000)


def every_row(page: Any) -> None:
    page.select_option("#condition", "")
    page.select_option("#pass", "")
    if page.locator("#all").is_visible():
        page.locator("#all").click()


def traces(page: Any, metric: str) -> list[dict[str, Any]]:
    script = (
        "metric => JSON.stringify(document.getElementById('chart-' + metric).data.map(one => "
        "({rows: one.customdata, x: one.x, y: one.y, up: one.error_y?.array, axis: one.yaxis, "
        "text: one.text})))"
    )
    return list(json.loads(page.evaluate(script, metric)))


def test_what_is_drawn_is_what_the_rows_say(opened: Any, file: Path, rows: pd.DataFrame) -> None:
    page = opened()
    for chart in Page(file.read_text()).data["charts"]:
        metric, drawn = chart["metric"], 0
        for trace in traces(page, metric):
            of_rows = rows.iloc[trace["rows"]]
            assert trace["x"] == of_rows["seq_len"].tolist()
            for number, text in zip(trace["rows"], trace["text"], strict=True):
                told = (
                    text.replace("<br>", "").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
                )
                assert rows["reproduce"][number] in told
            if trace.get("axis") == "y2":
                assert "ok" not in set(of_rows["verdict"])
                continue
            drawn += len(of_rows)
            assert trace["y"] == pytest.approx(of_rows[metric].tolist(), rel=1e-6)
            high = [y + up for y, up in zip(trace["y"], trace["up"], strict=True)]
            assert high == pytest.approx([chart["high"][number] for number in trace["rows"]], rel=1e-6)
        held = rows[(rows["batch"] == 1) & (rows["pass"] == "fwd") & rows[metric].notna()]
        held = held[held["dtype"] == "bf16"]
        assert drawn == len(held) or metric.startswith("error")
    assert page.locator(".chart .scatterlayer .trace").count() > 50


@pytest.mark.parametrize("every", [False, True])
def test_failures_stand_below_all_data_a_line_a_backend(opened: Any, rows: pd.DataFrame, every: bool) -> None:
    page = opened()
    if every:
        every_row(page)
        settle(page)
    crosses = [trace for trace in traces(page, "time_ms") if trace.get("axis") == "y2"]
    heights = {(rows["backend"][trace["rows"][0]], y) for trace in crosses for y in trace["y"]}
    assert heights
    assert sorted(y for _, y in heights) == list(range(len({backend for backend, _ in heights})))
    tops, feet = page.evaluate("""() => {
        const chart = document.getElementById("chart-time_ms");
        const edges = (part, edge) =>
            [...chart.querySelectorAll(`.${part} .point`)].map((one) => one.getBoundingClientRect()[edge]);
        return [Math.min(...edges("xy2", "top")), Math.max(...edges("xy", "bottom"))];
    }""")
    assert tops > feet - 4, "a marker reaches no further below its value than half its size"


def test_filters_sorting_and_the_picked_command(opened: Any, rows: pd.DataFrame) -> None:
    page = opened()
    every_row(page)
    assert page.locator("#table tbody tr:visible").count() == len(rows)
    page.locator("input.mechanism[value=softmax]").uncheck()
    assert page.locator("#table tbody tr:visible").count() == (rows["mechanism"] != "softmax").sum()
    settle(page)
    drawn = {number for trace in traces(page, "time_ms") for number in trace["rows"]}
    assert "softmax" not in set(rows.iloc[sorted(drawn)]["mechanism"])
    head = page.locator("th[data-column=time_ms] button")
    head.focus()
    page.keyboard.press("Enter")
    shown = page.locator("#table tbody tr:visible").first.inner_text()
    least = rows[rows["mechanism"] != "softmax"]["time_ms"].idxmin()
    assert rows["pass"][least] in shown
    page.keyboard.press("Enter")
    assert page.locator("th[data-column=time_ms]").get_attribute("aria-sort") == "descending"
    page.evaluate(
        "document.getElementById('chart-time_ms').emit('plotly_click', {points: [{customdata: 3}]})"
    )
    assert page.locator("#picked").inner_text() == rows["reproduce"][3]


def test_a_point_under_the_mouse_tells_its_row_and_a_click_its_command(
    opened: Any, small: Path, rows: pd.DataFrame
) -> None:
    page = opened(small)
    page.locator("#chart-time_ms").scroll_into_view_if_needed()
    box = page.locator("#chart-time_ms .scatterlayer .points path").first.bounding_box()
    where = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*where)
    told = page.locator("#chart-time_ms .hoverlayer .hovertext")
    told.wait_for()
    assert "lbench run --case" in told.text_content()
    page.mouse.click(*where)
    page.wait_for_selector("#picked:visible")
    assert page.locator("#picked").inner_text() in set(rows["reproduce"])


def test_all_controls_are_reached_and_used_by_keyboard(opened: Any, small: Path) -> None:
    page = opened(small)
    reached = []
    while "json" not in reached and len(reached) < 120:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.value"))
    assert [one for one in reached if one in ("condition", "pass", "dtype", "model", "csv", "json")] == [
        "condition",
        "pass",
        "dtype",
        "model",
        "csv",
        "json",
    ]
    before = page.locator("#shown").text_content()
    page.locator("input.mechanism").first.focus()
    page.keyboard.press("Space")
    assert page.locator("#shown").text_content() != before


def test_dtype_and_model_choose_rows_and_sweeps(opened: Any, rows: pd.DataFrame) -> None:
    page = opened()
    names = page.locator("#model option").all_inner_texts()
    assert names[1:] == sorted([EVIL_MODEL, "tnl-1b"])
    page.select_option("#pass", "train")
    page.select_option("#dtype", "fp16")
    # The sweep at hand is of bf16: another one is chosen, and those without such a row are not on offer.
    assert page.locator("#shown").text_content().startswith("3 of ")
    settle(page)
    # Both models are of one size and one backend, and so in one sweep, as two lines.
    assert sorted(len(trace["rows"]) for trace in traces(page, "time_ms")) == [1, 2]
    offered = page.locator("#condition option:not([disabled])").all_inner_texts()
    assert offered
    assert all("fp16" in one for one in offered[:-1])
    page.select_option("#condition", "")
    page.select_option("#dtype", "")
    page.select_option("#model", "tnl-1b")
    assert page.locator("#table tbody tr:visible").count() == (rows["model"] == "tnl-1b").sum() == 2
    settle(page)
    drawn = {number for trace in traces(page, "time_ms") for number in trace["rows"]}
    assert set(rows.iloc[sorted(drawn)]["model"]) == {"tnl-1b"}


def test_few_rows_are_laid_out_until_all_are_asked_for(opened: Any, rows: pd.DataFrame) -> None:
    page = opened()
    page.select_option("#condition", "")
    page.select_option("#pass", "")
    visible = page.locator("#table tbody tr:visible")
    assert visible.count() == 200 < len(rows)
    page.locator("th[data-column=time_ms] button").click()
    assert rows["pass"][rows["time_ms"].idxmin()] in visible.first.inner_text()
    page.locator("#all").click()
    assert visible.count() == len(rows)
    assert page.locator("#all").is_hidden()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(opened: Any, small: Path, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page = opened(small, color_scheme=scheme, viewport={"width": width, "height": 900})
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_downloads_hold_the_rows(opened: Any, file: Path, rows: pd.DataFrame) -> None:
    page = opened(accept_downloads=True)
    every_row(page)
    saved = {}
    for kind in ("csv", "json"):
        with page.expect_download() as download:
            page.locator(f"#{kind}").click()
        saved[kind] = Path(download.value.path()).read_text()
    columns = Page(file.read_text()).data["columns"]
    expected = [
        dict(zip(columns, line, strict=True)) for line in zip(*map(unpacked, columns.values()), strict=True)
    ]
    assert json.loads(saved["json"]) == expected
    read = pd.read_csv(io.StringIO(saved["csv"]))
    assert list(read.columns) == list(columns)
    assert read["time_ms"].tolist() == pytest.approx(rows["time_ms"].tolist(), nan_ok=True)
    assert read["backend"].tolist() == rows["backend"].tolist()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_in_both_modes(opened: Any, small: Path, scheme: str) -> None:
    page = opened(small, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(22, 24, 28)")
    for chart in page.locator(".chart").all():
        assert 300 <= chart.bounding_box()["width"] <= 390


def test_without_javascript_everything_is_there_to_read(opened: Any, rows: pd.DataFrame) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator("#table tbody tr:visible").count() == len(rows)
    assert page.locator("form").is_hidden()
    assert page.locator(".without").is_visible()
