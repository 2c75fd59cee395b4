"""What bounds a kernel, in a sentence, from what Nsight Compute counted."""

from __future__ import annotations

from lbench.profiling.counters import DRAM, L2, SM, TENSOR, Counters

NEAR = 0.6
"""A unit that is this busy bounds a kernel: the rest is tails, and waits that no kernel is free of."""
FEW_WARPS = 0.25
STALLS = {
    "long_scoreboard": "global memory",
    "short_scoreboard": "shared memory or special functions",
    "barrier": "other warps at a barrier",
    "math_pipe_throttle": "a busy arithmetic pipe",
    "mio_throttle": "the queue of shared memory",
    "lg_throttle": "the queue of global memory",
    "tex_throttle": "the queue of the texture unit",
    "wait": "a fixed delay of the instruction before",
    "gmma": "a product of a warp group (wgmma)",
    "not_selected": "their turn, others being ready",
    "no_instruction": "instructions to arrive",
    "no_instructions": "instructions to arrive",
    "branch_resolving": "a branch to be decided",
    "imc_miss": "constants to arrive",
    "drain": "stores at their end",
    "membar": "a memory barrier",
    "dispatch_stall": "the dispatcher",
    "sleeping": "the end of a sleep",
}
"""Stall reasons -> what a warp waits for."""


def sentence(one: Counters, multiprocessors: int | None = None) -> str:
    """What bounds a kernel; says so where the counters do not tell."""
    dram, tensor, l2, sm = (one.share(names) for names in (DRAM, TENSOR, L2, SM))
    if dram is None and tensor is None and sm is None:
        return "not told: ncu gave none of its throughputs"
    if _busy(dram):
        told = f"bound by memory: DRAM moves {_percent(dram)} of what it can"
    elif _busy(tensor):
        told = f"bound by the tensor cores, which are {_percent(tensor)} busy"
    elif _busy(l2):
        told = f"bound by the L2, which is {_percent(l2)} busy"
    elif _busy(sm):
        told = f"bound by the multiprocessors' pipes, the busiest at {_percent(sm)}"
    else:
        idle = f"DRAM {_percent(dram)}, tensor cores {_percent(tensor)} busy"
        told = f"bound by latency: {idle}{_why(one, multiprocessors)}"
    return told + _waits(one)


def _busy(share: float | None) -> bool:
    return share is not None and share >= NEAR


def _percent(share: float | None) -> str:
    return "not told" if share is None else f"{share:.0%}"


def _why(one: Counters, multiprocessors: int | None) -> str:
    blocks = one.blocks
    if multiprocessors and one.grid and blocks < multiprocessors:
        idle = f"{multiprocessors - blocks} of {multiprocessors} multiprocessors"
        few = "1 block leaves" if blocks == 1 else f"{blocks} blocks leave"
        return f"; {few} {idle} without work"
    if one.occupancy is not None and one.occupancy < FEW_WARPS:
        return f"; {one.occupancy:.0%} of the warps a multiprocessor can hold are there to hide it"
    return ""


def _waits(one: Counters) -> str:
    for name, share in one.stalls.items():
        return (
            f"; warps wait most for {STALLS.get(name, name.replace('_', ' '))} ({share:.0%} of their waiting)"
        )
    return ""
