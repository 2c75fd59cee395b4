"""Conditions: which rows belong on one figure or in one table, found in the rows themselves.

A setting is all that must be equal (device, dtype, heads, L2 cold or warm ...); a condition is what a sweep
over lengths held constant in that setting: the batch, or the tokens (batch x seq_len). A row may belong to
one of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from lbench.case import ALL_PASSES, MODEL_SETTINGS

MODEL = ("model", *MODEL_SETTINGS)
SETTING = (
    *("device", "machine", "dtype", "heads", "kv_heads", "head_dim", "head_dim_v", "inputs", "decay"),
    "l2",
    "seed",
    *MODEL,
)
POINT = ("backend", "mechanism", "pass", "batch", "seq_len")


@dataclass(frozen=True, kw_only=True, eq=False)
class Condition:
    """The rows of one sweep over lengths and its names."""

    title: str
    """`batch 1` or `262,144 tokens`."""
    slug: str
    """`batch-1` or `262144-tokens`, and what tells its setting from the others; unique among conditions."""
    setting: str
    """GPU, dtype, heads x head_dim, as a title shows them."""
    rows: pd.DataFrame
    """One row a backend, pass and length, ascending in length."""

    @property
    def passes(self) -> list[str]:
        """The passes present, in the order of `ALL_PASSES`."""
        return [name for name in ALL_PASSES if (self.rows["pass"] == name).any()]


def conditions(frame: pd.DataFrame) -> list[Condition]:
    """All conditions of the rows, setting by setting. The newest row of a point stands for it."""
    # Frames of an export that was made before there were models have none of their columns.
    absent = dict.fromkeys(MODEL, "") | {"seed": 0}
    frame = frame.assign(
        machine=frame["gpu"].fillna(frame["cpu"]),
        l2=frame["l2"].fillna("cold") if "l2" in frame else "cold",
        **{name: value for name, value in absent.items() if name not in frame},
    )
    settings = [(values, newest(rows)) for values, rows in _settings(frame)]
    told = {name for name in SETTING if len({values[name] for values, _ in settings}) > 1}
    if "machine" in told:
        told.discard("device")
    found: list[Condition] = []
    for values, rows in settings:
        suffix = "".join(_suffix(name, values[name], rows) for name in SETTING if name in told)
        for title, slug, mask in _held(rows):
            taken = {condition.slug for condition in found}
            full = slug + suffix
            copies = (full if number == 1 else f"{full}-{number}" for number in range(1, len(found) + 3))
            found.append(
                Condition(
                    title=title,
                    slug=next(name for name in copies if name not in taken),
                    setting=_setting_title(rows.iloc[0], told),
                    rows=rows[mask].sort_values("seq_len", kind="stable"),
                )
            )
    return found


def newest(rows: pd.DataFrame, setting: Sequence[str] = ()) -> pd.DataFrame:
    """One row a point (of each `setting`): the one that started last, as when several runs are loaded."""
    ordered = rows.sort_values("started_at", kind="stable", na_position="first")
    return ordered.drop_duplicates([*POINT, *setting], keep="last").sort_index()


def _settings(frame: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Settings and their rows; a row that names no decay belongs to every decay of its setting."""
    same = [name for name in SETTING if name != "decay"]
    filled = frame.assign(
        **{name: frame[name].astype(object).where(frame[name].notna(), "") for name in SETTING}
    )
    for values, part in filled.groupby(same, sort=False):
        setting = dict(zip(same, values, strict=True))
        for decay in [name for name in part["decay"].unique() if name] or [""]:
            yield {**setting, "decay": decay}, frame.loc[part.index[part["decay"].isin([decay, ""])]]


def _held(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.Series]]:
    """What was held constant: few batches and token counts that cover every row, longest sweeps first."""
    product = rows["batch"] * rows["seq_len"]
    candidates = [("batch", batch, rows["batch"] == batch) for batch in sorted(set(rows["batch"]))]
    candidates += [("tokens", count, product == count) for count in sorted(set(product))]
    candidates.sort(key=lambda held: -rows.loc[held[2], "seq_len"].nunique())
    covered = pd.Series(False, index=rows.index)
    for kind, value, mask in candidates:
        if (mask & ~covered).any():
            covered |= mask
            batch = kind == "batch"
            yield (
                f"batch {value}" if batch else f"{value:,} tokens",
                f"batch-{value}" if batch else f"{value}-tokens",
                mask,
            )


def _suffix(name: str, value: object, rows: pd.DataFrame) -> str:
    if name == "machine":
        value = value or rows["device"].iloc[0]
    return slug_of(name, value)


def slug_of(name: str, value: object) -> str:
    """`-block` or `-heads-16`: what a setting adds to a file's name."""
    words = str(value) if isinstance(value, str) else f"{name}-{value}"
    return "-" + (re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or name)


def _setting_title(row: pd.Series, told: set[str]) -> str:
    named = isinstance(row["machine"], str) and row["machine"]
    heads = f"{row['heads']} heads" if row["heads"] != 1 else "1 head"
    if row["kv_heads"] != row["heads"]:
        heads += f" ({row['kv_heads']} kv)"
    dims = f"{row['head_dim']}"
    if row["head_dim_v"] != row["head_dim"]:
        dims += f" (v {row['head_dim_v']})"
    shape = _model_title(row) if row["model"] else f"{heads} \u00d7 {dims}"
    parts = [row["machine"] if named else str(row["device"]).upper(), row["dtype"], shape]
    parts += [
        f"{row[name]} {name}" for name in ("decay", "inputs") if name in told or row[name] not in _USUAL
    ]
    parts += [f"{row['l2']} L2"] * ("l2" in told or row["l2"] != "cold")
    parts += [f"seed {row['seed']}"] * bool(row["seed"])
    return ", ".join(part for part in parts if part)


def _model_title(row: pd.Series) -> str:
    """A model and its settings, where they are not the usual ones."""
    usual = ("", "native", "none", 0, "off")
    said = [f"{name.replace('_', ' ')} {row[name]}" for name in MODEL_SETTINGS if row[name] not in usual]
    return ", ".join([str(row["model"]), *said])


_USUAL = ("alibi", "model", "", None)
