"""What a shell is offered: the names that there are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lbench import backends, suite
from lbench.cli import complete


def offered(*words: str) -> list[str]:
    """What bash is told for the last of the words."""
    done = subprocess.run(
        [sys.executable, "-m", "lbench"],
        env={
            **os.environ,
            "_LBENCH_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(("lbench", *words)),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sh",), ["show"]),
        (("run", "quick-c"), ["quick-cpu", "quick-cuda"]),
        (("run", "--model", "tnl-1"), ["tnl-1b", "tnl-15b"]),
        (("run", "--backend", "lightning_e"), ["lightning_eager"]),
        (("table", "x", "--pass", "fwd,b"), ["fwd,bwd"]),
        (("list", "su"), ["suites"]),
    ],
)
def test_names_are_offered(words: tuple[str, ...], expected: list[str]) -> None:
    assert offered(*words) == expected


def test_a_list_goes_on_with_what_is_not_in_it() -> None:
    assert complete.backends("") == backends.names()
    assert complete.suites("") == suite.names()
    assert complete.listed("passes", "bwd,") == [
        "bwd,fwd",
        "bwd,fwdbwd",
        "bwd,decode",
        "bwd,train",
        "bwd,prefill",
    ]
    assert complete.listed("passes", "bwd,x") == []


def test_every_source_answers() -> None:
    for kind in complete.SOURCES:
        assert complete.listed(kind, "")
