"""The page: one HTML file from the template, with style, scripts and rows inside it.

A result file is untrusted input. Jinja escapes every label; rows go in as JSON in which no `<` is left; and
the page's own policy lets no script run but ours, known by their hashes, and nothing be fetched at all.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from lbench.lengths import format_length
from lbench.page.charts import joined, payload
from lbench.page.foot import foot
from lbench.page.marks import outline
from lbench.page.verdicts import verdict
from lbench.report.across import across
from lbench.report.failures import TOLD, failures
from lbench.report.sources import Source
from lbench.report.tables import number
from lbench.report.wording import MEANINGS, PASS_TITLES, title

PARTS = "parts"
SCRIPTS = ("data.js", "table.js", "charts.js", "page.js")
"""One module in this order."""
PLOTLY = "plotly-basic.min.js"
"""The npm package plotly.js-basic-dist-min 4.1.1 as published: all of Plotly takes a second to start."""
COLUMNS = (
    ("source", "source"),
    ("mechanism", "mechanism"),
    ("backend", "backend"),
    ("model", "model"),
    ("pass", "pass"),
    ("batch", "batch"),
    ("seq_len", "length"),
    ("dtype", "dtype"),
    ("verdict", "verdict"),
    ("time_ms", "time, ms"),
    ("ns_per_token", "ns / token"),
    ("tokens_per_s", "tokens / s"),
    ("peak_mib", "peak, MiB"),
    ("error_rms", "error"),
    ("doubts", "doubts, reason"),
    ("key", "case"),
)
"""Columns of the table of rows and their heads; the script sorts by the value behind each."""


NUMERIC = frozenset({"batch", "seq_len", "time_ms", "ns_per_token", "tokens_per_s", "peak_mib", "error_rms"})
"""Those whose values stand at the right."""


def html(sources: Sequence[Source]) -> str:
    """The whole file. The same rows give the same bytes."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lbench.page", PARTS),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(as_length=format_length, number=number, outline=outline)
    script, library = "".join(_source(environment, name) for name in SCRIPTS), _source(environment, PLOTLY)
    data = payload(sources)
    return environment.get_template("page.html.j2").render(
        policy=_policy(script, library),
        style=Markup(_source(environment, "page.css")),
        script=Markup(script),
        library=base64.b64encode(gzip.compress(library.encode(), mtime=0)).decode(),
        data=Markup(in_script(data)),
        charts=data["charts"],
        conditions=[condition["title"] for condition in data["conditions"]],
        groups=_groups(data["looks"]),
        **_words(sources, joined(sources)),
    )


def in_script(data: Any) -> str:
    """JSON that may stand within a script element, whatever its strings hold."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _words(sources: Sequence[Source], rows: pd.DataFrame) -> dict[str, Any]:
    """What stands in the page as text."""
    models = sorted(set(rows["model"].dropna()) - {""}) if "model" in rows else []
    needless = {name for name, told in (("source", len(sources) > 1), ("model", models)) if not told}
    columns = [pair for pair in COLUMNS if pair[0] not in needless]
    present = list(dict.fromkeys(rows["pass"]))
    return {
        "verdicts": [verdict(source) for source in sources],
        "sources": [source.label for source in sources],
        "compared": across(sources) if len(sources) > 1 else [],
        "columns": columns,
        "lines": [_line(row, columns) for row in rows.to_dict("records")],
        "failed": failures(rows.to_dict("records"), every=True),
        "dtypes": sorted(set(rows["dtype"])),
        "models": models,
        "passes": {name: PASS_TITLES[name] for name in PASS_TITLES if name in present},
        "feet": [foot(source) for source in sources],
        "meanings": MEANINGS,
        "told": TOLD,
        "numeric": NUMERIC,
    }


def _groups(looks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Looks by mechanism, in their order."""
    names = dict.fromkeys(look["mechanism"] for look in looks)
    return [
        {"mechanism": name, "looks": [one for one in looks if one["mechanism"] == name]} for name in names
    ]


def _line(row: dict[Any, Any], columns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(text, class) of each cell."""
    return [_cell(row, name) for name, _ in columns]


def _cell(row: dict[Any, Any], name: str) -> tuple[str, str]:
    value = row[name]
    if name == "backend":
        return title(str(value)), ""
    if name == "seq_len":
        return format_length(int(value)), "n"
    if name == "doubts":
        return "; ".join(filter(None, (value, row["reason"]))), "long"
    if name == "verdict":
        return str(value).replace("_", " "), "" if value == "ok" else "bad"
    if isinstance(value, str):
        return value, ""
    if value is None or pd.isna(value):
        return "", "n"
    if name == "time_ms" and not pd.isna(row["time_ms_low"]):
        return f"{number(value)} [{number(row['time_ms_low'])}, {number(row['time_ms_high'])}]", "n"
    return number(float(value)) if isinstance(value, float) else f"{value:,}", "n"


def _source(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _policy(*scripts: str) -> str:
    """A Content Security Policy: these scripts, our style, nothing from anywhere."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
