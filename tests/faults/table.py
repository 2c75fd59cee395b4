"""The faults that a sweep is proven to survive; the table of DESIGN.md is made from this one.

python tests/faults/table.py        prints the table
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One line: what is done to a sweep, and what its row, or the run, must say."""

    name: str
    made_by: str
    outcome: str
    """A verdict, `ok` with a doubt, or what the run says."""
    told: str
    """Part of the row's reason or doubts, or of standard error."""
    experiment: str
    """The sweep that it happens in: a function of `experiments`."""
    case: str = ""
    """Part of the key of the case that it happens to; empty where it happens to the run."""
    gpu: bool = False


def _kernel(
    length: int, name: str, made_by: str, outcome: str, told: str, pass_name: str = "fwd", **more
) -> Fault:
    case = f"misbehaving.py:faulty,{pass_name},b{3 if length == 19 else 1},t{length},"
    return Fault(
        name=name, made_by=made_by, outcome=outcome, told=told, experiment="kernels", case=case, **more
    )


def _replay(case: str, name: str, made_by: str, outcome: str, told: str) -> Fault:
    return Fault(name=name, made_by=made_by, outcome=outcome, told=told, experiment="clocks", case=case)


def _run(experiment: str, name: str, made_by: str, outcome: str, told: str) -> Fault:
    return Fault(name=name, made_by=made_by, outcome=outcome, told=told, experiment=experiment)


def _gpu(function: str, name: str, made_by: str, outcome: str, told: str) -> Fault:
    case = f"misbehaving_on_gpu.py:{function},fwd,b1,t128,"
    return Fault(
        name=name, made_by=made_by, outcome=outcome, told=told, experiment="gpu_kernels", case=case, gpu=True
    )


FAULTS = (
    Fault(
        name="out of memory in set-up",
        made_by="RLIMIT_AS and a real allocation",
        outcome="out_of_memory",
        told="in set-up",
        experiment="kernels",
        case="misbehaving_at_import.py:right",
    ),
    _kernel(
        48, "out of memory in forward", "RLIMIT_AS and a real allocation", "out_of_memory", "the first call"
    ),
    _kernel(
        *(48, "out of memory in backward", "RLIMIT_AS and a real allocation", "out_of_memory"),
        *("the first call", "fwdbwd"),
    ),
    _kernel(19, "hang", "sleep with every signal blocked", "timeout", "s are over"),
    _kernel(33, "segmentation fault", "a read at address 0", "crashed", "SIGSEGV"),
    _kernel(35, "the worker is killed", "SIGKILL", "crashed", "SIGKILL"),
    _kernel(
        36, "a library ends the process, its children live on", "os._exit, fork", "crashed", "exit code 5"
    ),
    _kernel(37, "a library asks Python to exit", "sys.exit(4)", "failed", "SystemExit"),
    _kernel(39, "a library prints, and closes standard output", "bytes to file descriptor 1", "ok", ""),
    _kernel(40, "a library changes torch's default dtype and device", "float64, meta", "ok", ""),
    _kernel(41, "wrong results at one length only", "one token 1.5 times too large", "wrong", "o"),
    _kernel(
        *(43, "wrong results in the first call alone", "one token 1.5 times too large", "wrong"),
        "in the first call: o",
    ),
    _kernel(33, "NaN in one gradient", "one element of dq", "wrong", "dq", "fwdbwd"),
    _kernel(42, "results differ from call to call", "by 1e-7", "ok", "not deterministic"),
    _replay("t64,", "the clock jumps ahead", "replay: 5 s in one sample", "ok", "clock jump"),
    _replay("t65,", "the clock is set back", "replay: -5 s in one sample", "ok", "1 discarded: clock jump"),
    _replay("t66,", "slowdown halfway", "replay: 1.3 times from the half on", "ok", "clock drift"),
    _replay("t67,", "the clock drifts", "replay: 30 % over all samples", "ok", "clock drift"),
    _replay("t68,", "thermal slowdown halfway", "replay: the card says so", "ok", "thermal slowdown"),
    _replay("t69,", "NVML gone halfway", "replay: the card says nothing any more", "ok", ""),
    _run("killed_runner", "the runner is killed", "SIGKILL at random moments", "a resume goes on", ""),
    _run("killed_writer", "the runner is killed within a write", "SIGKILL at random moments", "mended", ""),
    _run(
        "interrupted",
        "Ctrl-C while the worker hangs",
        "SIGSTOP, SIGINT",
        "exit 130 within 2 s",
        "--resume goes on",
    ),
    _run("interrupted_anywhere", "Ctrl-C at any moment", "SIGINT at random moments", "exit 130", "--resume"),
    _run("unheard", "nobody reads standard error any more", "a closed pipe", "goes on", ""),
    _run("full_disk", "the disk is full", "a tmpfs of 64 KiB", "exit 1 at the first row", "No space left"),
    _run("file_limit", "a file may not grow", "RLIMIT_FSIZE", "exit 1 at the first row", "File too large"),
    _run("read_only_disk", "the disk turns read-only", "remount", "exit 1 at the first row", "Read-only"),
    _run("truncated", "rows.jsonl is truncated", "truncate", "told, that row again", "is cut off"),
    _run("flipped", "a bit of rows.jsonl flips", "one bit of the file", "told, that row again", "is no row"),
    _gpu("illegal_access", "illegal memory access", "a store far outside", "failed", "illegal memory access"),
    _gpu("device_trap", "a trap on the device", "a device-side assertion", "failed", "device-side assert"),
    _gpu("too_large", "out of GPU memory", "a real allocation", "out_of_memory", "out of memory"),
    _gpu("endless", "a GPU kernel that hangs", "a spinning kernel", "timeout", "s are over"),
    Fault(
        name="NVML gone from the start",
        made_by="a library that cannot be loaded",
        outcome="ok",
        told="",
        experiment="gpu_without_nvml",
        case="lightning_triton,fwd,b1,t1024,",
        gpu=True,
    ),
)


def markdown() -> str:
    """The table of DESIGN.md."""
    lines = ["| fault | made by | verdict, doubt or exit | rows lost |", "|---|---|---|---:|"]
    for fault in FAULTS:
        verdict = f"`{fault.outcome}`" if fault.case else fault.outcome
        doubt = f", {fault.told}" if fault.outcome == "ok" and fault.told else ""
        where = " (GPU)" if fault.gpu else ""
        lines.append(f"| {fault.name}{where} | {fault.made_by} | {verdict}{doubt} | 0 |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
