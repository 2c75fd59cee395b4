"""Whether a result folder can be believed: schema, checksums, references, every printed number once more.

Numbers are recomputed from the raw samples: those of exports (CSV, JSON) and tables (Markdown) that lie in
the folder, and on request its figures, redrawn.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lbench import frame, results
from lbench.metrics import METRICS
from lbench.results import Results, Row, content_id

if TYPE_CHECKING:
    from lbench.report.tables import Table

    Maker = Callable[[pd.DataFrame, str, str], list[Table]]

HEADS = ("| mechanism |", "| model |")
"""How the first line of a table begins."""
STUDENT = {3: 4.302652729749, 4: 3.182446305284}
"""The 97.5 % quantile of Student's t for so many samples, from a table; fewer have no interval."""
CLOSE = 1e-9
"""Relative difference of a printed number, all digits given, from the recomputed one."""
UNREAD = frozenset({".html", ".tex", ".pdf", ".parquet"})
"""Endings of what holds numbers and is not recomputed."""


def problems(folder: Path, figures: bool = False) -> list[str]:
    """All that is wrong with a result folder, in words; `figures` redraws those in `figures/` too.

    UsageError where the folder holds no rows.
    """
    found: list[str] = []
    entries = list(results.entries(folder, []))
    kept = results.read(folder)
    found += kept.problems
    found += _twice(line for line, _ in entries)
    for line, row in entries:
        found += (f"{row.case.key}: {what}" for what in _wrong_in_row(line, row, kept))
    found += _wrong_documents(kept)
    rows = frame.load(folder)
    found += _wrong_exports(folder, rows)
    if not rows.empty:
        found += _wrong_tables(folder, rows)
        if figures:
            from lbench.plot.redraw import wrong_figures

            found += wrong_figures(folder, rows)
    return found


def unread(folder: Path) -> list[str]:
    """Files with numbers that nothing recomputes, by their names; figures are redrawn when asked for."""
    found = [path for path in folder.rglob("*") if path.suffix in UNREAD and path.parent.name != "figures"]
    return sorted(str(path.relative_to(folder)) for path in found)


def _twice(lines: Iterable[str]) -> Iterator[str]:
    for line, count in Counter(lines).items():
        if count > 1:
            yield f"{Row.from_line(line).case.key}: the same row is written {count} times"


def _wrong_in_row(line: str, row: Row, kept: Results) -> Iterator[str]:
    if json.loads(line).get("key") != row.case.key:
        yield "its key is not that of its case"
    if row.run not in kept.runs:
        yield f"its run {row.run} is not in runs/"
    elif (environment := kept.environments.get(kept.runs[row.run].get("environment", ""))) is None:
        yield f"the environment of its run {row.run} is not in environments/"
    elif _elsewhere(row, environment):
        yield f"its case is one of {row.case.device}, its run was on {environment['device']}"
    if row.protocol and row.protocol not in kept.protocols:
        yield f"its protocol {row.protocol} is not in protocols/"
    if row.verdict == "ok":
        yield from _wrong_samples(row)
    elif not row.reason:
        yield f"it is {row.verdict} without a reason"
    over = [name for name, error in row.errors.items() if _over(error, row.limits.get(name, {}))]
    if over and row.verdict == "ok":
        yield f"it is ok, but the error of {', '.join(over)} is over its limit"
    if any(not isinstance(size, int) or size < 0 for size in row.memory.values()):
        yield "its memory has a number that is no count of bytes"


def _elsewhere(row: Row, environment: Mapping[str, Any]) -> bool:
    """Whether a case of one device was measured on another; a replay answers for any."""
    return "replay" not in environment and environment.get("device", row.case.device) != row.case.device


def _over(error: Mapping[str, float], limit: Mapping[str, float]) -> bool:
    return any(not error[kind] <= allowed for kind, allowed in limit.items() if kind in error)


def _wrong_samples(row: Row) -> Iterator[str]:
    times_ms = row.times_ms
    if not times_ms:
        if not row.only_verified:
            yield "it is ok without samples"
        return
    if not all(math.isfinite(time_ms) and time_ms > 0 for time_ms in times_ms):
        yield "a sample is no positive time"
        return
    rounds = list(row.rounds)
    if rounds != sorted(set(rounds)) or (rounds and (rounds[0] != 0 or rounds[-1] >= len(times_ms))):
        yield "its rounds do not part its samples"
    if row.blocks and sum(block["count"] for block in row.blocks) != len(times_ms):
        yield "its blocks do not hold its samples"
    yield from _wrong_statistics(row)


