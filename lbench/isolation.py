"""How the runner reaches a worker: a process that may be killed, or the same function in-process."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from typing import Any, Protocol

QUIET = {"KINETO_LOG_LEVEL": "99", "TOKENIZERS_PARALLELISM": "false"}


class Died(Exception):
    """The worker process ended without an answer; the message says how."""


class TimedOut(Exception):
    """The worker gave no answer in time and was killed."""


class Worker(Protocol):
    """Something that answers requests."""

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """The answer; raises Died or TimedOut."""

    def close(self) -> None:
        """Ends the worker at once."""


class InProcessWorker:
    """Answers in this process: for tests and debuggers. Enforces no time limit."""

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """The answer, after a round trip through JSON as a process would give it."""
        from lbench.worker import answer

        result: dict[str, Any] = json.loads(json.dumps(answer(request)))
        return result

    def close(self) -> None:
        """Nothing to end."""


class ProcessWorker:
    """A Python process of its own, started by the first request."""

    def __init__(self) -> None:
        # A file, not a pipe: a library that floods standard error can then never block the worker.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lbench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **QUIET},
            start_new_session=True,
        )
        self._answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Sends one request and waits for its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.close()
            raise TimedOut(f"no answer in {timeout_s:.0f} s") from None
        except BrokenPipeError:
            line = None
        if line is None:
            raise Died(self._last_words())
        result: dict[str, Any] = json.loads(line)
        return result

    def _last_words(self) -> str:
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"the worker ended with {how}" + (f": {lines[-1].strip()[:200]}" if lines else "")

    def close(self) -> None:
        """Kills the process and all it started."""
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
