"""`check regression --budget`: further processes of open cases alone, on the replay device and on the CPU."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import jitter, keep
from rows import make_row

from lbench import results
from lbench.cli.further import affordable
from lbench.gates import processes
from lbench.gates.verdict import Finding
from lbench.suite import Suite

Cli = Callable[..., tuple[int, str, str]]
SCRIPTED = {"device": "cuda", "gpu": "scripted GPU (replay)", "cpu": "scripted CPU"}
SUITE = Suite(name="gate").as_dict()
CASES = [make_row(seq_len=length, device="cuda").case.key for length in (1024, 2048, 4096, 8192)]


@pytest.fixture
def scripted(tmp_path: Path) -> Path:
    for number in range(6):
        place = tmp_path / "baseline" / str(number)
        keep(
            place,
            f"b{number}",
            jitter(number),
            SCRIPTED,
            SUITE,
            started_at=f"2026-01-0{1 + number}T00:00:00Z",
        )
    return tmp_path / "baseline"


def replay(place: Path, times_ms: list[float]) -> str:
    """A device on which the cases take that long."""
    place.mkdir()
    entries = [
        f'[[case]]\nmatch = "{key}"\nseed = 1\ntimes_ms = [{time_ms}, {time_ms * 1.001}]\n'
        for key, time_ms in zip(CASES, times_ms, strict=True)
    ]
    (place / "replay.toml").write_text("\n".join(entries))
    return f"replay:{place}"


def slow_in_one(run: int) -> list[float]:
    return [time * (1.1 if number == 2 else 1.0) for number, time in enumerate(jitter(run))]


def check(cli: Cli, new: Path, baseline: Path, device: str, *more: object) -> tuple[int, dict[str, Any], str]:
    code, out, err = cli(
        "check", "regression", new, "--baseline", baseline, "--device", device, "--json", *more
    )
    return code, json.loads(out) if out else {}, err


def test_a_suspect_is_confirmed_and_no_other_case_is_measured(
    cli: Cli, scripted: Path, tmp_path: Path
) -> None:
    new = keep(tmp_path / "new", "n1", slow_in_one(100), SCRIPTED, SUITE)
    device = replay(tmp_path / "slow", slow_in_one(101))
    assert check(cli, new, scripted, device)[0] == 3
    code, report, err = check(cli, new, scripted, device, "--budget", "60s")
    assert code == 1, err
    side = processes.read(new)
    assert [len(side.rows[key]) for key in CASES] == [1, 1, 2, 1]
    assert [one["state"] for one in report["findings"]] == ["same", "same", "slower", "same"]


def test_a_process_that_was_slow_alone_is_cleared(cli: Cli, scripted: Path, tmp_path: Path) -> None:
    keep(tmp_path / "new" / "1", "n1", slow_in_one(100), SCRIPTED, SUITE)
    device = replay(tmp_path / "clean", jitter(101))
    code, report, err = check(cli, tmp_path / "new", scripted, device, "--budget", "60s")
    assert code in (0, 3), err
    assert "slower" not in {one["state"] for one in report["findings"]}
    # Beside several folders there is one more for each process.
    assert (tmp_path / "new" / "further-1" / "rows.jsonl").is_file()


def test_nothing_is_measured_where_all_is_decided_or_the_budget_is_over(
    cli: Cli, scripted: Path, tmp_path: Path
) -> None:
    device = replay(tmp_path / "device", jitter(101))
    clean = keep(tmp_path / "clean", "n1", jitter(100), SCRIPTED, SUITE)
    assert check(cli, clean, scripted, device, "--budget", "60s")[0] == 0
    slow = keep(tmp_path / "open", "n1", slow_in_one(100), SCRIPTED, SUITE)
    assert check(cli, slow, scripted, device, "--budget", "1s")[0] == 3
    for folder in (clean, slow):
        assert len(processes.read(folder).rows[CASES[2]]) == 1


def test_another_machine_and_a_budget_without_a_unit_are_refused(
    cli: Cli, scripted: Path, tmp_path: Path
) -> None:
    new = keep(tmp_path / "new", "n1", slow_in_one(100), SCRIPTED, SUITE)
    code, _, err = check(cli, new, scripted, "cpu", "--budget", "60s")
    assert code == 2
    assert "not the machine" in err
    assert check(cli, new, scripted, "cpu", "--budget", "60")[0] == 2


def test_what_needs_the_fewest_processes_comes_first_and_must_fit(tmp_path: Path) -> None:
    keep(tmp_path / "new", "n1", jitter(100))
    side = processes.read(tmp_path / "new")
    for rows, wall_s in zip(side.rows.values(), (5.0, 3.0, 4.0, 1.0), strict=True):
        object.__setattr__(rows[-1], "wall_s", wall_s)
    needs = zip(CASES, (7, 2, 1, None), strict=True)
    findings = [
        Finding(subject=key, state="undecided", outcome="undecided", reason="", figures={"more": more})
        for key, more in needs
    ]
    assert affordable(findings, side, 100.0) == [CASES[2], CASES[1], CASES[0]]
    assert affordable(findings, side, 7.0) == [CASES[2], CASES[1]]
    assert affordable(findings, side, 3.5) == [CASES[1]]
    assert affordable(findings, side, -1.0) == []


def test_a_cpu_measures_on(cli: Cli, tmp_path: Path) -> None:
    case = "lightning_eager,fwd,b1,t64,h1,d16,fp32,cpu"
    code, _, err = cli(
        "run", "--case", case, "--case-budget", 0.02, "--in-process", "--out", tmp_path / "new"
    )
    assert code == 0, err
    whole = results.read(tmp_path / "new")
    (row,) = whole.rows.values()
    writer = results.Writer(tmp_path / "baseline")
    for number, (name, content) in enumerate(5 * list(whole.environments.items())):
        scale = 1 + 0.02 * number
        writer.document("environments", name, content)
        writer.document("runs", f"b{number}", whole.runs[row.run])
        times = tuple(scale * time_ms for time_ms in row.times_ms)
        writer.append(dataclasses.replace(row, run=f"b{number}", times_ms=times))
    writer.close()
    # So small a margin leaves it undecided; how many processes follow depends on the clock.
    margin = ("--margin", "0.0001", "--widest", "0.0001", "--budget", "60s")
    code, out, err = cli(
        "check", "regression", tmp_path / "new", "--baseline", tmp_path / "baseline", *margin
    )
    assert code in (0, 1, 3), err
    assert len(processes.read(tmp_path / "new").rows[case]) >= 2, out + err
