"""Tables of models: all sizes and families in one setting, lengths across, the best of each size in bold."""

from __future__ import annotations

import dataclasses

import pandas as pd

from lbench.case import DEVICES, MODEL_PASSES
from lbench.report.conditions import Condition
from lbench.report.failures import failures
from lbench.report.model_conditions import by_size, model_conditions, of_one_size, steps_told
from lbench.report.tables import Line, Table, better_of, has_value, lines_of, without
from lbench.report.ties import ties
from lbench.report.values import RELATIVE, Axis, axis, pick_reference, values
from lbench.report.wording import rank, rate_title

USUAL = {"train": "tokens_per_s", "prefill": "time_ms", "decode": "time_ms"}
"""What a table of a pass shows where no metric is named."""
TITLES = {
    ("train", "tokens_per_s", "cuda"): rate_title("cuda"),
    ("train", "tokens_per_s", "cpu"): rate_title("cpu"),
    **{("prefill", "time_ms", device): "time to first token (ms)" for device in DEVICES},
    **{("decode", "time_ms", device): "time a token (ms)" for device in DEVICES},
}
"""By pass, metric and device."""


def titles(metric: str) -> list[str]:
    """What tables of models call a metric, beside its own title."""
    return [title for (_, name, _), title in TITLES.items() if name == metric]


def model_tables(frame: pd.DataFrame, metric: str = "", relative_to: str = "") -> list[Table]:
    """A table a pass and setting (and batch, but of training). Without a metric the usual one of each pass.

    UsageError for an unknown metric, or one that no `ok` row has.
    """
    reference = pick_reference(frame, relative_to) if metric == RELATIVE else ""
    made = [
        _table(condition, pass_name, axis(metric or USUAL[pass_name], reference))
        for pass_name in MODEL_PASSES
        for condition in model_conditions(frame, pass_name)
    ]
    if (frame["verdict"] == "ok").any() and not any(has_value(table) for table in made):
        raise without(frame, metric or USUAL["train"], axis(metric or USUAL["train"], reference).title)
    return made


def size_tables(frame: pd.DataFrame, metric: str) -> list[Table]:
    """A table a pass, setting (and batch, but of training) and size, a line a model and backend."""
    return [
        _named(_table(of_one_size(condition, part), pass_name, axis(metric)))
        for pass_name in MODEL_PASSES
        for condition in model_conditions(frame, pass_name)
        for part in by_size(condition.rows)
    ]


def _named(table: Table) -> Table:
    """Lines titled by model and backend, as no table stands over them that says the model."""
    lines = tuple(dataclasses.replace(line, title=f"{line.model}: {line.title}") for line in table.lines)
    return dataclasses.replace(table, lines=lines)


def _table(condition: Condition, pass_name: str, wanted: Axis) -> Table:
    rows = condition.rows.sort_values("seq_len", kind="stable")
    lengths = tuple(int(length) for length in sorted(rows["seq_len"].unique()))
    train = pass_name == "train"
    return Table(
        metric=wanted.metric,
        metric_title=TITLES.get((pass_name, wanted.metric, rows["device"].iloc[0]), wanted.title),
        better=better_of(wanted),
        pass_name=pass_name,
        condition=condition.title,
        setting=condition.setting,
        lengths=lengths,
        lines=tuple(line for part in by_size(rows) for line in _of_size(part, wanted, lengths)),
        failures=tuple(failures(rows.to_dict("records"))),
        of="model",
        note=steps_told(rows) if train else "",
    )


def _of_size(rows: pd.DataFrame, wanted: Axis, lengths: tuple[int, ...]) -> list[Line]:
    """The lines of models that are compared with each other."""
    drawn = (_speeds(rows, wanted) if wanted.metric == RELATIVE else values(rows, wanted)).rename(
        columns={"y": "value"}
    )
    # Times of unlike batches are no times of the same work.
    alike = rows[rows.groupby("seq_len")["batch"].transform("nunique") == 1]
    tied = pd.Series(ties(alike, wanted.metric), dtype=float).reindex(rows.index)
    rows = rows.assign(**{name: drawn[name] for name in ("value", "low", "high")}, could_see=tied)
    made = [
        dataclasses.replace(line, model=str(who))
        for who, part in sorted(
            rows.groupby("who", sort=False), key=lambda one: rank("", str(one[1]["mechanism"].iloc[0]))
        )
        for line in lines_of(part, lengths, better_of(wanted), rows)
    ]
    return made


def _speeds(rows: pd.DataFrame, wanted: Axis) -> pd.DataFrame:
    """Tokens a second over those of the reference at the same length and size, in its fastest model."""
    speeds = values(rows, axis("tokens_per_s"))
    timed = speeds.assign(seq_len=rows["seq_len"])[rows["backend"] == wanted.reference]
    fastest = timed.sort_values("y", ascending=False, kind="stable").drop_duplicates("seq_len")
    base = fastest.set_index("seq_len").reindex(rows["seq_len"])
    base.index = rows.index
    own = pd.Series(rows.index.isin(fastest.index), index=rows.index)
    y = speeds["y"] / base["y"]
    low, high = (speeds["low"] / base["high"]).where(~own, y), (speeds["high"] / base["low"]).where(~own, y)
    return pd.DataFrame({"y": y, "low": low, "high": high})
