"""A result folder that another process writes to, read as it grows."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

from lbench import results
from lbench.errors import UsageError
from lbench.results import Row


class Follower:
    """Reads each row once, as soon as its line is whole. UsageError where the folder has no rows.jsonl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "rows.jsonl"
        self._read = 0
        if not self._path.is_file():
            raise UsageError(f"{folder} holds no rows.jsonl; give the folder that `lbench run` writes to")

    def new_rows(self) -> list[Row]:
        """The rows since the last call. Lines that are no row are passed over: `lbench show` tells them."""
        rows: list[Row] = []
        for line in self._new_lines():
            try:
                rows.append(Row.from_line(line))
            except (ValueError, KeyError, TypeError, AttributeError, UsageError):
                continue
        return rows

    def _new_lines(self) -> list[str]:
        try:
            with self._path.open("rb") as file:
                if self._path.stat().st_size < self._read:
                    self._read = 0  # a row was cut off, or the file made anew
                file.seek(self._read)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode("utf-8", errors="replace").splitlines()

    def is_written(self) -> bool:
        """Whether a run holds the folder's lock."""
        try:
            with self._path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def newest_run(self) -> dict[str, Any]:
        """The document of the run that began last; empty where there is none yet."""
        runs = results.documents(self.folder / "runs", []).values()
        return max(runs, key=lambda one: str(one.get("started_at", "")), default={})
