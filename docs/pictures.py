"""Makes the pictures of the README: `python docs/pictures.py RESULTS`. Needs Playwright and a Chromium.

The report light, dark and on a phone, and `lbench show` in a terminal, as a browser draws them.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI

from lbench.page.render import html
from lbench.report.overview import print_overview
from lbench.report.sources import Source, gather

FOLDER = Path(__file__).parent / "pictures"
WIDE: dict[str, Any] = {"viewport": {"width": 1100, "height": 1000}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
PICTURES: tuple[tuple[str, tuple[str, str], dict[str, Any]], ...] = (
    ("report-light", ("h1", "article .scroll"), {**WIDE, "color_scheme": "light"}),
    ("report-dark", ("#charts h2", "figure:nth-of-type(2)"), {**WIDE, "color_scheme": "dark"}),
    ("report-phone", ("figure", "figure:nth-of-type(2)"), {**PHONE, "color_scheme": "light"}),
)
"""Name, the elements from which and to which, and how the browser is set."""
COLUMNS = 100
TERMINAL = """<style>body { margin: 0; background: #1c1c1c; } pre { margin: 0; padding: 14px; font: 13px/1.25
"DejaVu Sans Mono", monospace; color: #d9d9d9; display: inline-block; }</style><pre>{code}</pre>"""
PARTS = 2
"""Tables of the terminal's picture: a screenful."""


def main(folder: Path) -> None:
    """Writes all pictures."""
    (source,) = gather([folder])
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        page = Path(place) / "report.html"
        page.write_text(html([source]))
        found = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for name, ends, options in PICTURES:
            _report(browser, page, name, ends, options)
        _terminal(browser, source)
        browser.close()


def _report(browser: Browser, page: Path, name: str, ends: tuple[str, str], options: dict[str, Any]) -> None:
    """The page from the top of one element to the foot of another."""
    opened = browser.new_page(**options)
    opened.goto(page.as_uri())
    opened.wait_for_selector("html[data-ready=yes]")
    opened.wait_for_function("() => [...document.querySelectorAll('.chart')].every(one => one.dataset.drawn)")
    first, last = (opened.locator(one).first.bounding_box() for one in ends)
    assert first
    assert last
    top = max(first["y"] - 8, 0)
    clip = {"x": 0, "y": top, "width": options["viewport"]["width"]}
    _save(
        name, opened.screenshot(full_page=True, clip={**clip, "height": last["y"] + last["height"] + 8 - top})
    )
    opened.close()


def _terminal(browser: Browser, source: Source) -> None:
    console = Console(file=io.StringIO(), width=COLUMNS, record=True, force_terminal=True, highlight=False)
    print_overview(source, console)
    text = console.export_html(theme=MONOKAI, inline_styles=True, code_format="{code}")
    tables = text.split("\n\n")
    opened = browser.new_page(viewport={"width": 900, "height": 400})
    opened.set_content(TERMINAL.replace("{code}", "\n\n".join(tables[: 1 + PARTS])))
    _save("terminal", opened.locator("pre").screenshot())
    opened.close()


def _save(name: str, png: bytes) -> None:
    """In 256 colours: a third of the size."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