def _wrong_statistics(row: Row) -> Iterator[str]:
    """The median and its interval against other formulas than those that print them."""
    printed = {name: METRICS[name].value(row, {}) for name in ("time_ms", "time_ms_low", "time_ms_high")}
    ordered = sorted(row.times_ms)
    count = len(ordered)
    if not _same(printed["time_ms"], (ordered[(count - 1) // 2] + ordered[count // 2]) / 2):
        yield "its median is not that of its samples"
    low, high = printed["time_ms_low"], printed["time_ms_high"]
    if count < min(STUDENT) and math.isnan(low) and math.isnan(high):
        return
    if count in STUDENT:
        logs = [math.log(time_ms) for time_ms in ordered]
        mean = math.fsum(logs) / count
        variance = math.fsum((log - mean) ** 2 for log in logs) / (count - 1)
        half = STUDENT[count] * math.sqrt(variance / count * math.pi / 2)
        wanted = (printed["time_ms"] * math.exp(sign * min(half, math.log(1e6))) for sign in (-1, 1))
        if not all(map(_same, (low, high), wanted)):
            yield "its interval is not Student's of its samples"
        return
    if low not in ordered or high not in ordered:
        yield "its interval does not end at samples of its own"
        return
    inside = range(ordered.index(low) + 1, count - ordered[::-1].index(high))
    covered = math.fsum(_binomial(count, k) for k in inside)
    if count >= 6 and covered < 0.949:
        yield f"its interval covers the median with {covered:.1%}, not 95 %"


def _binomial(count: int, k: int) -> float:
    """The probability that just `k` of `count` samples lie below the median."""
    return math.exp(
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - count * math.log(2)
    )


def _wrong_documents(kept: Results) -> Iterator[str]:
    for kind, documents in (("environments", kept.environments), ("protocols", kept.protocols)):
        for name, content in documents.items():
            if content_id(content) != name:
                yield f"{kind}/{name}.json is not what its name says: it was altered"


def _wrong_exports(folder: Path, rows: pd.DataFrame) -> Iterator[str]:
    computed = {line["key"]: line for line in rows.to_dict("records")} if not rows.empty else {}
    for path in sorted([*folder.rglob("*.csv"), *folder.rglob("*.json")]):
        if not path.is_file() or (path.parent.name in results.KINDS and path.parent.parent == folder):
            continue
        where = path.relative_to(folder)
        try:
            printed = _printed(path)
        except (OSError, ValueError, csv.Error) as error:
            yield f"{where} cannot be read: {error}"
            continue
        for line in printed:
            yield from _wrong_line(where, line, computed)


def _printed(path: Path) -> list[Any]:
    """The lines of an export; none where the file is something else."""
    text = path.read_text(errors="replace")
    lines = json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines(True)))
    named = isinstance(lines, list) and any(isinstance(line, dict) and "key" in line for line in lines)
    return lines if named else []


def _wrong_line(where: Path, printed: Any, computed: Mapping[str, Any]) -> Iterator[str]:
    key = printed.get("key") if isinstance(printed, dict) else None
    if not isinstance(key, str):
        yield f"{where}: a line has no key: {_short(printed)}"
        return
    if key not in computed:
        yield f"{where}: {key} is not in the folder"
        return
    for name in [name for name in METRICS if name in printed]:
        given, again = _number(printed[name]), computed[key][name]
        # JSON has neither NaN nor infinity: null stands for both.
        same = (
            not math.isfinite(again) if printed[name] is None else given is not None and _same(given, again)
        )
        if not same:
            told = _short(printed[name]) if given is None else f"{given:g}"
            yield f"{where}: {key} has {name} {told}, its samples give {again:g}"


def _number(printed: Any) -> float | None:
    """None where it is no number."""
    try:
        return math.nan if printed == "" else float(printed)
    except (TypeError, ValueError, OverflowError):
        return None


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=CLOSE)


def _wrong_tables(folder: Path, rows: pd.DataFrame) -> Iterator[str]:
    """Tables that `lbench table --format markdown` printed into files of the folder."""
    written = {path: path.read_text(errors="replace") for path in sorted(folder.rglob("*.md"))}
    headings = [heading for text in written.values() for heading in _blocks(text)]
    if not headings:
        return
    made = dict(block for text in _every_table(rows, headings) for block in _blocks(text).items())
    for path, text in written.items():
        for heading, block in _blocks(text).items():
            if heading not in made:
                yield f"{path.relative_to(folder)}: the table {heading} is none that these rows give"
            elif made[heading] != block:
                yield f"{path.relative_to(folder)}: the table {heading} is not what the samples give"


def _every_table(rows: pd.DataFrame, headings: Iterable[str]) -> Iterator[str]:
    """Those of the metrics that the headings may be of."""
    from lbench.errors import UsageError
    from lbench.report.model_conditions import of_models
    from lbench.report.model_tables import model_tables
    from lbench.report.model_tables import titles as model_titles
    from lbench.report.table_formats import escape_markdown, to_markdown
    from lbench.report.tables import tables
    from lbench.report.values import RELATIVE, axis
    from lbench.report.wording import full_title

    def is_told(metric: str) -> bool:
        named = ["speed relative to"] if metric == RELATIVE else [axis(metric).title, *model_titles(metric)]
        return any(escape_markdown(title) in heading for title in named for heading in headings)

    models = of_models(rows)
    parts: list[tuple[Maker, pd.DataFrame]] = [
        (tables, rows[~models]),
        (model_tables, rows[models]),
        (_size_tables, rows[models]),
    ]
    makers = [(make, part) for make, part in parts if len(part)]
    known = sorted(set(rows["backend"]))
    told = [
        name for name in known if any(escape_markdown(full_title(name)) in heading for heading in headings)
    ]
    for metric in filter(is_told, (*METRICS, RELATIVE)):
        references = told if metric == RELATIVE else [""]
        for (make, part), reference in itertools.product(makers, references):
            try:
                yield to_markdown(make(part, metric, reference))
            except UsageError:
                continue  # no row has it


def _size_tables(rows: pd.DataFrame, metric: str, _: str) -> list[Table]:
    """Those that a report shows of models, which are of no relative speed."""
    from lbench.report.model_tables import size_tables
    from lbench.report.values import RELATIVE

    return [] if metric == RELATIVE else size_tables(rows, metric)


def _blocks(text: str) -> dict[str, list[str]]:
    """Heading -> lines of each table: a line in bold, an empty one, and lines that begin with a bar."""
    blocks: dict[str, list[str]] = {}
    lines = text.splitlines()
    for number, line in enumerate(lines[:-2]):
        if line.startswith("**") and not lines[number + 1] and lines[number + 2].startswith(HEADS):
            end = number + 2
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            blocks[line] = lines[number + 2 : end]
    return blocks
