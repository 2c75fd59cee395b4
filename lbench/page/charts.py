"""What the page's script draws: every row once, by column, and the values and intervals of each chart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from lbench.lengths import format_length
from lbench.metrics import METRICS
from lbench.page.marks import SYMBOLS
from lbench.plot.style import ON_DARK, look
from lbench.report.compared import compared_rows
from lbench.report.failures import TOLD
from lbench.report.sources import Source
from lbench.report.values import axis, values
from lbench.report.wording import SHORT

CHARTS = ("time_ms", "ns_per_token", "peak_mib", "tokens_per_s", "energy_uj_per_token", "error_rms")
"""Metrics with a chart, where any row has them."""
LISTS = ("rounds_ms", "twin_rounds_ms")
"""Columns that are no single value; `lbench export` has them."""
DIGITS = 7
"""Of a drawn value; rows themselves are kept in full."""


def payload(sources: Sequence[Source]) -> dict[str, Any]:
    """All that the script needs, as JSON takes it. Rows are numbered source by source."""
    frame = joined(sources)
    return {
        "sources": [source.label for source in sources],
        "conditions": _conditions(sources),
        "looks": _looks(frame),
        "lengths": {str(length): format_length(int(length)) for length in sorted(set(frame["seq_len"]))},
        "short": SHORT,
        "told": sorted(TOLD),
        "columns": {str(name): _packed(frame[name]) for name in frame.columns if name not in LISTS},
        "charts": [chart for metric in CHARTS if (chart := _chart(frame, metric))],
    }


def joined(sources: Sequence[Source]) -> pd.DataFrame:
    """The rows of all sources, numbered through, with the column `source` in front."""
    parts = [source.rows.assign(source=source.label) for source in sources]
    frame = pd.concat(parts, ignore_index=True)
    return frame[["source", *(name for name in frame.columns if name != "source")]]


def _conditions(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """Sweeps over lengths by name, each with the numbers of its rows; those of one name go together."""
    found: dict[str, list[int]] = {}
    start = 0
    for source in sources:
        for condition in compared_rows(source.rows.reset_index(drop=True)):
            name = f"{condition.title}, {_without_machine(condition.setting, source)}"
            found.setdefault(name, []).extend(start + int(index) for index in condition.rows.index)
        start += len(source.rows)
    return [{"title": title, "rows": rows} for title, rows in found.items()]


def _without_machine(setting: str, source: Source) -> str:
    """The setting, so that one sweep on two machines has one name; kept where a folder has two machines."""
    if len(source.machines) > 1:
        return setting
    return setting.removeprefix(f"{source.machines[0]}, ")


def _looks(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Backends in the order of the figures."""
    pairs = sorted({(str(b), str(m)) for b, m in zip(frame["backend"], frame["mechanism"], strict=True)})
    looks = sorted(((look(*pair), *pair) for pair in pairs), key=lambda one: one[0].order)
    return [
        {
            "backend": backend,
            "mechanism": mechanism,
            "title": one.title,
            "colour": one.colour,
            "dark": ON_DARK.get(one.colour, one.colour),
            "symbol": SYMBOLS[one.marker],
            "marker": one.marker,
            "ours": one.ours,
        }
        for one, backend, mechanism in looks
    ]


def _chart(frame: pd.DataFrame, metric: str) -> dict[str, Any] | None:
    wanted = axis(metric)
    drawn = values(frame, wanted)
    drawn = drawn.assign(low=drawn["low"].fillna(drawn["y"]), high=drawn["high"].fillna(drawn["y"]))
    if not drawn["y"].notna().any():
        return None
    known = METRICS[metric]
    return {
        "metric": metric,
        "heading": wanted.heading,
        "title": wanted.title,
        "unit": known.unit,
        "better": known.better,
        **{name: [_rounded(value) for value in drawn[name]] for name in ("y", "low", "high")},
    }


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _packed(column: pd.Series) -> dict[str, Any]:
    """A column as its distinct values and which of them each row has, where that is shorter."""
    plain = [_plain(value) for value in column]
    distinct = {_identity(value): value for value in plain}
    if 2 * len(distinct) > len(plain):
        return {"values": plain}
    place = {name: index for index, name in enumerate(distinct)}
    return {"values": list(distinct.values()), "at": [place[_identity(value)] for value in plain]}


def _identity(value: Any) -> tuple[str, Any]:
    return type(value).__name__, value  # 1, 1.0 and True are equal and yet not the same


def unpacked(column: dict[str, Any]) -> Iterable[Any]:
    """The values that `payload` packed, one a row."""
    return [column["values"][index] for index in column["at"]] if "at" in column else column["values"]


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value
