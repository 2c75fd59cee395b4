"""The workers of a sweep: one process a backend, alive until its last case, one at work at a time."""

from __future__ import annotations

import concurrent.futures
import os
import time
from collections.abc import Callable, Collection
from typing import Any

from lbench.isolation import ProcessWorker, Worker

START_TIMEOUT_S = 180.0


class Crew:
    """Workers by backend. No library meets what another has left behind in a process."""

    def __init__(self, device: str, make_worker: Callable[[], Worker] = ProcessWorker) -> None:
        self._device, self._make = device, make_worker
        self._workers: dict[str, Worker] = {}
        self._started: set[str] = set()
        self._later: list[str] = []
        """Summoned, but yet to begin."""

    def summon(self, backends: Collection[str]) -> None:
        """Lets processes begin, so many at once as there are cores: they then get ready side by side.

        For a time in which nothing is sampled. The next so many begin once the first of them is wanted.
        """
        waiting = [backend for backend in backends if backend not in self._workers]
        at_once = os.cpu_count() or 1
        self._later = waiting[at_once:]
        for backend in waiting[:at_once]:
            self._workers[backend] = self._make()
            self._workers[backend].send({"do": "start", "device": self._device, "backend": backend})

    def start(self, backend: str, timeout_s: float = START_TIMEOUT_S) -> float:
        """Sees to it that a backend's worker is ready for a request; the seconds that took.

        Raises what the worker raises, which is then gone.
        """
        if backend in self._started:
            return 0.0
        started = time.perf_counter()
        if backend not in self._workers:
            self.summon(dict.fromkeys([backend, *self._later]))
        try:
            self._workers[backend].receive(timeout_s)
        except BaseException:
            self.dismiss([backend])
            raise
        self._started.add(backend)
        return time.perf_counter() - started

    def ask(self, backend: str, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """The answer of a backend's worker, started before; raises Died or TimedOut."""
        return self._workers[backend].ask(request, timeout_s)

    @property
    def process_ids(self) -> set[int]:
        """Of the workers that are processes of their own."""
        found = (getattr(worker, "process_id", None) for worker in self._workers.values())
        return {process_id for process_id in found if process_id is not None}

    def dismiss(self, backends: Collection[str]) -> None:
        """Ends the workers of these backends; one that is asked for again is a new one."""
        leaving = [self._workers.pop(backend) for backend in backends if backend in self._workers]
        self._started -= set(backends)
        if leaving:
            # At once: a process takes its time to give up a GPU, and Ctrl-C should not wait for each in turn.
            with concurrent.futures.ThreadPoolExecutor(len(leaving)) as pool:
                list(pool.map(lambda worker: worker.close(), leaving))

    def keep(self, backends: Collection[str]) -> None:
        """Ends all workers but those of these backends."""
        self.dismiss([backend for backend in self._workers if backend not in set(backends)])
