"""The tables of kernels/lightning_attention/README.md that say how fast and how right, made from kept rows.

    python studies/kernel_tables.py

Each stands between `<!-- table NAME -->` and `<!-- end -->`, where nothing is typed by hand. A figure is
that of the one row that has all fields of its line and of its column; of errors the largest of several.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import bar  # noqa: E402

README = ROOT / "kernels" / "lightning_attention" / "README.md"
RESULTS = ROOT / "results"
H100, H200, SUITE, ERRORS, PACKED, WIDE, FIRST = (
    "lightning-bar-h100-2026-11-23",
    "lightning-bar-h200-2026-11-23",
    "lightning-suite-h100-2026-11-23",
    "lightning-errors-h100-2026-11-23",
    "packed-h100",
    "lightning-wide-h100-2026-11-24",
    "first-call-h100",
)
BLOCK = re.compile(r"(<!-- table ([\w ]+) -->\n).*?(\n<!-- end -->)", re.DOTALL)

Fields = dict[str, Any]
Axis = tuple[tuple[str, Fields], ...]


def size(batch: int, tokens: int) -> tuple[str, Fields]:
    """The line of a shape."""
    return f"{batch} x {tokens:,}", {"batch": batch, "seq_len": tokens}


def both(title: str, figure: str, **fields: Any) -> Axis:
    """The columns forward, and forward + backward."""
    return (
        (f"{title}forward", {"pass": "fwd", "figure": figure, **fields}),
        ("forward + backward", {"pass": "fwdbwd", "figure": figure, **fields}),
    )


def dims(head_dim: int, head_dim_v: int) -> Fields:
    """Both head dims."""
    return {"head_dim": head_dim, "head_dim_v": head_dim_v}


PLAIN = {"backend": "lightning_plain"}
FLA = {"backend": "lightning_fla_chunk"}
AUTHORS = {"backend": "lightning_authors"}
ONE_H200 = {"folder": H200}
NEWER = {"folder": WIDE, "not_in": H200}
"""Kernels that were changed since; rows of the older ones are not told beside theirs."""
USUAL: Fields = {
    "folder": H100,
    "backend": "lightning_triton",
    "batch": 8,
    "seq_len": 16384,
    "heads": 16,
    **dims(128, 128),
    "dtype": "bf16",
    "decay": "alibi",
    "inputs": "model",
}
LENGTHS = tuple((f"{2**n:,}", {"seq_len": 2**n}) for n in range(10, 17))
ANY = {"folder": ERRORS, "pass": "fwdbwd", "batch": 1, "decay": None, "inputs": None}
"""Every decay and all inputs that were verified; None is any value."""
TABLES: dict[str, tuple[str, Axis, Axis]] = {
    "shares": (
        "batch x tokens",
        (
            *(size(batch, tokens) for batch, tokens in ((32, 2048), (64, 2048), (4, 16384), (8, 16384))),
            *(size(1, 2**n) for n in range(16, 21)),
        ),
        (
            *both("ours: ", "share"),
            *both("plain path: ", "share", **PLAIN),
            *both("fla: ", "share", **FLA),
            *both("ours, H200: ", "share", **ONE_H200),
        ),
    ),
    "one sequence": (
        "tokens",
        (
            ("ours, forward", {"pass": "fwd"}),
            ("fla chunk_simple_gla, forward", {"pass": "fwd", **FLA}),
            ("ours, forward + backward", {"pass": "fwdbwd"}),
            ("fla chunk_simple_gla, forward + backward", {"pass": "fwdbwd", **FLA}),
        ),
        tuple((name, {"batch": 1, "figure": "us", **fields}) for name, fields in LENGTHS),
    ),
    "131072 tokens": (
        "1 x 131,072",
        tuple(
            (name, {"batch": 1, "seq_len": 131072, **fields})
            for name, fields in (
                ("ours", {}),
                ("ours, slopes of zero", {"decay": "zero"}),
                ("ours, a last layer's slopes", {"decay": "deep"}),
                ("plain path", PLAIN),
                ("fla chunk_simple_gla", FLA),
                ("the authors'", AUTHORS),
            )
        ),
        (
            *both("ms: ", "ms"),
            *both("share of the floor: ", "share"),
            *both("H200, ms: ", "ms", **ONE_H200),
            ("workspace, MiB", {"pass": "fwdbwd", "figure": "workspace"}),
        ),
    ),
    "other shapes": (
        "8 x 16,384",
        (
            *((f"{heads} heads", {"heads": heads}) for heads in (8, 32, 64)),
            ("head dim 64", dims(64, 64)),
            ("head dim 96 (plain path)", dims(96, 96)),
            ("head dims 128 x 256 (plain path)", dims(128, 256)),
            ("head dim 256 (plain path)", {**dims(256, 256), **NEWER}),
            ("fp16 (plain path)", {"dtype": "fp16"}),
            ("fp32 (plain path, three products of tf32)", {"dtype": "fp32", **NEWER}),
        ),
        (
            *both("ours: ", "share"),
            ("fla: forward", {"pass": "fwd", "figure": "share", "folder": SUITE, **FLA}),
            *both("ours, H200: ", "share", **ONE_H200),
        ),
    ),
    "decoding": (
        "batch",
        tuple((f"{batch}", {"batch": batch, "seq_len": 4096, "pass": "decode"}) for batch in (64, 256)),
        (
            ("ours", {"figure": "share"}),
            ("fla's recurrent kernel", {"figure": "share", "backend": "lightning_fla_recurrent"}),
            ("ours, H200", {"figure": "share", **ONE_H200}),
        ),
    ),
    "errors": (
        "",
        (
            *((f"bf16, 1 x {2**n:,}", {"seq_len": 2**n, **ANY}) for n in (10, 16, 20)),
            ("fp16, 8 x 16,384", {"dtype": "fp16", "pass": "fwdbwd"}),
            ("fp32, 8 x 16,384", {"dtype": "fp32", "pass": "fwdbwd", "folder": WIDE}),
        ),
        tuple(
            (name, {"figure": figure})
            for name, figure in (
                ("output", "error_out"),
                ("worst gradient", "error_grad"),
                ("worst block of 64 tokens", "error_block"),
            )
        ),
    ),
}
"""What stands in the corner, the lines and the columns; of fields that both have, the column's count."""
SCALES: dict[str, tuple[str, Callable[[float], str]]] = {
    "share": ("floor_share", lambda value: f"{value:.2f}"),
    "us": ("time_ms", lambda value: _digits(value * 1e3)),
    "ms": ("time_ms", lambda value: _digits(value)),
    "workspace": ("workspace_mib", lambda value: f"{value:,.1f}"),
}
"""A figure: the column of `lbench.load` it is of, and how it is written. Others are errors."""


