"""Pages of the reference, written from the code and the command line before each build."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import typer
from sphinx.application import Sphinx
from typer.cli import get_docs_for_click

from lbench import backends, mechanisms, suite
from lbench.cli.main import command_line
from lbench.doubts import Doubt
from lbench.limits import Limits
from lbench.metrics import METRICS
from lbench.packages import install_line
from lbench.protocol import Stopping
from lbench.report.wording import MEANINGS
from lbench.row import FINAL, VERDICTS

UNITS = {"_ms": "ms", "_s": "s", "rounds": "rounds", "least": "samples", "most": "samples",
         "samples": "samples"}  # fmt: skip
"""Ends of the names of fields."""
NOTE = "% Written by docs/reference_pages.py; changes here are lost.\n\n"


def commands() -> Iterator[str]:
    """Every command with its options, as `--help` shows them."""
    command = typer.main.get_command(command_line())
    context = typer.Context(command, info_name="lbench")
    yield "# Commands\n"
    text = get_docs_for_click(obj=command, ctx=context, name="lbench", title=" ")
    for name, one in command.commands.items():
        first = " ".join((one.help or "").partition("\n\n")[0].split())
        text = re.sub(rf"^\* `{name}`: .*\.\.\.$", f"* `{name}`: {first}", text, flags=re.MULTILINE)
    yield text.partition("\n")[2]


def all_backends() -> Iterator[str]:
    """Backends with their limits."""
    yield "# Backends\n\nA case outside what a backend declares is a row `unsupported` with the limit.\n"
    for name in mechanisms.names():
        yield f"## {name}\n"
        yield "| backend | passes | dtypes | devices | needs |\n" + "|---" * 5 + "|"
        for one in backends.of_mechanism(name):
            limits = one.limits
            needs = "<br>".join(f"`{install_line(package)}`" for package in one.packages[:1])
            cells = [f"`{one.name}`<br>{one.title}", " ".join(limits.passes), " ".join(limits.dtypes)]
            cells += [" ".join(limits.devices), needs]
            yield f"| {' | '.join(cells)} |"
        yield ""


def all_metrics() -> Iterator[str]:
    """Metrics, verdicts and doubts."""
    yield "# Metrics, verdicts, doubts\n\n## Metrics\n"
    yield "Computed from raw samples whenever rows are loaded, never stored.\n"
    yield "| name | quantity | unit | better |\n|---|---|---|---|"
    for metric in METRICS.values():
        yield f"| `{metric.name}` | {metric.title} | {metric.unit} | {metric.better} |"
    yield "\n## Verdicts\n\n| verdict | meaning | a resume |\n|---|---|---|"
    for verdict in VERDICTS:
        meaning = MEANINGS.get(verdict, "verified, then timed")
        yield f"| `{verdict}` | {meaning} | {'leaves it' if verdict in FINAL else 'looks again'} |"
    yield "\n## Doubts\n\n| doubt | what to do |\n|---|---|"
    for doubt in Doubt:
        yield f"| `{doubt.value}` | {doubt.advice} |"


def all_suites() -> Iterator[str]:
    """Suites that come along, and the keys of a suite file."""
    yield "# Suites\n\n| suite | what it answers |\n|---|---|"
    for name in suite.names():
        yield f"| `{name}` | {suite.describe(name)} |"
    yield "\n## A suite file\n\nFlags of the command line replace its axes.\n\n```toml"
    yield (suite.__doc__ or "").partition("\n\n")[2].strip() + "\n```\n"
    yield f"Axes: {', '.join(f'`{axis}`' for axis in suite.AXES)}."
    for table, kind in (("stopping", Stopping), ("constancy", Limits)):
        yield f"\n### [{table}]\n\n{inspect.getdoc(kind)}\n"
        yield "| field | unit | default | meaning |\n|---|---|---|---|"
        for name, unit, default, meaning in fields(kind):
            yield f"| `{name}` | {unit} | {default} | {meaning} |"


def fields(kind: type) -> Iterator[tuple[str, str, object, str]]:
    """(name, unit, default, docstring) of each field of a dataclass."""
    (declared,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(declared, ast.ClassDef)
    for field, told in itertools.pairwise(declared.body):
        match field, told:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
                yield name, unit, getattr(kind, name), " ".join(meaning.split())


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "commands": commands,
    "backends": all_backends,
    "metrics": all_metrics,
    "suites": all_suites,
}


def _write(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "reference"
    for name, content in PAGES.items():
        text = NOTE + "\n".join(content()) + "\n"
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def _without_links(app: Sphinx, path: Path, page: str, content: list[str]) -> None:
    """Files of the repository are no pages: in what is included from it their names stand without a link."""
    content[0] = re.sub(r"\[([^\]]+)\]\((?:\.\./)+[^)]*\)", r"\1", content[0])


def _no_signature(app: Sphinx, what: str, *_: object) -> tuple[str, None] | None:
    """Fields of a dataclass are told one by one below it."""
    return ("", None) if what == "class" else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Writes the pages when a build begins, and unlinks what is included."""
    app.connect("builder-inited", _write)
    app.connect("autodoc-process-signature", _no_signature)
    app.connect("include-read", _without_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
