"""What a shell sees of `lbench ... | head`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import IO

import pytest

LBENCH = [sys.executable, "-m", "lbench"]


@pytest.fixture
def nobody() -> Iterator[IO[bytes]]:
    """A pipe whose reader has gone away."""
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    assert reader.stdin is not None
    yield reader.stdin
    reader.stdin.close()


@pytest.mark.parametrize("arguments", [["list", "backends"], ["--help"], ["doctor", "--json"]])
def test_a_reader_that_goes_away_is_no_failed_check(nobody: IO[bytes], arguments: list[str]) -> None:
    done = subprocess.run([*LBENCH, *arguments], stdout=nobody, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_usage_error_stays_one_without_a_reader(nobody: IO[bytes]) -> None:
    done = subprocess.run([*LBENCH, "list", "nothing"], stdout=nobody, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "unknown list" in done.stderr
