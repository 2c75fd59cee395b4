"""The grammar of durations: `90s`, `20m`, `2h`, `1h30m`."""

from __future__ import annotations

import re

from lbench.errors import UsageError

UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0}


def parse_duration(text: str) -> float:
    """Seconds of a duration written with its units, the largest first."""
    match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?", text.strip().lower())
    written = match.groups() if match else ()
    try:
        parts = [float(part or 0) * unit for part, unit in zip(written, UNITS_S.values(), strict=False)]
    except ValueError:
        parts = []
    if not sum(parts):
        raise UsageError(f"duration {text!r} is no positive number of h, m and s; write 90s, 20m or 1h30m")
    return sum(parts)


def format_duration(seconds: float) -> str:
    """Seconds in a few letters: 0.4s, 12s, 2m05s, 1h20m."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}h{minutes % 60:02d}m"
