"""One colour a mechanism, one marker a backend, whatever the file holds."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbench import backends
from lbench.plot.style import COLOURS, OUR_MARKERS, look
from lbench.report.wording import FLAGSHIP, MECHANISM_ORDER, title

REGISTERED = [(name, backends.load(name).mechanism) for name in backends.names()]


def test_every_mechanism_has_a_colour_of_its_own() -> None:
    assert set(COLOURS) == set(MECHANISM_ORDER) >= {mechanism for _, mechanism in REGISTERED}
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_no_two_backends_look_alike() -> None:
    looks = [look(*pair) for pair in REGISTERED]
    assert len({(one.colour, one.marker) for one in looks}) == len(looks)
    assert len({one.title for one in looks}) == len(looks)


@given(st.sets(st.sampled_from(backends.own_names()), min_size=1))
def test_no_look_changes_when_other_backends_join_or_go(kept: set[str]) -> None:
    before = {pair: look(*pair) for pair in REGISTERED}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "names", lambda: sorted(kept))
        look.cache_clear()
        assert all(look(*pair) == before[pair] for pair in REGISTERED if pair[0] in kept)
    look.cache_clear()


def test_our_markers_are_ours_alone() -> None:
    looks = [look(*pair) for pair in REGISTERED]
    assert all((one.marker in OUR_MARKERS) == one.ours for one in looks)


def test_the_flagship_has_the_first_of_our_markers() -> None:
    assert look(FLAGSHIP, backends.load(FLAGSHIP).mechanism).marker == OUR_MARKERS[0]


@pytest.mark.parametrize("pair", [("mine.py:fast", "lightning"), ("gone", "gla"), ("mine.py:odd", "unheard")])
def test_unknown_names_have_a_look_that_stays(pair: tuple[str, str]) -> None:
    first = look(*pair)
    look.cache_clear()
    assert look(*pair) == first
    assert not first.ours


def test_a_users_function_is_titled_by_its_name() -> None:
    assert title("some/where/mine.py:fast") == "fast (mine.py)"


def test_looks_import_no_torch_and_no_peer() -> None:
    import subprocess

    code = (
        "import sys; from lbench.plot import files; sys.exit('torch' in sys.modules or 'fla' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
