"""What the lightning kernels are held to, beside what rows say.

    lbench run lightning --out FOLDER; python studies/bar.py FOLDER [FOLDER ...]

A Markdown table of all that suites/lightning.toml measures with an aim. Of several folders a later one's row
takes the place of an earlier one's of the same case. A figure is that of the worst row, which stands behind
it. Exit code 1 where a row is missing or a figure falls short.

Seconds to compile are the sum over all cases of a run, of that with most: those of a first call with an empty
cache only where the run's was empty (TRITON_CACHE_DIR=$(mktemp -d) lbench run ...).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

FOUR = ((64, 2048), (8, 16384), (1, 131072), (1, 1048576))
LONG = ((1, 131072),)
SHORT = ((1, 1024),)
DECODED = ((64, 4096), (256, 4096))
FLAT = (
    *((1, 2**n) for n in range(16, 21)),
    (32, 2048),
    (4, 16384),
    (64, 2048),
    (8, 16384),
    (5, 20000),
    (9, 20000),
)
# What, pass, decays, shapes (batch, tokens), figure, must, goal
AIMS = (
    ("forward, share of the floor", "fwd", ("alibi",), FOUR, "share", 0.80, 0.95),
    ("forward + backward, share of the floor", "fwdbwd", ("alibi",), FOUR, "share", 0.62, 0.80),
    ("no decay, a last layer's: forward", "fwd", ("zero", "deep"), LONG, "share", 0.62, 0.80),
    ("no decay, a last layer's: forward + backward", "fwdbwd", ("zero", "deep"), LONG, "share", 0.50, 0.65),
    ("time a token, worst over best: forward", "fwd", ("alibi",), FLAT, "flatness", 1.10, 1.03),
    ("time a token, worst over best: forward + backward", "fwdbwd", ("alibi",), FLAT, "flatness", 1.10, 1.03),
    ("workspace over output: forward", "fwd", ("alibi",), FOUR, "workspace", 0.10, 0.02),
    ("workspace over output and gradients", "fwdbwd", ("alibi",), FOUR, "workspace", 0.10, 0.02),
    ("compilation, s", "fwdbwd", ("alibi",), SHORT, "compiled", 30.0, 10.0),
    ("host time of 1 x 1,024, us: forward", "fwd", ("alibi",), SHORT, "host", 60.0, 25.0),
    ("host time of 1 x 1,024, us: forward + backward", "fwdbwd", ("alibi",), SHORT, "host", 200.0, 90.0),
    ("decoding, share of the floor", "decode", ("alibi",), DECODED, "share", 0.80, 0.92),
    ("times the authors' speed, forward + backward", "fwdbwd", ("alibi",), LONG, "authors", 48.0, 48.0),
    ("times fla's speed, forward + backward", "fwdbwd", ("alibi",), LONG, "fla_chunk", 2.7, 2.7),
)  # fmt: skip
LARGER = ("share", "authors", "fla_chunk")
"""Figures that should be large."""


def main() -> int:
    """Prints the table; the exit code."""
    parser = argparse.ArgumentParser(
        description="Set rows of the lightning kernels beside what was aimed at."
    )
    parser.add_argument("folder", nargs="+", help="results of `lbench run lightning`")
    everything = load(parser.parse_args().folder)
    rows = everything.drop_duplicates("key", keep="last")
    print("| | must | goal | measured | |\n|---|---:|---:|---:|---|")
    short = False
    for what, *_, figure, must, goal in AIMS:
        value, where, missing = measure(rows, what, everything)
        said = verdict(value, must, goal, figure) + (f"; no row of {', '.join(missing)}" if missing else "")
        short |= "short" in said or bool(missing)
        print(f"| {what} | {limits(must, goal)} | {found(value, where)} | {said} |")
    return int(short)


def load(folders: list[str]) -> Any:
    """Rows that are ok, 16 heads x 128 in bf16."""
    import pandas

    import lbench

    rows = pandas.concat([lbench.load(folder) for folder in folders])
    shape = (rows.heads == 16) & (rows.head_dim == 128) & (rows.head_dim_v == 128) & (rows.dtype == "bf16")
    return rows[shape & (rows.verdict == "ok")]


def measure(rows: Any, what: str, everything: Any) -> tuple[float | None, str, list[str]]:
    """The worst figure of an aim, where it was, and the shapes that have no row."""
    (found,) = (aim for aim in AIMS if aim[0] == what)
    _, wanted, decays, shapes, figure, *_ = found
    of_pass = rows[rows["pass"] == wanted]
    ours = of_pass[of_pass.backend == "lightning_triton"]
    values: dict[str, float] = {}
    missing = []
    for decay in decays:
        for batch, tokens in shapes:
            name = f"{batch} x {tokens:,}" + ("" if decay == "alibi" else f", {decay}")
            row = _at(ours, batch, tokens, decay)
            other = (
                row if figure not in LARGER[1:] else _at(of_pass, batch, tokens, decay, f"lightning_{figure}")
            )
            if row is None or other is None:
                missing.append(name)
                continue
            values[name] = _figure(figure, row, other, everything)
    if not values:
        return None, "", missing
    worst = (min if figure in LARGER else max)(values, key=lambda name: values[name])
    value = values[worst] / min(values.values()) if figure == "flatness" else values[worst]
    return value, worst, missing


def _figure(figure: str, row: Any, other: Any, everything: Any) -> float:
    if figure == "compiled":
        ours = everything[(everything.backend == "lightning_triton") & (everything["pass"] != "decode")]
        return float(ours.groupby("run").compile_s.sum().max())
    if figure == "workspace":
        gradients = row.gradients_mib if row["pass"] == "fwdbwd" else 0.0
        return float(row.workspace_mib / (row.outputs_mib + gradients))
    if figure in LARGER[1:]:
        return float(other.time_ms / row.time_ms)
    return float(row[{"share": "floor_share", "flatness": "ns_per_token", "host": "enqueue_us"}[figure]])


def _at(rows: Any, batch: int, tokens: int, decay: str, backend: str = "lightning_triton") -> Any:
    there = (
        (rows.batch == batch) & (rows.seq_len == tokens) & (rows.decay == decay) & (rows.backend == backend)
    )
    found = rows[there]
    return None if found.empty else found.iloc[-1]


def verdict(value: float | None, must: float, goal: float, figure: str) -> str:
    """Whether a figure reaches the goal or what it must, and by how much it falls short."""
    from lbench.ratios import percent

    if value is None:
        return "not measured"
    better = (lambda limit: value >= limit) if figure in LARGER else (lambda limit: value <= limit)
    if better(goal):
        return "goal reached"
    return "reached" if better(must) else f"short by {percent(abs(value / must - 1))}"


def limits(must: float, goal: float) -> str:
    """Two cells of the table."""
    return " | ".join(f"{value:.3g}" if value >= 10 else f"{value:.2f}" for value in (must, goal))


def found(value: float | None, where: str) -> str:
    """The cell of a figure: three digits behind the point, since bars are missed by less than a hundredth."""
    return "" if value is None else f"{value:.3g} ({where})" if value >= 10 else f"{value:.3f} ({where})"


if __name__ == "__main__":
    sys.exit(main())
