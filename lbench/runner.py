"""The sweep: takes cases one after another, lets a worker measure each, and writes a row for every one.

A failure is data: the row says what happened, the worker is replaced, the sweep goes on.
"""

from __future__ import annotations

import datetime
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lbench import backends
from lbench.backends.spec import Backend
from lbench.case import Case
from lbench.environment import lbench_commit
from lbench.errors import UsageError
from lbench.isolation import Died, ProcessWorker, TimedOut, Worker
from lbench.packages import install_line
from lbench.prediction import reason_to_skip
from lbench.results import FINAL, Results, Row, Writer, content_id
from lbench.suite import Suite

CLEAN = frozenset({"ok", "wrong", "unsupported", "unavailable", "skipped"})
"""Verdicts after which a worker may be kept; after the others its state is not to be trusted."""
PROBE_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a probing worker found out."""

    device: str
    """The torch device, `cuda:0` or `cpu`."""
    environment: dict[str, Any]
    copy_bandwidth_gb_s: float

    @property
    def kind(self) -> str:
        """cuda | cpu."""
        return self.device.partition(":")[0]

    @property
    def name(self) -> str:
        """The GPU's or the CPU's name."""
        return str(self.environment["gpu"] or self.environment["cpu"])

    @property
    def memory_bytes(self) -> int | None:
        """Memory of the device."""
        mib = self.environment.get("gpu_memory_mib" if self.kind == "cuda" else "memory_mib")
        return None if mib is None else mib * 2**20

    @property
    def capability(self) -> tuple[int, int] | None:
        """CUDA compute capability."""
        pair = self.environment.get("capability")
        return None if pair is None else (pair[0], pair[1])


def probe(asked: str | None, make_worker: Callable[[], Worker] = ProcessWorker) -> Device:
    """Finds out in a worker what device there is. UsageError where the one asked for is not."""
    worker = make_worker()
    try:
        found = worker.ask({"do": "probe", "device": asked}, PROBE_TIMEOUT_S)
    except (Died, TimedOut) as error:
        raise UsageError(f"the device could not be probed: {error}; see `lbench doctor`") from error
    finally:
        worker.close()
    if "usage_error" in found:
        raise UsageError(found["usage_error"])
    return Device(**found)


@dataclass(kw_only=True)
class Sweep:
    """One command's way through the cases of a suite."""

    suite: Suite
    cases: list[Case]
    device: Device
    writer: Writer
    earlier: Results | None = None
    """Rows of the folder that is resumed."""
    make_worker: Callable[[], Worker] = ProcessWorker
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    rows: dict[str, Row] = field(default_factory=dict)
    _worker: Worker | None = None
    _spare: Worker | None = None
    _worker_backend: str = ""

    def __post_init__(self) -> None:
        self.rows = dict(self.earlier.rows) if self.earlier else {}

    @property
    def todo(self) -> list[Case]:
        """Cases that have no final row yet."""
        return [case for case in self.cases if not self._is_final(case)]

    def _is_final(self, case: Case) -> bool:
        return case.key in self.rows and self.rows[case.key].verdict in FINAL

    def measure(self, starting: Callable[[Case], None] = lambda _: None) -> Iterator[Row]:
        """Measures what is to do, yielding each row once it is safely written."""
        self._write_documents()
        try:
            for case in self.todo:
                starting(case)
                row = self._row_of(case)
                self.rows[case.key] = row
                self.writer.append(row)
                yield row
        finally:
            self._end_workers()

    def _write_documents(self) -> None:
        environment = content_id(self.device.environment)
        self.writer.document("environments", environment, self.device.environment)
        run = {
            "run": self.run,
            "started_at": _now(),
            "environment": environment,
            "copy_bandwidth_gb_s": self.device.copy_bandwidth_gb_s,
            "lbench_commit": lbench_commit(),
            "switches": self._switches(),
            "suite": self.suite.as_dict(),
        }
        self.writer.document("runs", self.run, run)

    def _switches(self) -> dict[str, str]:
        """Environment variables that backends of this run pin, with the values in force."""
        used = {case.backend: backends.load(case.backend, case.mechanism) for case in self.cases}
        pinned = {name: value for backend in used.values() for name, value in backend.switches.items()}
        return {name: os.environ.get(name, value) for name, value in pinned.items()}

    def _row_of(self, case: Case) -> Row:
        started_at, started = _now(), time.perf_counter()
        backend = backends.load(case.backend, case.mechanism)
        outcome = self._refusal(case, backend) or self._measured(case)
        return Row(
            case=case,
            suite=self.suite.name,
            run=self.run,
            started_at=started_at,
            wall_s=time.perf_counter() - started,
            **outcome,
        )

    def _refusal(self, case: Case, backend: Backend) -> dict[str, Any] | None:
        """The outcome of a case that need not reach a worker."""
        if limit := backend.limits.unmet(case, self.device.capability):
            return {"verdict": "unsupported", "reason": limit}
        if package := backends.missing_package(backend):
            reason = f"package {package} is not installed; {install_line(package)}"
            return {"verdict": "unavailable", "reason": reason}
        skip = reason_to_skip(
            case,
            self.rows.values(),
            self.suite.stopping,
            self.suite.cell_timeout_s,
            self.device.memory_bytes,
            memory_is_safe=self.device.kind == "cuda",
        )
        return {"verdict": "skipped", "reason": skip} if skip else None

    def _measured(self, case: Case) -> dict[str, Any]:
        request = {
            "do": "case",
            "case": case.as_dict(),
            "device": self.device.device,
            "stopping": self.suite.as_dict()["stopping"],
        }
        try:
            outcome = self._worker_for(case).ask(request, self.suite.cell_timeout_s)
        except Died as error:
            outcome = {"verdict": "crashed", "reason": str(error)}
        except TimedOut as error:
            outcome = {"verdict": "timeout", "reason": str(error)}
        if outcome["verdict"] not in CLEAN:
            self._end_worker()
        for name in {"times_ms", "enqueue_us", "doubts"} & outcome.keys():
            outcome[name] = tuple(outcome[name])
        return outcome

    def _worker_for(self, case: Case) -> Worker:
        """One worker a backend: no library meets what another has left behind in the process."""
        if self._worker is None or self._worker_backend != case.backend:
            self._end_worker()
            self._worker, self._worker_backend = self._spare or self.make_worker(), case.backend
            # Start-up (importing torch takes seconds) happens beside the measurements, where it cannot
            # disturb them: the next worker waits with a core of its own and nothing on the device yet.
            roomy = self.device.kind == "cuda" and (os.cpu_count() or 1) >= 4
            self._spare = self.make_worker() if roomy else None
        return self._worker

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = None

    def _end_workers(self) -> None:
        self._end_worker()
        if self._spare is not None:
            self._spare.close()
        self._spare = None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
