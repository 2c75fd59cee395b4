"""Figures of models: a panel a size, a line a family and backend, all in one setting, against length.

Training is drawn at the fastest batch of each length, since the tokens of a step differ with what fits;
prefill and decoding at one batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure

from lbench.case import MODEL_PASSES
from lbench.lengths import format_length
from lbench.models.classes import family, size_text
from lbench.plot.draw import compose
from lbench.plot.series import panel
from lbench.report.conditions import Condition, newest, slug_of
from lbench.report.values import Axis, axis
from lbench.report.wording import PASS_TITLES

SETTING = ("machine", "dtype", "body", "checkpoint", "chunk", "prefill_chunk", "compile")
LABELLED = ("body", "checkpoint", "compile")
"""Settings whose values say little without their names."""
USUAL = ("", "native", "none", 0, "off")
QUANTITIES = {
    "train": ("tokens_per_s", "used_gib"),
    "prefill": ("time_ms",),
    "decode": ("time_ms", "used_gib"),
}
"""What a pass is asked for where no metric is named."""
HEADINGS = {
    ("train", "tokens_per_s"): ("tokens a GPU and second", "Training speed against length", "tgs"),
    ("train", "used_gib"): ("memory (GiB)", "Memory of a training step against length", "memory"),
    ("prefill", "time_ms"): ("time to first token (ms)", "Time to first token against length", "time"),
    ("decode", "time_ms"): ("time a token (ms)", "Decoding latency against context", "latency"),
    ("decode", "used_gib"): ("memory (GiB)", "Memory in decoding against context", "memory"),
}
"""(pass, metric) -> title of the axis, of the figure, and first part of the file's name."""


def draw_models(
    frame: pd.DataFrame, metrics: Sequence[Axis] | None = None
) -> Iterator[tuple[str, Figure | None]]:
    """(name, figure) for each pass, setting, batch and quantity; None where no row has it."""
    if frame.empty:
        return
    frame = frame.assign(machine=frame["gpu"].fillna(frame["cpu"]).fillna(frame["device"]))
    for pass_name in MODEL_PASSES:
        rows = frame[frame["pass"] == pass_name]
        told = [name for name in SETTING if rows[name].nunique() > 1]
        wanted = metrics if metrics is not None else [axis(name) for name in QUANTITIES[pass_name]]
        for condition in _conditions(rows, pass_name, told):
            for one in wanted:
                yield (
                    _named(one, condition, pass_name),
                    _figure(_titled(one, pass_name), condition, pass_name),
                )


def _conditions(rows: pd.DataFrame, pass_name: str, told: Sequence[str]) -> Iterator[Condition]:
    """Settings, and batches where a pass is drawn by them."""
    for values, part in rows.groupby(list(SETTING), sort=False, dropna=False):
        setting = dict(zip(SETTING, values, strict=True))
        said = [
            f"{name.replace('_', ' ')} {setting[name]}" for name in SETTING[2:] if setting[name] not in USUAL
        ]
        suffix = "".join(
            slug_of(name, f"{name} {setting[name]}" if name in LABELLED else setting[name])
            for name in told
            if setting[name] not in USUAL
        )
        shared = {"setting": ", ".join([str(setting["machine"]), str(setting["dtype"]), *said])}
        batches = [None] if pass_name == "train" else sorted(part["batch"].unique())
        for batch in batches:
            chosen = _fastest(part) if batch is None else part[part["batch"] == batch]
            title = "" if batch is None else f"batch {batch}"
            slug = ("" if batch is None else f"-batch-{batch}") + suffix
            yield Condition(title=title, slug=slug, rows=chosen, **shared)


def _fastest(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a model, backend and length: the one with the most tokens a second, else any that failed."""
    ordered = newest(rows.assign(backend=rows["backend"] + " " + rows["model"])).index
    ranked = rows.loc[ordered].sort_values("tokens_per_s", ascending=False, na_position="last", kind="stable")
    return ranked.drop_duplicates(["model", "backend", "seq_len"]).sort_index()


def _figure(wanted: Axis, condition: Condition, pass_name: str) -> Figure | None:
    rows = condition.rows.assign(line=condition.rows["model"].map(family)).sort_values(
        "params", kind="stable"
    )
    sizes = rows["model"].map(_size)
    order = rows.assign(params=rows["params"].astype(float)).groupby(sizes)["params"].min().sort_values()
    panels = [
        panel(rows[sizes == size], pass_name, wanted, _title(rows[sizes == size])) for size in order.index
    ]
    heading = f"{wanted.heading}, {condition.title}" if condition.title else wanted.heading
    return compose(panels, wanted, heading, condition, _steps(rows, sizes) if pass_name == "train" else ())


def _size(name: str) -> str:
    return name if name.endswith(".json") else name.rpartition("-")[2]


def _title(rows: pd.DataFrame) -> str:
    """`tnl-1b (1.02B), llama-1b (1.02B)`."""
    counts = rows.groupby("model", sort=False)["params"].first()
    return ", ".join(
        f"{name} ({size_text(count)})" if count == count else str(name) for name, count in counts.items()
    )


def _steps(rows: pd.DataFrame, sizes: pd.Series) -> tuple[str, ...]:
    """How many tokens a step has, in the small print: at most lengths, and where it is another number."""
    usual = rows["tokens"].groupby(sizes, sort=False).agg(lambda counts: counts.value_counts().index[0])
    named = [
        f"{count:,} tokens a step" + (f" ({', '.join(of)})" if usual.nunique() > 1 else "")
        for count, of in usual.groupby(usual, sort=False).groups.items()
    ]
    others = rows[rows["tokens"] != sizes.map(usual)]
    single = sorted(others.loc[others["batch"] == 1, "seq_len"].unique())
    named += [f"one sequence a step at {', '.join(map(format_length, single))}"] * bool(single)
    if (others["batch"] > 1).any():
        named.append("elsewhere the fastest batch measured")
    return ("; ".join(named) + ".",)


def _titled(one: Axis, pass_name: str) -> Axis:
    title, heading, _ = HEADINGS.get(
        (pass_name, one.metric), (one.title, f"{one.heading}, {PASS_TITLES[pass_name]}", "")
    )
    # Memory is what a card has or has not: a part of it should look like one.
    return dataclasses.replace(one, title=title, heading=heading, log=one.log and one.metric != "used_gib")


def _named(one: Axis, condition: Condition, pass_name: str) -> str:
    *_, slug = HEADINGS.get((pass_name, one.metric), ("", "", one.slug))
    return f"models-{pass_name}-{slug}{condition.slug}"
