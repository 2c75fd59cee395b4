"""Figures of models: a panel a size, a line a family and backend, all in one setting, against length."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure

from lbench.case import MODEL_PASSES
from lbench.models.classes import family, size_text
from lbench.plot.draw import compose
from lbench.plot.series import panel
from lbench.report.conditions import Condition
from lbench.report.model_conditions import by_size, model_conditions, steps_told
from lbench.report.values import Axis, axis
from lbench.report.wording import PASS_TITLES, rate_title

QUANTITIES = {
    "train": ("tokens_per_s", "used_gib"),
    "prefill": ("time_ms",),
    "decode": ("time_ms", "used_gib"),
}
"""What a pass is asked for where no metric is named."""
HEADINGS = {
    ("train", "tokens_per_s"): (rate_title("cuda"), "Training speed against length", "tgs"),
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
    for pass_name in MODEL_PASSES:
        wanted = metrics if metrics is not None else [axis(name) for name in QUANTITIES[pass_name]]
        for condition in model_conditions(frame, pass_name):
            for one in wanted:
                yield (
                    _named(one, condition, pass_name),
                    _figure(_titled(one, pass_name, condition), condition, pass_name),
                )


def _figure(wanted: Axis, condition: Condition, pass_name: str) -> Figure | None:
    rows = condition.rows
    rows = rows.assign(line=list(map(_line, rows["model"], rows["who"])))
    rows = rows.sort_values("params", kind="stable")
    panels = [panel(part, pass_name, wanted, _title(part)) for part in by_size(rows)]
    heading = f"{wanted.heading}, {condition.title}" if condition.title else wanted.heading
    return compose(
        panels, wanted, heading, condition, (f"{steps_told(rows)}.",) if pass_name == "train" else ()
    )


def _line(model: str, who: str) -> str:
    """The family, and what else tells who it is: `minimax with SDPA flash`."""
    return family(model) + who.removeprefix(model)


def _title(rows: pd.DataFrame) -> str:
    """`tnl-1b (1.02B), llama-1b (1.02B)`."""
    counts = rows.groupby("model", sort=False)["params"].first()
    return ", ".join(
        f"{name} ({size_text(count)})" if count == count else str(name) for name, count in counts.items()
    )


def _titled(one: Axis, pass_name: str, condition: Condition) -> Axis:
    title, heading, _ = HEADINGS.get(
        (pass_name, one.metric), (one.title, f"{one.heading}, {PASS_TITLES[pass_name]}", "")
    )
    if title == rate_title("cuda"):
        title = rate_title(str(condition.rows["device"].iloc[0]))
    # Memory is what a card has or has not: a part of it should look like one.
    return dataclasses.replace(one, title=title, heading=heading, log=one.log and one.metric != "used_gib")


def _named(one: Axis, condition: Condition, pass_name: str) -> str:
    *_, slug = HEADINGS.get((pass_name, one.metric), ("", "", one.slug))
    return f"models-{pass_name}-{slug}{condition.slug}"
