"""Energy per call against a counter whose truth is known: a card that draws so many watts, told in steps."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from lbench import energy

BUSY_W, IDLE_W = 400.0, 80.0
BURST_W, BURST_S = 450.0, 0.7


class Card:
    """A card and the time around it: BUSY_W in a call, IDLE_W else; the counter moves every `step_s`.

    To read it takes `read_s`, as NVML does. Before each call the card waits `host_s` for the host. After
    a rest it draws `burst_w` for BURST_S; then calls take `slowed` times as long.
    """

    def __init__(self, step_s: float = 0.02, call_s: float = 0.002) -> None:
        self.step_s, self.call_s = step_s, call_s
        self.read_s = self.host_s = 0.0
        self.now_s = self.joules = self.told = self.told_s = 0.0
        self.burst_w, self.slowed = BUSY_W, 1.0
        self.worked_s, self.calls = 0.0, 0

    def pass_time(self, seconds: float, power_w: float) -> None:
        self.now_s += seconds
        self.joules += seconds * power_w

    def call(self) -> None:
        bursts = self.worked_s < BURST_S
        seconds = self.call_s * (1.0 if bursts else self.slowed)
        self.pass_time(self.host_s, IDLE_W)
        self.pass_time(seconds, self.burst_w if bursts else BUSY_W)
        self.worked_s += seconds
        self.calls += 1

    def sleep(self, seconds: float) -> None:
        self.pass_time(seconds, IDLE_W)
        self.worked_s = 0.0

    def perf_counter(self) -> float:
        self.pass_time(1e-6, IDLE_W)
        return self.now_s

    def counter(self) -> float:
        if self.now_s - self.told_s >= self.step_s:
            self.told, self.told_s = self.joules, self.now_s
        told = self.told
        self.pass_time(self.read_s, IDLE_W)
        return told


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    made = Card()
    monkeypatch.setattr(energy, "time", made)
    monkeypatch.setattr(energy, "_idle_w", {})
    return made


def measured(card: Card, limit_w: float = math.inf) -> dict[str, float]:
    counter = energy.Counter(card.counter, limit_w)
    return energy.per_call(card.call, "fake", card.call_s, counter=counter)


@pytest.mark.parametrize("call_s", [1e-4, 2e-3, 0.3, 1.1, 2.0, 20.0])
@pytest.mark.parametrize("step_s", [0.001, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("read_s", [0.0, 0.005])
def test_idle_power_is_subtracted_and_said(card: Card, call_s: float, step_s: float, read_s: float) -> None:
    card.call_s, card.step_s, card.read_s = call_s, step_s, read_s
    found = measured(card)
    assert found["idle_w"] == pytest.approx(IDLE_W, rel=0.05)
    assert found["joules_per_call"] == pytest.approx((BUSY_W - IDLE_W) * call_s, rel=0.05)


@pytest.mark.parametrize("call_s", [1e-4, 2e-3, 0.04, 0.3])
@pytest.mark.parametrize("read_s", [0.0, 0.005])
def test_the_window_is_long_enough_and_its_calls_stand_back_to_back(
    card: Card, call_s: float, read_s: float
) -> None:
    card.call_s, card.read_s = call_s, read_s
    found = measured(card)
    assert found["window_s"] >= energy.WINDOW_S
    assert found["window_s"] == pytest.approx(found["calls"] * card.call_s, rel=0.02)


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.2, 3.0])
def test_a_stream_with_gaps_has_no_energy(card: Card, gap: float) -> None:
    """The card waits for the host between calls: what it draws meanwhile is none of the call's."""
    card.host_s = gap * card.call_s
    found = measured(card)
    assert bool(found) == (gap < 0.1)
    if found:
        assert found["joules_per_call"] == pytest.approx((BUSY_W - IDLE_W) * card.call_s, rel=0.02)


def test_one_call_is_enough_where_it_is_long(card: Card) -> None:
    card.call_s = 2.0
    assert measured(card)["calls"] == 1
    assert energy.per_call(card.call, "fake", card.call_s, counter=energy.Counter(lambda: 5.0)) == {}


