"""The worker: measures one case after another, in a process of its own or in-process for tests.

Requests and answers are lines of JSON, through file descriptors of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from lbench import replay
from lbench.backends.spec import Unsupported
from lbench.case import Case
from lbench.measurement import Outcome, Process, Stages, gpu_uuid, prepare
from lbench.model_measurement import prepare_model
from lbench.protocol import Protocol, Stopping
from lbench.sampling import sample_round
from lbench.timers import Turn

PR_SET_PDEATHSIG = 1
CLEARED_BYTES_PER_S = 4e11
"""At which the driver clears memory that was given back: an H100 needs 2.5 ms a GiB (LOG.md)."""
_process = Process()


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Carries out one request and says in `spent` what its time went to.

    `locate` names the device, `probe` describes it, `start` makes the process ready for it; `prepare`
    compiles and verifies a case, `round` takes one round of its samples, `verify` only checks it, `profile`
    runs tools around one that was verified.
    """
    done = request["do"]
    if replay.is_replay(request["device"]):
        return replay.answer(request)
    if done == "locate":
        return _locate(request["device"])
    if done == "probe":
        return _probe(request["device"])
    if done == "start":
        return _start(request["device"], request.get("backend", ""))
    case, device = Case.from_dict(request["case"]), request["device"]
    protocol = None if done == "verify" else Protocol.from_dict(request["protocol"])
    if done == "round":
        assert protocol is not None
        return _guarded(
            device, lambda outcome: outcome.update(_round(case, device, protocol, request["turn"]))
        )
    if done == "profile":
        return _guarded(device, lambda outcome: _profile(case, device, request, outcome))
    limits = request.get("limits", {})
    return _guarded(device, lambda outcome: _prepare(case, device, protocol, outcome, limits))


def measure_case(case: Case, device: str, stopping: Stopping) -> Outcome:
    """Prepares one case and takes all its samples in one round."""
    protocol = Protocol(stopping=dataclasses.replace(stopping, rounds=1, slow_rounds=1, very_slow_rounds=1))
    request = {"case": case.as_dict(), "device": device, "protocol": protocol.as_dict()}
    outcome = answer({**request, "do": "prepare"})
    if outcome["verdict"] != "ok":
        return outcome
    turn = {"number": 0, "call_s": outcome["call_s"], "enqueue_s": outcome["enqueue_s"]}
    return outcome | answer({**request, "do": "round", "turn": turn})


def _round(case: Case, device: str, protocol: Protocol, turn: dict[str, Any]) -> Outcome:
    return {"verdict": "ok", "reason": "", **sample_round(case, device, protocol, Turn(**turn), _process)}


def _prepare(
    case: Case,
    device: str,
    protocol: Protocol | None,
    outcome: Outcome,
    limits: Mapping[str, Mapping[str, float]],
) -> None:
    if case.model:
        prepare_model(case, device, protocol, _process, outcome)
    else:
        prepare(case, device, protocol, _process, outcome, limits)


def _profile(case: Case, device: str, request: dict[str, Any], outcome: Outcome) -> None:
    """The case as a run takes it, verified first; then what the tools saw of it, in a folder."""
    from pathlib import Path

    from lbench import workload
    from lbench.measurement import describe_call
    from lbench.profiling import capture

    _prepare(case, device, None, outcome, {})
    if outcome["verdict"] != "ok":
        return
    stages = _process.stages
    with stages.enter("set-up", "build"):
        work = workload.build(case, device)
    with stages.enter("timing of the host", "warm_up"):
        work.call()
        describe_call(work, device, Protocol.from_dict(request["protocol"]), 0.0, outcome)
    with stages.enter("the profile", "profile"):
        folder = Path(request["folder"])
        call_s, enqueue_s = outcome["call_s"], outcome["enqueue_s"]
        outcome["profile"] = capture.record(work, device, folder, call_s, enqueue_s, request["wanted"])


def _locate(asked: str | None) -> dict[str, Any]:
    from lbench import environment
    from lbench.errors import UsageError

    try:
        device = environment.choose_device(asked)
    except UsageError as error:
        return {"usage_error": str(error)}
    return {"device": device, "uuid": gpu_uuid(device)}


