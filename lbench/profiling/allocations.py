"""Who asked for memory: every allocation of one call with the lines of code it came from."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbench.profiling import trace

FRAMES = 24
"""Innermost frames that are kept of a stack."""
MOST_EVENTS = 200_000
NOT_CALLERS = re.compile(
    r"^(torch|triton|contextlib|functools|threading|runpy|importlib|<)|^lbench/(workload|worker|memory|profiling|attest)"
)
"""Files that pass a request on: what they are asked by is the call site."""
ENGINE = "autograd::engine::evaluate_function: "
NO_FRAME = "(no Python frame: autograd's own thread)"

Change = dict[str, Any]
"""bytes (negative where they are given back), addr, and site: frames, innermost first."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A call site and what it held at the peak."""

    where: str
    bytes: int
    count: int
    """Tensors."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The most that one call held beyond what was there before it."""

    bytes: int
    sites: tuple[Site, ...]
    """They add up to it; the largest first."""


def peak(changes: Sequence[Change]) -> Peak:
    """The peak of a call, by call site; what was there before it and is given back in it is left out."""
    held: dict[Any, Change] = {}
    alive = most = 0
    at_most: list[Change] = []
    for change in _matched(changes):
        if change["bytes"] > 0:
            held[change["addr"]] = change
        else:
            held.pop(change["addr"], None)
        alive += change["bytes"]
        if alive > most:
            most, at_most = alive, list(held.values())
    sites: dict[str, list[int]] = {}
    for change in at_most:
        sites.setdefault(call_site(change["site"]), []).append(change["bytes"])
    made = [Site(where=where, bytes=sum(sizes), count=len(sizes)) for where, sizes in sites.items()]
    return Peak(bytes=most, sites=tuple(sorted(made, key=lambda site: -site.bytes)))


def alive_by_site(changes: Sequence[Change], sites: Sequence[str]) -> list[list[int]]:
    """After each change the bytes alive of each of the sites, and of all others behind them."""
    alive = [0] * (len(sites) + 1)
    place = {where: number for number, where in enumerate(sites)}
    owner: dict[Any, int] = {}
    steps = []
    for change in _matched(changes):
        if change["bytes"] > 0:
            owner[change["addr"]] = place.get(call_site(change["site"]), len(sites))
        alive[owner[change["addr"]]] += change["bytes"]
        steps.append(list(alive))
    return steps


def call_site(frames: Sequence[str]) -> str:
    """The innermost frame of the code that wanted the memory, with the outermost operator it called."""
    lines = [frame for frame in frames if "::" not in frame]
    caller = next((frame for frame in lines if not NOT_CALLERS.match(frame)), "")
    caller = caller or (lines[0] if lines else NO_FRAME)
    within = frames[: frames.index(caller)] if caller in frames else frames
    operator = next((frame for frame in reversed(within) if "::" in frame), "")
    return f"{caller} [{operator.removeprefix(ENGINE)}]" if operator else caller


def _matched(changes: Sequence[Change]) -> list[Change]:
    """Allocations, and what gives one of them back with the size it had."""
    held: dict[Any, int] = {}
    kept = []
    for change in changes:
        size, address = int(change["bytes"]), change["addr"]
        if size > 0:
            held[address] = size
            kept.append(change)
        elif address in held:
            kept.append({**change, "bytes": -held.pop(address)})
    return kept


def of_trace(path: Path) -> list[Change]:
    """The allocations of a trace that was taken with stacks (a CPU)."""
    read = trace.read(path)
    found = []
    around: dict[str, list[trace.Event]] = {}
    changes = sorted((*read.host, *read.allocations), key=lambda one: (one.start_us, one.name == "[memory]"))
    for event in changes:
        stack = around.setdefault(event.thread, [])
        while stack and stack[-1].end_us <= event.start_us:
            stack.pop()
        if event.name != "[memory]":
            stack.append(event)
            continue
        frames = [_python_frame(one.name) for one in reversed(stack) if one.name != trace.MARK]
        found.append(
            {"bytes": int(event.args["Bytes"]), "addr": event.args["Addr"], "site": _short_of(frames)}
        )
    return found


def of_cuda(call: Callable[[], Any], device: str, snapshot_path: Path) -> list[Change]:
    """The allocations of one call as torch's allocator records them; the snapshot is kept for its viewer."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.memory._record_memory_history(
        enabled="all", context="all", stacks="python", max_entries=MOST_EVENTS
    )
    try:
        result = call()
        torch.cuda.synchronize()
        snapshot = torch.cuda.memory._snapshot()
        del result
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)
    _shorten_paths(snapshot)
    snapshot_path.write_bytes(pickle.dumps(snapshot))
    return of_snapshot(snapshot, torch.device(device).index or 0)


def of_snapshot(snapshot: Mapping[str, Any], device_index: int) -> list[Change]:
    """The allocator's own record: what was taken and what was given back, in its order."""
    found = []
    for event in snapshot["device_traces"][device_index]:
        sign = {"alloc": 1, "free_completed": -1}.get(event["action"])
        if sign:
            frames = [
                f"{frame['filename']}:{frame['line']} {frame['name']}" for frame in event.get("frames", [])
            ]
            found.append({"bytes": sign * event["size"], "addr": event["addr"], "site": _short_of(frames)})
    return found


def _short_of(frames: Sequence[str]) -> list[str]:
    return list(frames[:FRAMES])


def _shorten_paths(value: Any) -> None:
    """Names files by their place in a package, everywhere in a snapshot: a kept file names no user."""
    if isinstance(value, dict):
        if "filename" in value:
            value["filename"] = short_path(str(value["filename"]))
        for part in value.values():
            _shorten_paths(part)
    elif isinstance(value, list):
        for part in value:
            _shorten_paths(part)


def short_path(path: str) -> str:
    """A source file without the folders above its package; what torch has shortened stays as it is."""
    if not path.startswith("/"):
        return path
    for root in ("site-packages/", "dist-packages/"):
        if root in path:
            return path.rpartition(root)[2]
    known = re.search(r"(?:^|/)((?:lbench|lightning_attention)/.*)$", path)
    if known:
        return known[1]
    library = re.search(r"/lib/python3[^/]*/(.*)$", path)
    return library[1] if library else path.rpartition("/")[2]


def _python_frame(name: str) -> str:
    """`path/file.py(132): forward` as `file.py:132 forward`; an operator's name as it is."""
    found = re.fullmatch(r"(.*)\((\d+)\): (.*)", name)
    return f"{short_path(found[1])}:{found[2]} {found[3]}" if found else name
