"""The sweep: workers prepare the cases of one length, then take turns at their samples; every row is written.

A failure is data: the row says what happened, the worker is replaced, the sweep goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lbench import backends, preflight, rotation
from lbench.barriers import barrier
from lbench.case import Case
from lbench.crew import Crew
from lbench.device import Device
from lbench.doubts import Doubt
from lbench.environment import code_commit, lbench_commit
from lbench.errors import WriteFailed
from lbench.isolation import Died, ProcessWorker, TimedOut, Worker
from lbench.machine import memory_is_limited
from lbench.plan import Plan
from lbench.prediction import reason_to_skip
from lbench.replay import is_replay
from lbench.results import Results, Row, Writer, content_id
from lbench.rotation import Member
from lbench.suite import Suite

CLEAN = frozenset({"ok", "wrong", "unsupported", "unavailable", "skipped"})
"""Verdicts after which a worker may be kept; after the others its state is not to be trusted."""


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
    plan: Plan | None = None
    """Keeps the sweep within its budget."""
    verify_only: bool = False
    """Nothing is timed: rows are `ok` without samples."""
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    rows: dict[str, Row] = field(default_factory=dict)
    doing: str = ""
    """What happens to the case in hand."""
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds of the whole sweep by what they went to; `wall` is all of them."""
    preflight: dict[str, Any] = field(default_factory=dict)
    """What `look` found before anything was timed."""

    def __post_init__(self) -> None:
        self.rows = dict(self.earlier.rows) if self.earlier else {}
        self._crew = Crew(self.device.device, self.make_worker)
        self._documents: set[str] = set()
        self._run_document: dict[str, Any] = {}
        self._crowded: list[Case] = []

    @property
    def todo(self) -> list[Case]:
        """Cases that have no final row yet."""
        return [case for case in self.cases if not self._is_final(case)]

    def _is_final(self, case: Case) -> bool:
        return case.key in self.rows and self.rows[case.key].is_final

    def look(self) -> list[str]:
        """What might disturb the run, in words; kept with the run."""
        self.preflight = preflight.look(self.device.kind, self.device.uuid, self.writer.folder)
        return preflight.warnings(self.preflight, self.device.kind)

    def measure(self, starting: Callable[[Case], None] = lambda _: None) -> Iterator[Row]:
        """Measures what is to do, yielding each row once it is safely written.

        The rows of cases that take turns come when their last round has ended.
        """
        with self.session():
            waiting = rotation.groups(self.todo)
            while waiting:
                yield from self.rows_of(waiting.pop(0), starting)
                self._crew.keep({case.backend for group in waiting for case in group})

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Holds the device, and writes the run's document before and after; workers end with it."""
        started = time.perf_counter()
        try:
            with self._hold():
                self._write_documents()
                try:
                    yield
                except BaseException:  # of a sweep that is stopped too, what it was for is known
                    with contextlib.suppress(WriteFailed):
                        self._write_spent(started)
                    raise
                self._write_spent(started)
        finally:
            self._crew.keep(())
            self.writer.close()

    def _write_spent(self, started: float) -> None:
        self.spent["wall"] = time.perf_counter() - started
        self.writer.document("runs", self.run, {**self._run_document, "spent": self.spent})

    def _hold(self) -> contextlib.AbstractContextManager[Any]:
        """The lock that keeps two runs from timing on one device; checks on a CPU need not wait for it."""
        if self.verify_only and self.device.kind == "cpu":
            return contextlib.nullcontext()
        return preflight.hold(self.device.uuid or self.device.device)

    def keep_workers(self, backends: Collection[str]) -> None:
        """Ends the workers of all other backends: even an idle one holds a context on the device."""
        self._crew.keep(backends)

    def _write_documents(self) -> None:
        if not self.preflight:
            self.look()
        environment = content_id(self.device.environment)
        self.writer.document("environments", environment, self.device.environment)
        self._run_document = {
            "run": self.run,
            "started_at": _now(),
            "environment": environment,
            "copy_bandwidth_gb_s": self.device.copy_bandwidth_gb_s,
            "matrix_tflop_s": dict(self.device.matrix_tflop_s),
            "lbench_commit": lbench_commit(),
            "code_commit": code_commit(),
            "switches": self._switches(),
            "suite": self.suite.as_dict(),
            "cases": len(self.cases),
            "preflight": self.preflight,
        }
        self.writer.document("runs", self.run, self._run_document)

    def _switches(self) -> dict[str, str]:
        """Environment variables that backends of this run pin, with the values in force."""
        used = {case.backend: backends.load(case.backend, case.mechanism) for case in self.cases}
        pinned = {name: value for backend in used.values() for name, value in backend.switches.items()}
        return {name: os.environ.get(name, value) for name, value in pinned.items()}

    def rows_of(self, group: list[Case], starting: Callable[[Case], None] = lambda _: None) -> Iterator[Row]:
        """The rows of cases that are compared with each other; to be called within a session.

        What ran out of memory beside idle workers is measured again at the end, with nobody beside it.
        """
        able = [case for case in group if not (self._cannot(case) or self._hopeless(case))]
        self._crew.summon({case.backend: None for case in able})
        members = []
        for case in group:
            self.doing = "compiling and verifying"
            starting(case)
            member = self._prepared(case)
            if not isinstance(member, Row):
                members.append(member)
            elif case not in self._crowded:
                yield self._keep(member)
        has_pair = any(row.twin for row in self.rows.values())
        failed = set()
        for row in self._turns(rotation.with_twin(members, has_pair), starting):
            failed.add(row.case.key)
            yield row
        strange = self._strangers()
        for member in members:
            if member.case.key not in failed and member.case not in self._crowded:
                member.doubts += strange
                yield self._keep(self._row(member, member.outcome()))
        again, self._crowded = self._crowded, []
        for case in again:
            self._dismiss({case.backend for case in self.cases})
            yield from self.rows_of([case], starting)

    def _prepared(self, case: Case) -> Member | Row:
        """A case ready to be sampled, or the row of one that will not be."""
        member = Member(case=case, prepared={}, protocol=self.suite.protocol, started_at=_now())
        request = {"do": "verify" if self.verify_only else "prepare", "limits": self._limits_of(case)}
        outcome = self._cannot(case) or self._should_not(case) or self._asked(member, request)
        if outcome["verdict"] != "ok" or self.verify_only:
            return self._row(member, outcome)
        member.prepared = {name: value for name, value in outcome.items() if name != "spent"}
        return member

    def _limits_of(self, case: Case) -> dict[str, dict[str, float]]:
        """The errors that another backend of the mechanism was allowed for the same inputs in this run."""
        for row in self.rows.values():
            alike = dataclasses.replace(row.case, backend=case.backend) == case
            if alike and row.run == self.run and row.limits:
                return row.limits
        return {}

    def _turns(self, taking: list[Member], starting: Callable[[Case], None]) -> Iterator[Row]:
        """Lets members take their rounds in turn; the rows of those that fail at it."""
        number = 0
        while not all(member.done for member in taking):
            for member in rotation.order(taking, number):
                if member.done or member not in taking:
                    continue
                total = member.protocol.stopping.rounds_of(member.prepared["call_s"])
                self.doing = f"round {len(member.rounds) + 1} of {total}"
                starting(member.case)
                outcome = self._asked(member, {"do": "round", "turn": member.turn()})
                if outcome["verdict"] == "ok":
                    member.add(outcome)
                else:
                    taking = [other for other in taking if other.case is not member.case]
                    if member.case not in self._crowded:
                        yield self._keep(self._row(member, outcome))
            number += 1

    def _asked(self, member: Member, request: dict[str, Any]) -> dict[str, Any]:
        """A worker's answer about a case, or the verdict on a worker that gave none."""
        case, left_s = member.case, self.suite.cell_timeout_s - member.wall_s
        request |= {
            "case": case.as_dict(),
            "device": self.device.device,
            "protocol": member.protocol.as_dict(),
        }
        spent: dict[str, float] = {}
        started = time.perf_counter()
        try:
            spent["start_up"] = self._crew.start(case.backend)
            started = time.perf_counter()
            outcome = self._crew.ask(case.backend, request, max(left_s, 0.0))
            rotation.add_up(spent, outcome.get("spent", {}))
        except Died as error:
            outcome = {"verdict": "crashed", "reason": f"in {self.doing}: {error}"}
            spent["lost"] = time.perf_counter() - started
        except TimedOut as error:
            outcome = {"verdict": "timeout", "reason": self._late(str(error), "start_up" in spent)}
            spent["lost"] = time.perf_counter() - started
        member.wall_s += time.perf_counter() - started
        rotation.add_up(member.spent, spent)
        rotation.add_up(self.spent, spent)
        if outcome["verdict"] == "out_of_memory" and self._has_company():
            self._crowded.append(case)
        if outcome["verdict"] not in CLEAN:
            self._dismiss([case.backend])
        return outcome

    def _dismiss(self, backends: Collection[str]) -> None:
        self._crew.dismiss(backends)
        if self.plan is not None:
            self.plan.ended(backends)

    def _late(self, said: str, asked: bool) -> str:
        """What was waited for: all of a case's time, of which earlier answers had taken some; or a start."""
        if not asked:
            return f"its worker was not ready: {said}"
        return f"in {self.doing}: its {self.suite.cell_timeout_s:g} s are over"

    def _cannot(self, case: Case) -> dict[str, Any] | None:
        """The outcome of a case for which its backend is not made, or not installed."""
        found = reason_it_cannot(case, self.device)
        return {"verdict": found[0], "reason": found[1]} if found else None

    def _should_not(self, case: Case) -> dict[str, Any] | None:
        """The outcome of a case that is predicted not to end well, or not to fit into the sweep's budget."""
        skip = self._hopeless(case)
        if not skip and self.plan is not None:
            skip = self.plan.reason_to_skip(case, self.rows.values())
        return {"verdict": "skipped", "reason": skip} if skip else None

    def _hopeless(self, case: Case) -> str | None:
        return reason_not_to_try(case, self.rows.values(), self.suite, self.device, self.verify_only)

    def _strangers(self) -> list[str]:
        """The doubt that other processes than ours compute on the card."""
        if not self.device.uuid:
            return []
        own = self._crew.process_ids
        found = preflight.look(self.device.kind, self.device.uuid, self.writer.folder, own)["other_processes"]
        return [Doubt.OTHER_PROCESS.told(f"{found} on the GPU")] if found else []

    def _has_company(self) -> bool:
        """Whether idle workers held memory of the card too: each has a context there."""
        return bool(self.device.uuid) and len(self._crew.process_ids) > 1

    def _row(self, member: Member, outcome: dict[str, Any]) -> Row:
        fields = {name: value for name, value in outcome.items() if name not in rotation.GIVEN_ON}
        if member.case.model:
            from lbench import models

            fields["model"] = {
                "params": models.of_case(member.case).parameters,
                **fields.get("model", {}),
            }
        if member.used:
            fields["protocol"] = content_id(member.used)
            if fields["protocol"] not in self._documents:
                self.writer.document("protocols", fields["protocol"], member.used)
                self._documents.add(fields["protocol"])
        return Row(
            case=member.case,
            suite=self.suite.name,
            run=self.run,
            started_at=member.started_at,
            wall_s=member.wall_s,
            spent=member.spent,
            **fields,
        )

    def _keep(self, row: Row) -> Row:
        """Writes a row."""
        self.rows[row.case.key] = row
        self.writer.append(row)
        if self.plan is not None:
            self.plan.landed(row.case)
        return row


def reason_it_cannot(case: Case, device: Device) -> tuple[str, str] | None:
    """Verdict and reason of a case for which its backend is not made, or not installed."""
    if is_replay(device.device):
        return None  # the rows say it
    return barrier(case, device.capability)


def reason_not_to_try(
    case: Case, rows: Iterable[Row], suite: Suite, device: Device, verify_only: bool = False
) -> str | None:
    """Why a case is predicted not to end well, given the rows there are."""
    if case.model and not (verify_only or is_replay(device.device)):
        from lbench.models import room

        if reason := room.reason_not_to_try(case, device.memory_bytes, device.kind):
            return reason
    return reason_to_skip(
        case,
        rows,
        suite.stopping,
        suite.cell_timeout_s,
        device.memory_bytes,
        memory_is_safe=device.kind == "cuda" or memory_is_limited(),
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
