"""Conditions of models: rows of all models in one setting, and at one batch where a pass is shown by batches.

Training is shown at the fastest batch of each length, since the tokens of a step differ with what fits;
prefill and decoding at one batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pandas as pd

from lbench.lengths import format_length
from lbench.report.conditions import Condition, newest, slug_of
from lbench.report.wording import title

SETTING = ("machine", "dtype", "body", "checkpoint", "chunk", "prefill_chunk", "compile", "l2", "seed")
WHO = ("model", "backend", "mechanism", "attention")
"""What tells lines of one setting apart."""
LABELLED = ("body", "checkpoint", "compile", "l2")
"""Settings whose values say little without their names."""
USUAL = ("", "native", "none", 0, "off", "cold")


def of_models(frame: pd.DataFrame) -> pd.Series:
    """Which rows are of models; none where the frame is from before there were any."""
    return frame["model"].fillna("") != "" if "model" in frame else pd.Series(False, index=frame.index)


def model_conditions(frame: pd.DataFrame, pass_name: str) -> Iterator[Condition]:
    """Those of a pass: settings, and batches where it is shown by them; of training their title is empty.

    The column `who` of their rows is the model, and its attention where a model was measured with several.
    """
    rows = frame[frame["pass"] == pass_name]
    if rows.empty:
        return
    # Frames of an export may be from before there were hybrids.
    rows = rows.assign(attention=rows["attention"].fillna("") if "attention" in rows else "")
    rows = rows.assign(l2=rows["l2"].fillna("cold") if "l2" in rows else "cold")
    rows = rows.assign(machine=rows["gpu"].fillna(rows["cpu"]).fillna(rows["device"]), who=_who(rows))
    told = [name for name in SETTING if rows[name].nunique() > 1]
    rows = newest(rows, (*SETTING, *WHO))
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
            held = "" if batch is None else f"batch {batch}"
            slug = ("" if batch is None else f"-batch-{batch}") + suffix
            yield Condition(title=held, slug=slug, rows=chosen, **shared)


def _who(rows: pd.DataFrame) -> pd.Series:
    """`minimax-1b`, or `minimax-1b with SDPA flash` where it has rows with other attention too."""
    several = rows.groupby("model")["attention"].transform("nunique") > 1
    return rows["model"].where(~several, rows["model"] + " with " + rows["attention"].map(title))


def _fastest(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a line and length: the one with the most tokens a second, else any that failed."""
    ranked = rows.sort_values("tokens_per_s", ascending=False, na_position="last", kind="stable")
    return ranked.drop_duplicates([*WHO, "seq_len"]).sort_index()


def size_of(name: str) -> str:
    """`1b` of `tnl-1b`: what models to be compared share."""
    return name if ".json" in name else name.rpartition("-")[2]


def of_one_size(condition: Condition, rows: pd.DataFrame) -> Condition:
    """A part of a condition that `by_size` made, with the size in its title."""
    size = size_of(str(rows["model"].iloc[0]))
    return dataclasses.replace(condition, title=", ".join(filter(None, [size, condition.title])), rows=rows)


def by_size(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows of one size after another, the smallest first."""
    sizes = rows["model"].map(size_of)
    order = rows.assign(params=rows["params"].astype(float)).groupby(sizes)["params"].min().sort_values()
    for size in order.index:
        yield rows[sizes == size]


def steps_told(rows: pd.DataFrame) -> str:
    """How many tokens a training step has: at most lengths of each size, and where it is another number."""
    sizes = rows["model"].map(size_of)
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
    return "; ".join(named)
