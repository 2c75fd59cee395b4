"""How the runner reaches a worker: a process that may be killed, or the same function in-process."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Protocol

from lbench import interrupt

GRACE_S = 0.5
"""How long the end of a process is waited for."""
WARNING = re.compile(r"^.*:\d+: \w*Warning: .*\n(?:[ \t].*\n?)?", re.MULTILINE)
"""What Python's warnings print, with the line that they quote: no cause of an end."""
QUIET = {"KINETO_LOG_LEVEL": "99", "TOKENIZERS_PARALLELISM": "false"}


class Died(Exception):
    """The worker process ended without an answer; the message says how."""


class TimedOut(Exception):
    """The worker gave no answer in time and was killed."""


class Worker(Protocol):
    """Something that answers requests."""

    def send(self, request: dict[str, Any]) -> None:
        """Hands over a request, whose answer `receive` then waits for."""

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """The answer to what was sent; raises Died or TimedOut."""

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """The answer; raises Died or TimedOut."""

    def close(self) -> None:
        """Ends the worker at once."""


class InProcessWorker:
    """Answers in this process: for tests and debuggers. Enforces no time limit."""

    def send(self, request: dict[str, Any]) -> None:
        """Keeps the request until its answer is asked for."""
        self._request = request

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """The answer to what was sent."""
        return self.ask(self._request, timeout_s)

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """The answer, after a round trip through JSON as a process would give it."""
        from lbench.worker import answer

        with interrupt.allowed():
            result: dict[str, Any] = json.loads(json.dumps(answer(request)))
        return result

    def close(self) -> None:
        """Nothing to end."""


class ProcessWorker:
    """A Python process of its own, started at once.

    Requests and answers pass through pipes of their own, so that a library may print, or close the standard
    streams, as it likes.
    """

    def __init__(self, preload: bool = True) -> None:
        """`preload`: torch is imported before the first request, while nothing is measured yet."""
        # A file, not a pipe: a library that floods standard error can then never block the worker.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        requests, self._requests = os.pipe()
        self._answered, answers = os.pipe()
        command = [sys.executable, "-m", "lbench.worker", str(requests), str(answers)]
        self._process = subprocess.Popen(
            command + ["torch"] * preload,
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            pass_fds=(requests, answers),
            env={**os.environ, **QUIET},
            start_new_session=True,
        )
        os.close(requests)
        os.close(answers)
        self._closed = False
        self._answers: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with os.fdopen(self._answered, "rb") as answered:
            for line in answered:
                if line.endswith(b"\n"):  # else the process was killed within its answer
                    self._answers.put(line)
        self._answers.put(None)

    @property
    def process_id(self) -> int:
        """Its id in the system."""
        return self._process.pid

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Sends one request and waits for its answer; ends the process where it gives none."""
        self.send(request)
        return self.receive(timeout_s)

    def send(self, request: dict[str, Any]) -> None:
        """Sends one request; that the process is gone shows when its answer is waited for."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._requests, f"{json.dumps(request)}\n".encode())

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """Waits for the answer to what was sent; ends the process where it gives none."""
        line = self._answer(timeout_s)
        if line is None:
            raise Died(self._last_words())
        result: dict[str, Any] = json.loads(line)
        return result

    def _answer(self, timeout_s: float) -> bytes | None:
        """The next line; None where the process ended without one."""
        deadline = time.monotonic() + timeout_s
        while True:
            interrupt.check()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                self.close()
                raise TimedOut(f"no answer in {timeout_s:.0f} s")
            # What the process has started may hold the pipe open: the end of the pipe is no sure sign.
            gone = self._is_gone()
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=min(left_s, 0.1))
            if gone:
                return None

    def _is_gone(self) -> bool:
        # Not reaped yet, so that the process group keeps its name until `close` has killed the rest of it.
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _last_words(self) -> str:
        ends_s = time.monotonic() + GRACE_S
        while not (gone := self._is_gone()) and time.monotonic() < ends_s:
            time.sleep(0.01)
        self._errors.seek(0)
        lines = WARNING.sub("", self._errors.read().decode(errors="replace")).strip().splitlines()
        self.close()
        code = self._process.returncode
        how = "ended with " + (f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")
        said = f": {lines[-1].strip()[:200]}" if lines else ""
        return f"the worker {how if gone else 'closed its channel to the runner'}{said}"

    def close(self) -> None:
        """Kills the process and all it started."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # A process within the driver may take its time to go: nobody waits for that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=GRACE_S)
        os.close(self._requests)
        self._errors.close()
