"""The report as Markdown for a pull request, and as LaTeX for a paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from lbench.page.foot import Facts, foot
from lbench.page.verdicts import Part, Verdict, verdict
from lbench.report.across import Across, across
from lbench.report.sources import Source
from lbench.report.table_formats import escape_latex, escape_markdown, to_latex, to_markdown
from lbench.report.tables import number

PREAMBLE = r"""\documentclass{article}
\usepackage[a4paper, landscape, margin=15mm]{geometry}
\usepackage[T1]{fontenc}
\usepackage{booktabs, longtable}
\begin{document}
"""


def markdown(sources: Sequence[Source]) -> str:
    """GitHub's Markdown: a section a source, a table a pass, the environment folded away."""
    lines = ["# lbench report", ""]
    for source in sources:
        made = verdict(source)
        lines += [f"## {escape_markdown(made.label)}", "", *_counted(made, escape_markdown, "- "), ""]
        for part in made.parts:
            lines += [to_markdown([part.table]), *_told(part, escape_markdown, "- "), ""]
        lines += ["<details><summary>Environment and protocol</summary>", ""]
        lines += [f"- {escape_markdown(name)}: {escape_markdown(value)}" for name, value in _facts(source)]
        lines += ["", "</details>", ""]
    if len(sources) > 1:
        lines += ["## Comparison", "", *_compared_in_markdown(sources)]
    return "\n".join(lines).rstrip() + "\n"


def latex(sources: Sequence[Source]) -> str:
    """A whole document that needs booktabs, longtable and geometry; its tables may be taken out alone."""
    lines = [PREAMBLE]
    for source in sources:
        made = verdict(source)
        lines += [f"\\section*{{{escape_latex(made.label)}}}", *_items(_counted(made, escape_latex, ""))]
        for part in made.parts:
            # Where it stands, not where LaTeX would float it to: text and table belong together.
            body = to_latex([part.table]).replace("\\begin{table}", "\\begin{table}[!ht]")
            failed = [escape_latex(told) for told, _ in part.table.failures]
            lines += [body, *_items([*_told(part, escape_latex, ""), *failed]), "\\clearpage"]
        lines += ["\\begin{longtable}{lp{0.6\\linewidth}}"]
        lines += [f"{escape_latex(name)} & {escape_latex(value)} \\\\" for name, value in _facts(source)]
        lines += ["\\end{longtable}"]
    if len(sources) > 1:
        lines += _compared_in_latex(sources)
    return "\n".join([*lines, "\\end{document}", ""])


def _counted(made: Verdict, escape: Callable[[str], str], mark: str) -> list[str]:
    return [escape(made.counts.sentence), *(f"{mark}doubt: {escape(line)}" for line in made.counts.advice)]


def _told(part: Part, escape: Callable[[str], str], mark: str) -> list[str]:
    """Who is fastest, what crosses, how far each gets."""
    ends = [f"{reach}" for reach in part.reaches if reach.verdict]
    sentences = [part.sentence, *part.crossovers, *ends]
    return [f"{mark}{escape(one)}" for one in sentences if one]


def _facts(source: Source) -> Iterator[tuple[str, str]]:
    known = foot(source)
    parts: tuple[Facts, ...] = (*known.environments, *known.protocols)
    yield from ((name.replace("_", " "), value) for facts in parts for name, value in facts)
    heads = ("suite", "started", "commit", "copy GB/s")
    for run, *rest in known.runs:
        told = [f"{head} {text}" for head, text in zip(heads, rest, strict=True) if text]
        yield f"run {run}", ", ".join(told)


def _items(lines: Sequence[str]) -> list[str]:
    items = [f"\\item {line}" for line in lines]
    return ["\\begin{itemize}", *items, "\\end{itemize}"] if items else []


def _compared_in_markdown(sources: Sequence[Source]) -> Iterator[str]:
    head = ["case", *(escape_markdown(source.label) for source in sources)]
    yield "Time in ms; ratios are to the first folder, with their 95 % interval, in bold where they differ."
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join(['---', *['---:'] * len(sources)])} |"
    for one in across(sources):
        cells = _cells(one, lambda text: f"**{text}**")
        yield f"| {' | '.join([escape_markdown(one.key), *cells])} |"


def _compared_in_latex(sources: Sequence[Source]) -> Iterator[str]:
    yield "\\section*{Comparison}"
    yield "Time in ms; ratios are to the first folder, with a 95\\,\\% interval, in bold where they differ."
    yield f"\\begin{{longtable}}{{l{'r' * len(sources)}}}"
    yield " & ".join(["case", *(escape_latex(source.label) for source in sources)]) + " \\\\ \\midrule"
    for one in across(sources):
        cells = _cells(one, lambda text: f"\\textbf{{{text}}}")
        yield " & ".join([f"\\texttt{{{escape_latex(one.key)}}}", *cells]) + " \\\\"
    yield "\\end{longtable}"


def _cells(one: Across, bold: Callable[[str], str]) -> Iterator[str]:
    for row, ratio in zip(one.rows, one.ratios, strict=True):
        if row is None:
            yield ""
        elif row["verdict"] != "ok":
            yield str(row["verdict"]).replace("_", " ")
        elif math.isnan(row["time_ms"]):
            yield "ok, not timed"
        elif ratio is None:
            yield number(row["time_ms"])
        else:
            told = f"{ratio.ratio:.3f}"
            told = bold(told) if ratio.differs else told
            interval = f"{ratio.low:.3f}, {ratio.high:.3f}" if ratio.is_known else "?"
            yield f"{number(row['time_ms'])}, {told} [{interval}]"