def _probe(device: str) -> dict[str, Any]:
    from lbench import environment

    return {
        "environment": environment.describe(device),
        "copy_bandwidth_gb_s": environment.copy_bandwidth_gb_s(device),
        "matrix_tflop_s": environment.matrix_tflop_s(device),
    }


def _start(device: str, backend: str) -> dict[str, Any]:
    """All that a first case would find slow: torch, a context on the device, its profiler, imports."""
    import torch

    from lbench import attest

    _process.compilations.watch()
    _import_packages(backend)
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
        attest.kernels_of(lambda: torch.zeros(1, device=device), device)
    _settle()
    return {"device": device}


def _import_packages(name: str) -> None:
    """Imports what a backend is made of, as other workers do meanwhile; what fails, its first case tells."""
    from lbench import backends

    if not name or ":" in name:
        return
    backend = backends.load(name)
    for switch, value in backend.switches.items():
        os.environ.setdefault(switch, value)
    for package in backend.packages:
        with contextlib.suppress(Exception, SystemExit):
            importlib.import_module(package)


def _guarded(device: str, measure: Callable[[Outcome], None]) -> Outcome:
    """What `measure` puts into an outcome; every failure becomes a verdict with its reason."""
    import torch

    stages = _process.stages = Stages()
    outcome: Outcome = {}
    try:
        _use(device)
        measure(outcome)
    except Unsupported as error:
        outcome |= {"verdict": "unsupported", "reason": str(error)}
    except ImportError as error:
        outcome |= {"verdict": "unavailable", "reason": _one_line(error)}
    except torch.cuda.OutOfMemoryError as error:
        outcome |= {"verdict": "out_of_memory", "reason": f"in {stages.name}: {_one_line(error)}"}
    except (Exception, SystemExit) as error:  # whatever a backend raises is data, and the sweep goes on
        verdict = "out_of_memory" if _is_out_of_memory(error) else "failed"
        reason = f"in {stages.name}: {type(error).__name__}: {_one_line(error)}"
        outcome |= {"verdict": verdict, "reason": reason}
    with stages.enter("clearing up", "free"):
        _settle()
        freed_bytes = _give_memory_back() if device.startswith("cuda") else 0
    with stages.enter("clearing up", "warm_up"):  # of whose turn is next
        time.sleep(freed_bytes / CLEARED_BYTES_PER_S)
    return outcome | {"spent": {name: round(seconds, 6) for name, seconds in stages.spent.items()}}


def _settle() -> None:
    """Collects cycles; what is alive then belongs to libraries: no later collection need look at it again."""
    gc.collect()
    gc.freeze()


def _use(device: str) -> None:
    import torch

    # A library may have changed them in an earlier case.
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    if device.startswith("cuda"):
        torch.cuda.set_device(device)


def _give_memory_back() -> int:
    """Returns the device's memory: so many bytes, which the driver then clears at others' cost."""
    import torch

    held_bytes = torch.cuda.memory_reserved()
    try:
        torch.cuda.empty_cache()
    except RuntimeError:  # an illegal access broke the context: the runner replaces this worker
        return 0
    return held_bytes - torch.cuda.memory_reserved()


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 300 else text[:299] + "\u2026"


def main(arguments: list[str]) -> None:
    """Serves requests from one file descriptor, answers into another, until the first one closes.

    `arguments`: both numbers, and what to import before the first request.
    """
    requests, answers, *preloaded = arguments
    _die_with_the_runner()
    for channel in (requests, answers):
        os.set_inheritable(int(channel), False)
    for package in preloaded:
        importlib.import_module(package)
    with os.fdopen(int(requests)) as asked, os.fdopen(int(answers), "w", encoding="utf-8") as answered:
        for line in asked:
            answered.write(json.dumps(answer(json.loads(line))) + "\n")
            answered.flush()


def _die_with_the_runner() -> None:
    """Asks the system to kill this process with its parent: a call that hangs must not keep the device."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
