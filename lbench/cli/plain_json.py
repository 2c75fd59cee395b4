"""JSON that any parser reads."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(value: Any) -> str:
    """Indented JSON; null for a number that is not finite, which JSON has none of."""
    return json.dumps(_plain(value), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
