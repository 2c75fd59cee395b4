"""Nsight Compute: its pages read, its failures told, and how it is called (a stand-in answers for it)."""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ncu_pages import LATE, PAGE, WALK, page

from lbench.case import Case
from lbench.profiling import bounds, counters, nsight
from lbench.profiling.analysis import group
from lbench.profiling.trace import Unreadable

CASE = Case(backend="lightning_triton", mechanism="lightning", pass_name="fwdbwd", seq_len=131072)


def test_a_raw_page_by_kernel() -> None:
    walk, inter = counters.parse(PAGE)
    assert (walk.name, walk.grid, walk.block, walk.blocks) == ("walk_kernel", (128, 1, 1), (256, 1, 1), 128)
    assert walk.time_ms == pytest.approx(0.98512)
    assert walk.dram_bytes == 1_612_345_088 + 536_870_912
    assert walk.flops == 206_158_430_208 + 2 * 1_000_000, "a path of the tensor cores is no further work"
    assert walk.occupancy == 0.125
    assert inter.flops == 2 * 1_000_000, "n/a is no number"


def test_stalls_are_shares_of_waiting() -> None:
    walk, _ = counters.parse(PAGE)
    assert list(walk.stalls) == ["gmma", "long_scoreboard", "barrier"]
    assert sum(walk.stalls.values()) == pytest.approx(1.0)
    assert walk.stalls["gmma"] == pytest.approx(0.6)


def test_units_other_than_the_base_are_read() -> None:
    text = PAGE.replace('"ns"', '"us"').replace('"byte"', '"Mbyte"')
    walk, _ = counters.parse(text)
    assert walk.time_ms == pytest.approx(985.12)
    assert walk.dram_bytes == pytest.approx(2_149_216_000 * 1e6)


def test_what_bounds_a_kernel() -> None:
    walk, inter = counters.parse(PAGE)
    assert bounds.sentence(walk, 132) == (
        "bound by memory: DRAM moves 74% of what it can; "
        "warps wait most for a product of a warp group (wgmma) (60% of their waiting)"
    )
    assert "bound by latency" in bounds.sentence(inter, 132)
    assert "16 blocks leave 116 of 132 multiprocessors without work" in bounds.sentence(inter, 132)
    busy = {**WALK, "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": "20"}
    for metric, word in (
        ("sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed", "tensor cores"),
        ("lts__throughput.avg.pct_of_peak_sustained_elapsed", "L2"),
        ("sm__throughput.avg.pct_of_peak_sustained_elapsed", "pipes"),
    ):
        (one,) = counters.parse(page([("k", "(999, 1, 1)", {**busy, metric: "88.0"})]))
        assert bounds.sentence(one, 132).startswith(
            f"bound by the {word}" if word != "pipes" else "bound by the mult"
        )
    (empty,) = counters.parse(page([("k", "(1, 1, 1)", {"gpu__time_duration.sum": "5"})]))
    assert bounds.sentence(empty, 132).startswith("not told")


def test_launches_of_one_kernel_stand_together() -> None:
    made = group(
        counters.parse(page([("a", "(8, 1, 1)", WALK), ("b", "(16, 1, 1)", LATE), ("a", "(8, 1, 1)", WALK)])),
        132,
    )
    assert [(one.longest.name, one.launches) for one in made] == [("b", 1), ("a", 2)]
    assert sum(one.share for one in made) == pytest.approx(1.0)
    assert made[1].time_ms == pytest.approx(2 * 0.98512)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "==ERROR== something",
        '"ID","Metric Name"\n',
        '"ID","Kernel Name","Section Name","Metric Name","Metric Value"\n"0","k","s","m","1"\n',
        "\n".join(PAGE.splitlines()[:2]),
    ],
)
def test_a_page_of_another_kind_is_told(text: str) -> None:
    with pytest.raises(Unreadable):
        counters.parse(text)


