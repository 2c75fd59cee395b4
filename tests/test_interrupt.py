"""Ctrl-C comes when it may: held back, looked for, or let through at once."""

# ruff: noqa: PT012  (what happens within the block is what is tested)

from __future__ import annotations

import os
import signal

import pytest

from lbench import interrupt


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_what_is_held_back_ends_first() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interrupt.held_back():
        press()
        done.append("the row is written")
    assert done


def test_a_check_raises_it_and_the_clearing_up_after_it_is_held_back_too() -> None:
    cleared = []
    with pytest.raises(KeyboardInterrupt), interrupt.held_back():
        try:
            press()
            interrupt.check()
            pytest.fail("no interrupt")
        finally:
            press()
            cleared.append("workers are closed")
    assert cleared
    interrupt.check()


def test_where_it_is_allowed_it_comes_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), interrupt.held_back(), interrupt.allowed():
        press()
        pytest.fail("no interrupt")


def test_an_earlier_one_ends_what_is_allowed_before_it_begins() -> None:
    with pytest.raises(KeyboardInterrupt), interrupt.held_back():
        press()
        with interrupt.allowed():
            pytest.fail("it began")


def test_afterwards_all_is_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupt.held_back(), interrupt.held_back():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
