"""Output for terminals and pipes that are no UTF-8: known signs in ASCII, everything else as `?`."""

from __future__ import annotations

import codecs
import sys

PLAIN = {
    "\u00b1": "+-",
    "\u00d7": "x",
    "\u00b7": ",",
    "\u2026": "...",
    "\u2013": "-",
    "\u2014": "-",
    "\u2019": "'",
    "\u03b1": "alpha",
}
ERRORS = "lbench.plain"
"""The name under which Python finds this way of encoding."""


def use_plain_signs() -> None:
    """Lets standard output and error, where they cannot show a sign, show the nearest they can."""
    codecs.register_error(ERRORS, _plainly)
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
        if not encoding.startswith("utf") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERRORS)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end
