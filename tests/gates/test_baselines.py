"""`lbench baseline`: filed by name and machine, found again, promoted, and guarded against slow drift."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import H100, jitter, keep, keep_two

from lbench import results
from lbench.errors import UsageError
from lbench.gates import baselines, processes
from lbench.gates.fingerprint import fingerprint, label

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def saved(cli: Cli, baseline: Path, tmp_path: Path) -> Path:
    code, out, err = cli("baseline", "save", "main", baseline, "--store", tmp_path / "store")
    assert (code, err) == (0, "")
    assert "6 processes (in force, anchor)" in out
    return tmp_path / "store"


def processes_of(
    place: Path, first: int, scale: float = 1.0, environment: dict[str, Any] | None = None
) -> Path:
    """A folder of five processes, hours apart."""
    for number in range(first, first + 5):
        started = f"2026-02-01T{number % 10:02}:00:00Z"
        keep(place / str(number), f"p{number}", jitter(number, scale), environment, started_at=started)
    return place


def test_a_gate_finds_the_baseline_by_name_as_it_would_by_folder(
    cli: Cli, saved: Path, baseline: Path, tmp_path: Path
) -> None:
    slow = keep_two(tmp_path / "slow", 1.1)
    by_name = cli("check", "regression", slow, "--baseline", "main", "--store", saved, "--json")
    by_folder = cli("check", "regression", slow, "--baseline", baseline, "--json")
    assert by_name == by_folder
    assert by_name[0] == 1


def test_the_fingerprint_holds_the_machine_and_never_the_card(baseline: Path, tmp_path: Path) -> None:
    here = {
        **H100,
        "power_limit_w": 700,
        "gpu_memory_mib": 81559,
        "triton": "3.6",
        "uuid": "GPU-1",
        "serial": 7,
    }
    side = processes.read(keep(tmp_path / "one", "n", jitter(1), here, {"l2": "cold", "timer": "auto"}))
    assert fingerprint(side) == {
        "gpu": "H100",
        "gpu_memory_mib": 81559,
        "power_limit_w": 700,
        "driver": "580.1",
        "torch": "2.11",
        "triton": "3.6",
        "l2": "cold",
        "timer": "auto",
    }
    assert label({"gpu": "NVIDIA H100 80GB HBM3"}).startswith("nvidia-h100-80gb-hbm3-")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, 0),
        ({"torch": "2.12"}, 0),
        ({"gpu": "H200"}, 2),
        ({"driver": "590"}, 2),
        ({"power_limit_w": 350}, 2),
    ],
)
def test_another_machine_is_refused_with_the_reason_and_another_torch_is_compared(
    cli: Cli, saved: Path, tmp_path: Path, changed: dict[str, Any], code: int
) -> None:
    new = keep_two(tmp_path / "new", environment={**H100, **changed})
    found, _, err = cli("check", "regression", new, "--baseline", "main", "--store", saved)
    assert found == code
    assert all(name in err for name in changed) == (code == 2 or not changed)
    across = cli("check", "regression", new, "--baseline", "main", "--store", saved, "--across-machines")
    assert across[0] == 0


def test_of_two_machines_each_finds_its_own(cli: Cli, saved: Path, tmp_path: Path) -> None:
    h200 = {**H100, "gpu": "H200"}
    faster = processes_of(tmp_path / "h200", 20, 0.5, h200)
    assert cli("baseline", "save", "main", faster, "--store", saved)[0] == 0
    assert len(baselines.kept(saved, "main")) == 2
    new = keep_two(tmp_path / "new", 0.5, environment=h200)
    assert cli("check", "regression", new, "--baseline", "main", "--store", saved)[0] == 0
    code, _, err = cli("baseline", "show", "main", "--store", saved)
    assert code == 2
    assert "several machines" in err
    mixed = keep(tmp_path / "mixed" / "a", "a", jitter(1)).parent
    keep(mixed / "b", "b", jitter(2), h200)
    code, _, err = cli("baseline", "save", "mixed", mixed, "--store", saved)
    assert code == 2
    assert "gpu: H100 / H200" in err


def test_processes_of_another_session_are_added(cli: Cli, tmp_path: Path) -> None:
    store, days = tmp_path / "store", tmp_path / "days"
    for number in range(6):
        keep(days / str(number // 3) / str(number), f"b{number}", jitter(number))
    out = cli("baseline", "save", "main", days / "0", "--store", store)[1]
    assert "a gate needs 5" in out
    assert "6 processes" in cli("baseline", "save", "main", days / "1", "--add", "--store", store)[1]
    (one,) = baselines.kept(store)
    assert one.generations == [1]
    assert len(next(iter(one.side(1).rows.values()))) == 6


def test_a_process_that_is_there_already_is_not_added(cli: Cli, tmp_path: Path) -> None:
    store = tmp_path / "store"
    one, other = (keep(tmp_path / name, name, jitter(number)) for number, name in enumerate("ab"))
    assert "1 process (" in cli("baseline", "save", "main", one, "--store", store)[1]
    out = cli("baseline", "save", "main", one, "--add", "--store", store)[1]
    assert "1 process (" in out
    assert "nothing was added: these processes are there already" in out
    assert "nothing was added" not in cli("baseline", "save", "main", other, "--add", "--store", store)[1]


def test_a_generation_waits_for_promote_which_refuses_a_slower_one(
    cli: Cli, saved: Path, tmp_path: Path
) -> None:
    slower = processes_of(tmp_path / "slower", 30, 1.1)
    assert "promote" in cli("baseline", "save", "main", slower, "--store", saved)[1]
    assert baselines.only(saved, "main").current == 1
    code, out, _ = cli("baseline", "promote", "main", "--store", saved)
    assert (code, "not promoted" in out) == (1, True)
    assert baselines.only(saved, "main").current == 1
    assert cli("baseline", "promote", "main", "--accept-slower", "--pin", "--store", saved)[0] == 0
    one = baselines.only(saved, "main")
    assert (one.current, one.previous, one.anchor) == (2, 1, 2)
    new = keep_two(tmp_path / "new", 1.1)
    # The one before it was quicker: that is told until the next generation.
    assert cli("check", "regression", new, "--baseline", "main", "--store", saved)[0] == 1


def test_slow_drift_is_within_the_margin_at_every_step_and_fails_against_the_anchor(
    cli: Cli, saved: Path, tmp_path: Path
) -> None:
    for step in (1, 2, 3):
        folder = processes_of(tmp_path / str(step), 10 * step, 1.02**step)
        assert cli("baseline", "save", "main", folder, "--store", saved)[0] == 0
        code, out, _ = cli("baseline", "promote", "main", "--accept-slower", "--store", saved)
        assert code == 0, out
    one = baselines.only(saved, "main")
    assert (one.current, one.older()) == (4, {"previous": 3, "anchor": 1})
    new = keep_two(tmp_path / "new", 1.02**3)
    code, out, _ = cli("check", "regression", new, "--baseline", "main", "--store", saved, "--json")
    found = json.loads(out)["findings"]
    assert code == 1
    assert {one["state"] for one in found} == {"drifted"}
    assert "anchor" in found[0]["reason"]
    current = saved / "main" / one.machine / "4"
    assert cli("check", "regression", new, "--baseline", current)[0] == 0


def test_list_and_show_say_what_can_be_held(cli: Cli, saved: Path) -> None:
    out = cli("baseline", "list", "--store", saved)[1]
    assert out.startswith("main/h100-")
    assert "generation 1 of 1, 6 processes" in out
    shown = cli("baseline", "show", "main", "--store", saved)[1]
    assert "driver: 580.1" in shown
    assert "holds a margin of" in shown
    as_json = json.loads(cli("baseline", "show", "main", "--store", saved, "--json")[1])
    assert len(as_json["cases"]) == 4
    assert as_json["generations"] == {"1": 6}


def test_a_process_that_lies_apart_is_told(cli: Cli, baseline: Path, tmp_path: Path) -> None:
    keep(baseline / "6", "b6", jitter(6, 1.3))
    cli("baseline", "save", "main", baseline, "--store", tmp_path / "store")
    shown = cli("baseline", "show", "main", "--store", tmp_path / "store")[1]
    assert shown.count("times the others") == 4


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden", "a b"])
def test_a_name_that_is_none_is_refused(name: str, baseline: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name"):
        baselines.save(tmp_path / "store", name, [baseline])
    assert not (tmp_path / "store").exists()


def test_usage_errors_have_no_traceback(cli: Cli, saved: Path, tmp_path: Path) -> None:
    new = keep_two(tmp_path / "new")
    for arguments, said in (
        (("check", "regression", new, "--baseline", "mian", "--store", saved), "did you mean main"),
        (("check", "regression", new, "--baseline", "main", "--store", tmp_path), "there is no folder main"),
        (("check", "regression", new, "--baseline", "main/none", "--store", saved), "machine"),
        (("baseline", "show", "other", "--store", saved), "other"),
        (("baseline", "promote", "main", "--generation", "7", "--store", saved), "no generation 7; it has 1"),
        (("baseline", "promote", "main", "--generation", "0", "--store", saved), "no generation 0; it has 1"),
    ):
        code, out, err = cli(*arguments)
        assert (code, out) == (2, "")
        assert said in err


def test_only_processes_that_timed_a_case_count(cli: Cli, tmp_path: Path) -> None:
    store, days = tmp_path / "store", tmp_path / "days"
    for number in range(5):
        place = keep(days / str(number), f"b{number}", jitter(number))
        if number > 1:  # of these the first case was only verified
            lines = [row for _, row in results.entries(place, [])]
            (place / "rows.jsonl").unlink()
            writer = results.Writer(place)
            for row in lines:
                times = () if row.case.seq_len == 1024 else row.times_ms
                writer.append(dataclasses.replace(row, times_ms=times, enqueue_us=()))
            writer.close()
    out = cli("baseline", "save", "main", days, "--store", store)[1]
    assert ": 2 processes" in out
    assert "a gate needs 5" in out
    code, _, err = cli("baseline", "promote", "main", "--store", store)
    assert (code, "has 2 of 5 processes" in err) == (2, True)