@pytest.mark.parametrize("step_s", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("slowed", [1.0, 1.3])
def test_a_burst_above_the_cards_limit_is_weighed_again_for_longer(
    card: Card, step_s: float, slowed: float
) -> None:
    """Slowed by its limiter, the card does not wait for the host: that is no gap."""
    card.step_s, card.burst_w, card.slowed = step_s, BURST_W, slowed
    found = measured(card, limit_w=BUSY_W)
    assert found["window_s"] == pytest.approx(energy.LONG_WINDOW_S, rel=0.04)
    assert found["calls"] < card.calls
    mean_w = found["joules_per_call"] * found["calls"] / found["window_s"] + IDLE_W
    expected_w = BUSY_W + (BURST_W - BUSY_W) * BURST_S / energy.LONG_WINDOW_S
    assert mean_w == pytest.approx(expected_w, rel=0.02)


@pytest.mark.parametrize("step_s", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("limit_w", [BURST_W + 5, math.inf])
def test_a_card_below_its_limit_is_weighed_once(card: Card, step_s: float, limit_w: float) -> None:
    """What it draws at rest, until the counter's next step, is none of the work's."""
    card.step_s, card.burst_w = step_s, BURST_W
    found = measured(card, limit_w)
    assert found["calls"] == card.calls
    assert found["window_s"] == pytest.approx(energy.WINDOW_S, rel=0.1)


def test_a_call_as_long_as_the_long_window_is_weighed_once(card: Card) -> None:
    card.call_s, card.burst_w = energy.LONG_WINDOW_S, BURST_W
    assert measured(card, limit_w=BUSY_W)["calls"] == card.calls == 1


def test_a_host_that_is_held_up_makes_a_call_all_the_same(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "WINDOW_S", 0.0)
    monkeypatch.setattr(energy, "_idle_w", {"fake": IDLE_W})
    assert measured(card)["calls"] == card.calls > 0


def test_idle_power_is_measured_once_a_process(card: Card) -> None:
    measured(card)
    energy._idle_w["fake"] = 0.0
    assert measured(card)["idle_w"] == 0.0


def test_no_counter_no_energy_and_no_call_on_a_cpu() -> None:
    calls: list[int] = []
    assert energy.per_call(lambda: calls.append(1), "cpu", 0.1) == {}
    assert not calls


def test_a_counter_that_stands_still_is_none(card: Card) -> None:
    assert energy.per_call(card.call, "fake", card.call_s, counter=energy.Counter(lambda: 5.0)) == {}


def test_a_driver_that_goes_away_is_no_energy(card: Card) -> None:
    class NVMLError_GpuIsLost(Exception):  # noqa: N801 (as pynvml names it)
        pass

    def counter() -> float:
        if card.now_s > 1.0:
            raise NVMLError_GpuIsLost
        return card.counter()

    assert energy.per_call(card.call, "fake", card.call_s, counter=energy.Counter(counter)) == {}


@pytest.mark.parametrize("calls", [1, 2, 5])
@pytest.mark.parametrize("step_s", [0.001, 0.02, 0.1])
def test_work_is_weighed_while_it_is_done_once(card: Card, calls: int, step_s: float) -> None:
    card.call_s, card.step_s = 1.5, step_s
    done: list[float] = []

    def work() -> list[float]:
        for _ in range(calls):
            card.call()
            done.append(card.now_s)
        return done

    returned, found = energy.weighed(work, "fake", len, counter=energy.Counter(card.counter))
    assert returned is done
    assert len(done) == found["calls"] == calls
    assert found["joules_per_call"] == pytest.approx((BUSY_W - IDLE_W) * card.call_s, rel=0.05)
    assert found["window_s"] >= calls * card.call_s


@pytest.mark.parametrize("stands_still_at", [0.0, 0.5, 0.74, 1.5])
def test_work_is_done_once_whatever_the_counter_does(card: Card, stands_still_at: float) -> None:
    card.call_s = 1.5
    done: list[int] = []

    def counter() -> float:
        return card.counter() if card.now_s < stands_still_at else 5.0

    def work() -> None:
        card.call()
        done.append(1)

    assert energy.weighed(work, "fake", lambda _: 1, counter=energy.Counter(counter)) == (None, {})
    assert done == [1]


def test_windows_are_joined_by_their_calls() -> None:
    one = {"joules_per_call": 300.0, "idle_w": 80.0, "window_s": 2.0, "calls": 1}
    other = {**one, "joules_per_call": 330.0, "window_s": 4.0, "calls": 2}
    joined = {"joules_per_call": 320.0, "idle_w": 80.0, "window_s": 6.0, "calls": 3}
    assert energy.joined([one, other]) == joined
    assert energy.joined([one]) == one
    assert energy.joined([one, {}]) == energy.joined([]) == {}


def test_what_is_shorter_than_a_window_has_no_energy(card: Card) -> None:
    card.call_s = 0.3
    assert energy.weighed(card.call, "fake", lambda _: 1, counter=energy.Counter(card.counter)) == (None, {})


@pytest.mark.parametrize(
    ("call_s", "limit_w", "is_told"),
    [(1.5, BUSY_W, False), (1.5, BURST_W + 5, True), (1.5, math.inf, True), (2.0, BUSY_W, True)],
)
def test_work_that_is_but_a_burst_has_no_energy(
    card: Card, call_s: float, limit_w: float, is_told: bool
) -> None:
    card.call_s, card.burst_w = call_s, BURST_W
    counter = energy.Counter(card.counter, limit_w)
    assert bool(energy.weighed(card.call, "fake", lambda _: 1, counter=counter)[1]) == is_told
    assert card.calls == 1


@pytest.mark.parametrize(("limit_mw", "limit_w"), [(700_000, 700.0), (None, math.inf)])
def test_the_counter_knows_the_cards_limit(
    monkeypatch: pytest.MonkeyPatch, limit_mw: int | None, limit_w: float
) -> None:
    import pynvml
    import torch

    def limit(_: str) -> int:
        if limit_mw is None:
            raise pynvml.NVMLError_NotSupported
        return limit_mw

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="card"))
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: uuid)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda _: 5_000)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetEnforcedPowerLimit", limit)
    counter = energy.counter_of("cuda:0")
    assert counter is not None
    assert (counter.joules(), counter.limit_w) == (pytest.approx(5.0), pytest.approx(limit_w))
