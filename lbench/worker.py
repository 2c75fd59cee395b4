"""The worker: measures one case after another, in a process of its own or in-process for tests.

Requests and answers are lines of JSON. As a process it keeps the real standard output for answers and sends
whatever libraries print to standard error.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import sys
import time
from typing import Any

from lbench.backends.spec import Unsupported
from lbench.case import Case
from lbench.timing import Stopping

Outcome = dict[str, Any]
"""Fields of a row: verdict, reason, times_ms, enqueue_us, first_call_s, verify_s, memory, errors ..."""


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Carries out one request: `probe` describes the device, `case` measures a case."""
    if request["do"] == "probe":
        return _probe(request["device"])
    case = Case.from_dict(request["case"])
    return measure_case(case, request["device"], Stopping(**request["stopping"]))


def _probe(asked: str | None) -> dict[str, Any]:
    from lbench import environment
    from lbench.errors import UsageError

    try:
        device = environment.choose_device(asked)
    except UsageError as error:
        return {"usage_error": str(error)}
    return {
        "device": device,
        "environment": environment.describe(device),
        "copy_bandwidth_gb_s": environment.copy_bandwidth_gb_s(device),
    }


def measure_case(case: Case, device: str, stopping: Stopping) -> Outcome:
    """Builds, compiles, verifies and times one case; every failure becomes a verdict with its reason."""
    import torch

    stage = _Stage()
    outcome: Outcome = {}
    try:
        _measure(case, device, stopping, stage, outcome)
    except Unsupported as error:
        outcome |= {"verdict": "unsupported", "reason": str(error)}
    except ImportError as error:
        outcome |= {"verdict": "unavailable", "reason": _one_line(error)}
    except torch.cuda.OutOfMemoryError as error:
        outcome |= {"verdict": "out_of_memory", "reason": f"in {stage.name}: {_one_line(error)}"}
    except Exception as error:  # whatever a backend raises is data: the row says it and the sweep goes on
        verdict = "out_of_memory" if _is_out_of_memory(error) else "failed"
        reason = f"in {stage.name}: {type(error).__name__}: {_one_line(error)}"
        outcome |= {"verdict": verdict, "reason": reason}
    gc.collect()
    if device.startswith("cuda"):
        _give_memory_back()
    return outcome


@dataclasses.dataclass
class _Stage:
    """Where in a case the worker is, so that a failure can say it."""

    name: str = "set-up"


def _measure(case: Case, device: str, stopping: Stopping, stage: _Stage, outcome: Outcome) -> None:
    from lbench import workload
    from lbench.clock import clock_of
    from lbench.memory import peak_bytes
    from lbench.timing import sample
    from lbench.verify import verify

    _use(device)
    work = workload.build(case, device)
    clock = clock_of(device)
    clock.wait()

    stage.name = "the first call"
    started = time.perf_counter()
    work.call()
    clock.wait()
    outcome["first_call_s"] = time.perf_counter() - started

    stage.name = "the memory pass"
    started = time.perf_counter()
    result, peak = peak_bytes(work.call, device)
    clock.wait()
    call_s = time.perf_counter() - started
    outputs = work.outputs(result)
    outcome["memory"] = _ledger(work, outputs, peak)

    stage.name = "verification"
    started = time.perf_counter()
    verification = verify(case, work.inputs, outputs, work.output_gradient)
    clock.wait()
    outcome["verify_s"] = time.perf_counter() - started
    outcome["errors"] = {name: dataclasses.asdict(error) for name, error in verification.errors.items()}
    outcome["limits"] = {name: dataclasses.asdict(limit) for name, limit in verification.limits.items()}
    outcome["coverage"] = verification.coverage
    outcome |= {"verdict": verification.verdict, "reason": verification.reason}
    del result, outputs
    if verification.verdict != "ok":
        return

    stage.name = "timing"
    sampled = sample(work.call, clock, stopping, call_s)
    outcome |= dataclasses.asdict(sampled)


def _ledger(work: Any, outputs: dict[str, Any], peak: int) -> dict[str, int]:
    inputs = [*work.inputs.tensors.values(), *work.inputs.constants.values()]
    if work.output_gradient is not None:
        inputs.append(work.output_gradient)
    made = {name: tensor.numel() * tensor.element_size() for name, tensor in outputs.items()}
    return {
        "inputs": sum(tensor.numel() * tensor.element_size() for tensor in inputs),
        "outputs": sum(size for name, size in made.items() if name in ("o", "state")),
        "gradients": sum(size for name, size in made.items() if name not in ("o", "state")),
        "peak": peak,
    }


def _use(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.set_device(device)


def _give_memory_back() -> None:
    import torch

    torch.cuda.empty_cache()


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 300 else text[:299] + "\u2026"


def main() -> None:
    """Serves requests from standard input until it closes."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    import torch  # noqa: F401  (now, while nothing is measured yet in this process)

    for line in sys.stdin:
        channel.write(json.dumps(answer(json.loads(line))) + "\n")
        channel.flush()


if __name__ == "__main__":
    main()
