"""Rows as files for other programs: one line a row, with the columns of a frame (lbench/frame.py)."""

from __future__ import annotations

import importlib.util
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from lbench.errors import UsageError


def to_csv(frame: pd.DataFrame) -> str:
    """Comma-separated values with a header; empty where a row has none."""
    return frame.to_csv(index=False, lineterminator="\n")


def to_json(frame: pd.DataFrame) -> str:
    """A JSON array with one object a line; null where a row has none, so that any parser reads it."""
    records = frame.astype(object).to_dict("records")
    lines = [json.dumps({str(name): _plain(value) for name, value in row.items()}) for row in records]
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


def to_parquet(frame: pd.DataFrame) -> bytes:
    """Apache Parquet. UsageError where pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError("parquet needs pyarrow, which is not installed: pip install 'lbench[parquet]'")
    bare = frame.copy()
    bare.attrs = {}  # problems of the files, which parquet would keep
    with io.BytesIO() as file:
        bare.to_parquet(file, index=False, engine="pyarrow")
        return file.getvalue()


def write(content: str | bytes, path: Path) -> None:
    """Writes a file. UsageError where it cannot."""
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another --out") from error


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value


FORMATS: dict[str, Callable[[pd.DataFrame], str | bytes]] = {
    "csv": to_csv,
    "json": to_json,
    "parquet": to_parquet,
}
"""Text goes to standard output or a file, bytes to a file."""