@given(st.text(max_size=200), st.integers(0, len(PAGE)))
def test_no_damage_makes_another_error(noise: str, at: int) -> None:
    for text in (noise, PAGE[:at], PAGE[:at] + noise + PAGE[at:]):
        with contextlib.suppress(Unreadable):
            counters.parse(text)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission", "--cap-add=SYS_ADMIN"),
        ("==ERROR== Profiling failed because a driver resource was unavailable.", "dcgmi profmon --pause"),
        ("==WARNING== No kernels were profiled.", "ncu.log"),
        ("==PROF== Connected\n==ERROR== Unknown Error on device 0.", "Unknown Error on device 0"),
        ("", "it said nothing"),
    ],
)
def test_failures_of_ncu_say_what_mends_them(said: str, what: str) -> None:
    assert what in nsight.why(said, 1)


class StandIn:
    """Answers for ncu; `unknown` are metrics that it does not have."""

    def __init__(self, unknown: Sequence[str] = (), fails: str = "") -> None:
        self.unknown, self.fails = set(unknown), fails
        self.commands: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str], timeout_s: float) -> tuple[int, str]:
        self.commands.append(command)
        if "--import" in command:
            return 0, "==PROF== reading\n" + PAGE
        if self.fails:
            return 1, self.fails
        asked = command[command.index("--metrics") + 1].split(",") if "--metrics" in command else []
        for metric in asked:
            if metric.partition(".")[0] in self.unknown:
                return 1, f"==ERROR== Failed to find metric regex:^{metric.partition('.')[0]}\\.(sum|avg)$"
        Path(command[command.index("--export") + 1]).write_bytes(b"report")
        return 0, '==PROF== Profiling "walk_kernel": 0%....100% - 12 passes'


def test_ncu_watches_the_case_alone_and_its_page_names_nobody(tmp_path: Path) -> None:
    ncu = StandIn()
    assert nsight.watch(CASE, "cuda:0", tmp_path, 60.0, ncu, "ncu") == ""
    first = list(ncu.commands[0])
    assert first[first.index("--profile-from-start") + 1] == "off"
    assert json.loads(first[-2]) == CASE.as_dict()
    text = (tmp_path / "ncu.csv").read_text()
    assert "somewhere" not in text
    assert "python3.12" not in text
    assert counters.parse(text)[0].metrics == counters.parse(PAGE)[0].metrics


def test_metrics_that_a_card_lacks_are_left_out(tmp_path: Path) -> None:
    unknown = ["sm__ops_path_tensor_src_fp16", "gpu__dram_throughput"]
    ncu = StandIn(unknown)
    assert nsight.watch(CASE, "cuda:0", tmp_path, 60.0, ncu, "ncu") == ""
    last = next(command for command in reversed(ncu.commands) if "--metrics" in command)
    asked = last[list(last).index("--metrics") + 1]
    assert not any(name in asked for name in unknown)
    assert "dram__bytes_read.sum" in asked


def test_a_permission_is_asked_for_and_the_log_kept(tmp_path: Path) -> None:
    told = nsight.watch(CASE, "cuda:0", tmp_path, 60.0, StandIn(fails="==ERROR== ERR_NVGPUCTRPERM"), "ncu")
    assert "may not read the GPU's counters" in told
    assert "ERR_NVGPUCTRPERM" in (tmp_path / "ncu.log").read_text()


def test_ncu_is_found_in_its_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(nsight, "PLACES", ())
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert nsight.find() is None
    assert "not there" in nsight.watch(CASE, "cuda:0", tmp_path, 60.0)
    program = tmp_path / "cuda" / "bin" / "ncu"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho hello; exit 3\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    assert nsight.find() == str(program)
    assert nsight.run_process([str(program)], 10.0) == (3, "hello\n")


def test_a_program_that_hangs_is_ended() -> None:
    code, said = nsight.run_process(["/bin/sh", "-c", "echo begun; sleep 60 & sleep 60"], 0.5)
    assert code == -1
    assert "begun" in said
    assert "no end in" in said
