"""Writing a result folder: no row lost once its case ended, none written twice."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from lbench import interrupt
from lbench.errors import UsageError, WriteFailed
from lbench.row import Row, checksum


class Writer:
    """Appends rows to a folder; every row is on the disk before the next case begins.

    `then` is what a person is to do where the disk took no more, once there is room. UsageError where the
    folder cannot be written to, or another process writes to it; with `new` where it holds anything already.
    """

    def __init__(self, folder: Path, then: str = "the same command again", new: bool = False) -> None:
        self.folder = folder
        self._then = then
        self._path = folder / "rows.jsonl"
        try:
            self._make_folder()
            self._path.touch()
            # Held open to read alone: the file is opened anew for every row, so that a folder which was
            # removed or became read-only is noticed at the next one.
            self._lock = self._path.open("rb")
            self._take_lock()
            if new:
                self._refuse_earlier()
            self._mend_end()
            _sync_folder(folder)
        except OSError as error:
            raise UsageError(f"cannot write to {folder}: {error.strerror}; choose another --out") from error

    def _make_folder(self) -> None:
        made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in made:
            _sync_folder(path.parent)

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UsageError(
                f"another run writes to {self.folder}; wait for it, or choose another --out"
            ) from None
        except OSError:
            pass  # a file system without locks

    def _refuse_earlier(self) -> None:
        """What another run wrote while this one made ready is not added to."""
        if self._path.stat().st_size or any(path != self._path for path in self.folder.iterdir()):
            self._lock.close()
            raise UsageError(f"{self.folder} was written by another run meanwhile; choose another --out")

    def _mend_end(self) -> None:
        """Cuts a torn last line off; a whole one, of whatever schema, that lacks its newline is given it."""
        data = self._path.read_bytes()
        if not data or data.endswith(b"\n"):
            return
        start = data.rfind(b"\n") + 1
        try:
            json.loads(data[start:])
        except ValueError:
            os.truncate(self._path, start)
        else:
            _append(self._path, b"\n")

    def append(self, row: Row) -> None:
        """Writes one row and waits until the disk has it. WriteFailed where the disk does not take it."""
        self.append_line(row.to_line())

    def append_line(self, line: str) -> None:
        """Writes a line that is a row already; as `append`."""
        with interrupt.held_back():
            try:
                _append(self._path, f"{line}\n".encode())
            except OSError as error:
                raise self._failed(
                    error, "the row that it did not take is on standard output", line
                ) from error

    def document(self, kind: str, name: str, content: dict[str, Any]) -> None:
        """Writes `kind/name.json` (a run, an environment, a protocol) in one step.

        A run carries a checksum; the others are named by theirs. WriteFailed where the disk does not take it.
        """
        path = self.folder / kind / f"{name}.json"
        kept = {**content, "checksum": checksum(content)} if kind == "runs" else content
        try:
            path.parent.mkdir(exist_ok=True)
            partial = path.with_suffix(".partial")
            with partial.open("w", encoding="utf-8") as file:
                file.write(json.dumps(kept, indent=1, sort_keys=True) + "\n")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            _sync_folder(path.parent)
            _sync_folder(self.folder)
        except OSError as error:
            raise self._failed(error, f"{kind}/{path.name} is missing there") from error

    def _failed(self, error: OSError, what: str, line: str = "") -> WriteFailed:
        return WriteFailed(
            f"cannot write to {self.folder}: {error.strerror}; {what}, the rows before it are kept; "
            f"make room, then {self._then}",
            line,
        )

    def close(self) -> None:
        """Lets another process write to the folder; rows already appended are safe without it."""
        self._lock.close()


def _append(path: Path, data: bytes) -> None:
    """Adds to a file that is there, on the disk when it returns, or leaves it as it was."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    size = os.fstat(file).st_size
    try:
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(file, size)
        raise
    finally:
        os.close(file)


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder last; not every file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
