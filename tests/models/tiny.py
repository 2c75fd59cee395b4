"""Tiny models for tests: one of each family, and every mechanism in the common block."""

from __future__ import annotations

import dataclasses
from typing import Any

from lbench import backends, mechanisms, models
from lbench.case import Case

TINY = [name for name in models.names() if name.endswith("-tiny")]


def eager(mechanism: str) -> str:
    return f"{mechanism}_eager"


COMMON = [name for name in mechanisms.names() if eager(name) in backends.names()]
NATIVE = [(name, "native", models.load(name).mechanism) for name in TINY]
BODIES = list(NATIVE)
BODIES += [("tnl-tiny", "common", mechanism) for mechanism in COMMON]


def case_of(name: str, body: str, mechanism: str, **fields: Any) -> Case:
    """A case on the CPU with the eager mixer."""
    attention = "softmax_eager" if body == "native" and models.load(name).attention_every else ""
    case = models.fields_of(name, eager(mechanism), mechanism, body, attention, "cpu")
    return dataclasses.replace(case, **{"dtype": "fp32", "pass_name": "prefill", **fields})
