"""`lbench list`: what there is, with declared limits. Imports neither torch nor any backend's package.

Plain text: importing rich and drawing one table takes as long as all the rest.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from lbench import terminal
from lbench.errors import UsageError, unknown

KINDS = ("backends", "suites", "mechanisms", "models")
ELSEWHERE = {
    "claims": "lbench claims list",
    "baselines": "lbench baseline list",
    "cases": "lbench run --dry-run",
    "rows": "lbench show FOLDER",
    "results": "lbench show FOLDER",
    "packages": "lbench doctor",
}
"""Where other commands list what is theirs."""
WIDTHS = (25, 10, 14, 8)
"""Columns of the table of backends, before the last."""
NARROW = 80
"""Below this many columns the table has no room."""


def command(
    what: Annotated[
        str, typer.Argument(help="backends, suites, mechanisms or models.", autocompletion=lambda: KINDS)
    ] = "backends",
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    memory: Annotated[
        str | None, typer.Option(help="Of models: the memory they must fit into, 80g; by default the card's.")
    ] = None,
) -> None:
    """List backends with their limits, suites, mechanisms or models."""
    if what in ELSEWHERE:
        raise UsageError(f"`lbench list` has no {what}; see `{ELSEWHERE[what]}`")
    if what not in KINDS:
        raise unknown("list", what, KINDS)
    if what == "models":
        from lbench.cli import list_models

        found = list_models.records(memory)
        if json_output:
            print(json.dumps(found, indent=2))
        else:
            print("\n".join(list_models.lines(found, memory, terminal.columns())))
        return
    records = {"backends": _backends, "suites": _suites, "mechanisms": _mechanisms}[what]()
    if what == "backends":
        _tell_problems()
    if json_output:
        print(json.dumps(records, indent=2))
        return
    lines = {"backends": _backend_lines, "suites": _suite_lines, "mechanisms": _mechanism_lines}[what]
    print("\n".join(lines(records)))


def _tell_problems() -> None:
    from lbench.backends import plugins

    for problem in plugins.problems():
        print(f"lbench: {problem}", file=sys.stderr)


def _backends() -> list[dict[str, Any]]:
    from lbench import backends
    from lbench.packages import install_line

    records = []
    for backend in map(backends.load, backends.names()):
        missing = backends.missing_package(backend)
        records.append(
            {
                "name": backend.name,
                "mechanism": backend.mechanism,
                "title": backend.title,
                "layout": backend.layout.title,
                "packages": backend.packages,
                "missing_package": missing,
                "install": install_line(missing) if missing else None,
                "limits": {
                    name: getattr(backend.limits, name) for name in backend.limits.__dataclass_fields__
                },
            }
        )
    return sorted(records, key=lambda record: (record["mechanism"], record["name"]))


def _suites() -> list[dict[str, Any]]:
    from lbench import suite

    return [{"name": name, "title": suite.describe(name)} for name in suite.names()]


def _mechanisms() -> list[dict[str, Any]]:
    from lbench import backends, mechanisms

    loaded = [backends.load(name) for name in backends.names()]
    return [
        {
            "name": name,
            "title": spec.title,
            "formula": spec.formula,
            "tensors": dict(spec.tensors),
            "constants": dict(spec.constants),
            "backends": [backend.name for backend in loaded if backend.mechanism == name],
        }
        for name, spec in ((name, mechanisms.load(name)) for name in mechanisms.names())
    ]


def _backend_lines(records: list[dict[str, Any]]) -> Iterator[str]:
    yield from _columns(("  backend", "passes", "dtypes", "devices", "head dims, limits"))
    mechanism = ""
    for record in records:
        if record["mechanism"] != mechanism:
            mechanism = record["mechanism"]
            yield mechanism
        limits = record["limits"]
        mark = "-" if record["missing_package"] else "+"
        yield from _columns(
            (
                f"{mark} {record['name']}",
                _passes(limits["passes"]),
                " ".join(limits["dtypes"]),
                " ".join(limits["devices"]),
                _shapes(limits),
            )
        )
    yield ""
    yield from _paragraph("+ packages found  - one missing  d=dv: equal dims  GQA: kv_heads below heads", 0)
    missing = {
        record["missing_package"]: record["install"] for record in records if record["missing_package"]
    }
    for package, install in missing.items():
        yield f"no {package}:"
        yield f"  {install}"


def _columns(cells: tuple[str, ...]) -> Iterator[str]:
    """The cells side by side, the last one wrapped; in a narrow terminal those after the first below it."""
    if (room := terminal.columns()) < NARROW:
        yield cells[0]
        inside = " " * 4
        yield from textwrap.wrap("; ".join(cells[1:]), room, initial_indent=inside, subsequent_indent=inside)
        return
    if len(cells[0]) > WIDTHS[0]:  # a name that is too long has a line of its own
        yield cells[0]
        cells = ("", *cells[1:])
    first = " ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=False))
    indent = sum(WIDTHS) + len(WIDTHS)
    width = max(terminal.columns() - indent, 19)
    for index, line in enumerate(textwrap.wrap(cells[-1], width)):
        yield (first + " " if index == 0 else " " * indent) + line


def _passes(passes: tuple[str, ...]) -> str:
    from lbench.case import PASSES

    absent = [name for name in PASSES if name not in passes]
    return "all" if not absent else "no " + absent[0] if len(absent) == 1 else " ".join(passes)


def _shapes(limits: dict[str, Any]) -> str:
    """Limits on shapes and cards in few words; what nearly all backends share is left out."""
    low, high = limits["head_dim"]
    said = [f"{low}-{high}" if high < 1 << 20 else "any"]
    if limits["head_dims"]:
        said = [" ".join(map(str, limits["head_dims"]))]
    if limits["equal_head_dims"]:
        said.append("d=dv")
    if limits["grouped_heads"]:
        said.append("GQA")
    if limits["elements"]:
        said.append(f"{_power_of_two(limits['elements'])} elements")
    oldest, newest = limits["capability"]
    if newest[0] < 99:
        said.append(f"sm_{oldest[0]}{oldest[1]} to sm_{newest[0]}x")
    return ", ".join(said)


def _power_of_two(most: int) -> str:
    """`<=2^31`, or `<2^31` where the most is one below."""
    return f"<=2^{most.bit_length() - 1}" if most.bit_count() == 1 else f"<2^{most.bit_length()}"


def _suite_lines(records: list[dict[str, Any]]) -> Iterator[str]:
    indent = max(len(record["name"]) for record in records) + 2
    for record in records:
        yield from _paragraph(record["name"].ljust(indent) + record["title"], indent=indent)


def _mechanism_lines(records: list[dict[str, Any]]) -> Iterator[str]:
    from lbench.cli.new import DIMS

    for record in records:
        yield f"{record['name']}: {record['title']}"
        yield from _paragraph("  " + record["formula"], indent=2)
        taken = {**record["tensors"], **record["constants"]}
        shapes = [f"{tensor} [{','.join(dims)}]" for tensor, dims in taken.items()]
        yield from _paragraph("  tensors: " + " ".join(shapes), indent=11)
        yield from _paragraph("  backends: " + ", ".join(record["backends"]), indent=12)
        yield ""
    yield from _paragraph("tensors: " + ", ".join(f"{letter} {told}" for letter, told in DIMS.items()), 0)


def _paragraph(text: str, indent: int) -> list[str]:
    width = terminal.columns()
    return textwrap.wrap(text, width, subsequent_indent=" " * indent, break_on_hyphens=False)
