"""What times depend on beside the code: the machine and the protocol that baselines are filed by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lbench.errors import UsageError
from lbench.gates.processes import Side
from lbench.results import content_id

UPGRADES = ("torch", "triton")
"""Part of a fingerprint, but no reason to refuse: an upgrade is among the things that a gate is to judge."""

Fingerprint = dict[str, Any]


def fingerprint(side: Side) -> Fingerprint:
    """GPU model, memory, power limit and driver (or CPU, cores, threads), torch, triton, protocol.

    Nothing that tells one card of a model from another. UsageError where the rows do not share one.
    """
    found = [_of_row(side, key) for key in side.rows]
    flat = [one for of_key in found for one in of_key]
    if told := {name: seen for other in flat for name, seen in apart(flat[0], other).items()}:
        raise UsageError(f"{side.name} mixes machines or protocols ({differences_told(told)}); one at a time")
    return flat[0]


def label(of: Mapping[str, Any]) -> str:
    """The name of a fingerprint's folder: the device in words, then an id of all of it."""
    device = re.sub(r"[^A-Za-z0-9]+", "-", str(of.get("gpu") or of.get("cpu") or "device")).strip("-")
    return f"{device[:40].lower()}-{content_id(dict(of))[:8]}"


def apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, set[Any]]:
    """Fields in which two fingerprints differ, with both values."""
    return {
        name: {one.get(name), other.get(name)}
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    }


def differences_told(differing: Mapping[str, Iterable[Any]]) -> str:
    """`gpu: A / B; driver: 1 / 2`."""
    return "; ".join(f"{name}: {' / '.join(sorted(map(str, seen)))}" for name, seen in differing.items())


def _of_row(side: Side, key: str) -> list[Fingerprint]:
    made = []
    for row in side.rows[key]:
        software = side.software(row)
        fields = side.machine(row) | {name: software.get(name) for name in UPGRADES}
        made.append({name: value for name, value in fields.items() if value is not None})
    return made
