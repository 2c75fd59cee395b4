"""Where the wall time of a sweep went."""

from __future__ import annotations

from collections.abc import Mapping

MEASURING = {
    "start_up": "start-up",
    "compile": "compilation",
    "verify": "verification",
    "warm_up": "warm-up",
    "sampling": "sampling",
    "energy": "sampling of energy",
}
"""What a sweep is for, and the price of it; the rest should stay a small part."""
OTHER = {
    "build": "inputs",
    "memory": "memory pass",
    "attest": "kernels' names",
    "free": "giving memory back",
    "lost": "workers lost",
}


def breakdown(spent: Mapping[str, float]) -> str:
    """One line: seconds by account, and the share of the rest. Empty where there is no wall time.

    `spent` holds seconds by account and all of them as `wall`; what no account names is the runner's own.
    """
    wall_s = spent.get("wall", 0.0)
    if not wall_s:
        return ""
    main = [f"{title} {_told(spent.get(name, 0.0), wall_s)}" for name, title in MEASURING.items()]
    own_s = wall_s - sum(seconds for name, seconds in spent.items() if name != "wall")
    rest = {title: spent.get(name, 0.0) for name, title in OTHER.items()} | {"runner": max(own_s, 0.0)}
    parts = [
        f"{title} {_told(seconds, wall_s)}" for title, seconds in rest.items() if seconds >= 0.005 * wall_s
    ]
    inside = f" ({', '.join(parts)})" if parts else ""
    return f"{wall_s:.0f} s: {', '.join(main)}, the rest {_told(rest_s(spent), wall_s)}{inside}"


def rest_s(spent: Mapping[str, float]) -> float:
    """Seconds that went to neither start-up, compilation, verification, warm-up nor sampling."""
    return max(spent.get("wall", 0.0) - sum(spent.get(name, 0.0) for name in MEASURING), 0.0)


def _told(seconds: float, wall_s: float) -> str:
    return (
        f"{seconds:.0f} s {seconds / wall_s:.0%}"
        if seconds >= 9.5
        else f"{seconds:.1f} s {seconds / wall_s:.0%}"
    )