def main() -> int:
    """Writes the tables into the README; the exit code."""
    README.write_text(filled(README.read_text()))
    return 0


def filled(text: str) -> str:
    """The text with every table made anew."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{table(found[2])}{found[3]}", text)


def table(name: str) -> str:
    """One table in Markdown."""
    if name == "aims":
        return _aims()
    if name == "packed":
        return _packed()
    corner, lines, columns = TABLES[name]
    cells = [[title, *(cell({**USUAL, **line, **column}) for _, column in columns)] for title, line in lines]
    return _markdown([corner, *(title for title, _ in columns)], cells)


def cell(fields: Fields) -> str:
    """A figure as a table shows it, `?` where its row has a doubt; nothing where there is no row."""
    wanted = {name: value for name, value in fields.items() if value is not None}
    figure, folder = wanted.pop("figure"), wanted.pop("folder")
    if wanted.pop("not_in", None) == folder:
        return ""
    rows = _load(folder)
    rows = rows[functools.reduce(lambda kept, one: kept & (rows[one] == wanted[one]), wanted, True)]
    if rows.empty:
        return ""
    if figure not in SCALES:
        return f"{rows[figure].max():.1e}".replace("e-0", "e-")
    if len(rows) > 1:
        raise ValueError(f"{len(rows)} rows have {wanted}; a cell is of one")
    column, written = SCALES[figure]
    return written(rows[column].iloc[0]) + "?" * bool(rows.doubts.iloc[0])


@functools.cache
def _load(folder: str) -> Any:
    import lbench

    return lbench.load(RESULTS / folder)


def _aims() -> str:
    machines = {"H100": bar.load([RESULTS / H100]), "H200": bar.load([RESULTS / H200])}
    first = {"H100": bar.load([RESULTS / FIRST])}  # elsewhere kernels came from a cache
    cells = []
    for what, *_, figure, must, goal in bar.AIMS:
        line = [what, bar.limits(must, goal)]
        for name in machines:
            rows = (first if figure == "compiled" else machines).get(name)
            if rows is None:
                line += ["", ""]
                continue
            value, where, _ = bar.measure(rows, what, rows)
            said = "" if value is None else bar.verdict(value, must, goal, figure)
            line += [bar.found(value, where), said]
        cells.append(line)
    return _markdown(["", "must | goal", *(title for name in machines for title in (name, ""))], cells)


def _packed() -> str:
    found: dict[tuple[int, str], dict[str, str]] = {}
    for one in json.loads((RESULTS / PACKED / "packed.json").read_text())["times"]:
        found.setdefault((one["mean"], one["kind"]), {})[one["pass"]] = f"{one['ratio']:.2f}"
    lines = [
        [
            f"{mean:,}" if kind == "equal" else f"{mean // 4:,} to {7 * mean // 4:,}",
            ratios["fwd"],
            ratios["fwdbwd"],
        ]
        for (mean, kind), ratios in found.items()
    ]
    return _markdown(["tokens of a document", "forward", "forward + backward"], lines)


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rule = "|---|" + "---:|" * (" | ".join(head).count("|"))
    return "\n".join([f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(line)} |" for line in lines), ""])


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


if __name__ == "__main__":
    sys.exit(main())
