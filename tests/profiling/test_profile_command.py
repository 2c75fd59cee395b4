"""`lbench profile` from end to end on a CPU, and on kept output of a GPU's tools."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gpu_trace import gpu_events
from ncu_pages import LATE, WALK, page

from lbench.case import Case
from lbench.profiling import folder
from lbench.profiling.analysis import analyse

Cli = Callable[..., tuple[int, str, str]]
KEY = "lightning_eager,fwdbwd,b1,t256,h2,d16,fp32,cpu"
CARD = {"multiprocessors": 132, "warps": 64, "registers": 65536, "shared_bytes": 233472}


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of a small case on the CPU with all that can be asked for."""
    from lbench.cli.main import main

    out = tmp_path_factory.mktemp("profiles") / "one"
    with pytest.raises(SystemExit) as stop:
        main(["profile", KEY, "--memory", "--triton", "--ncu", "--in-process", "--out", str(out)])
    assert stop.value.code in (0, None)
    return out


def test_a_cpu_gets_operators_findings_memory_and_reasons(taken: Path) -> None:
    one = analyse(folder.read(taken))
    assert one.rest is not None
    assert sum(kernel.share for kernel in one.kernels) == pytest.approx(1.0)
    assert sum(one.rest.parts_ms.values()) == pytest.approx(one.rest.span_ms)
    assert {"aten::bmm", "aten::copy_"} <= {kernel.name for kernel in one.kernels}
    assert not one.on_gpu
    assert one.time_ms is not None
    assert one.peak is not None
    assert sum(site.bytes for site in one.peak.sites) == one.peak.bytes
    assert any("lightning_eager.py" in site.where for site in one.peak.sites)
    assert one.executed_flops is not None
    assert one.executed_flops > one.useful_flops / 2
    assert set(one.missing) == {"ncu", "triton"}
    assert "gradient accumulation" not in {seen.finding.value for seen in one.seen}
    assert (taken / folder.FIGURE).read_bytes().startswith(b"\x89PNG")


def test_the_folder_names_no_machine_and_no_user(taken: Path) -> None:
    import os
    import re
    import socket

    for path in taken.iterdir():
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert str(Path.home()).encode() + b"/" not in raw or path.suffix == ".png"
        assert str(Path(__file__).parents[2]).encode() not in raw, path
        if len(socket.gethostname()) > 4:
            assert socket.gethostname().encode() not in raw, path
        assert b"host_name" not in raw
    number = rf"(?<![\d.]){os.getpid()}(?![\d.])"  # not as a part of another number
    assert not re.search(number, (taken / folder.DOCUMENT).read_text())


def test_a_kept_profile_is_shown_again_and_as_json(taken: Path, cli: Cli) -> None:
    code, out, _ = cli("profile", "--reparse", taken)
    assert code == 0
    assert "Seen in the timed region" in out
    shown = " ".join(out.split())
    assert "this is a CPU" in shown
    assert "operators are called from 1 thread; torch computes with" in shown
    code, out, _ = cli("profile", "--reparse", taken, "--json")
    (told,) = json.loads(out)
    assert told["key"] == KEY
    assert sum(kernel["share"] for kernel in told["kernels"]) == pytest.approx(1.0)


def test_a_row_names_a_case(tmp_path: Path, cli: Cli) -> None:
    from rows import make_row

    from lbench.results import Writer

    writer = Writer(tmp_path / "results")
    row = make_row(seq_len=64, heads=1, head_dim=16, dtype="fp32", pass_name="fwd")
    writer.append(row)
    writer.close()
    out = tmp_path / "profile"
    code, shown, _ = cli(
        "profile", "--row", f"{tmp_path / 'results'}:{row.case.key}", "--in-process", "--out", out
    )
    assert code == 0
    assert shown.startswith(row.case.key)
    assert folder.read(out).case == row.case
    code, _, error = cli("profile", "--row", f"{tmp_path / 'results'}:{row.case.key}x")
    assert code == 2
    assert row.case.key in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give cases by their keys"),
        ([KEY, "--row", "a:b"], "give cases by their keys"),
        (["--row", "nowhere:x"], "RESULTS:KEY"),
        (["--reparse", "nowhere"], "profile.json"),
        (["--compare", "nowhere", "elsewhere"], "profile.json"),
        (["lightning_eagr,fwd,b1,t64,h1,d16,fp32,cpu"], "lightning_eager"),
        ([KEY, "--device", "replay:x"], "replay runs no kernel"),
        ([KEY, "--out", "/"], "nothing is overwritten"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(arguments: list[str], said: str, cli: Cli) -> None:
    code, out, error = cli("profile", *arguments)
    assert (code, out) == (2, "")
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_a_case_outside_its_limits_is_not_profiled(cli: Cli) -> None:
    code, _, error = cli("profile", "lightning_eager,fwd,b1,t64,h4,d16,fp32,cpu,kv_heads=2", "--in-process")
    assert code == 1
    assert "unsupported: kv_heads 2" in error
    assert "Traceback" not in error


def kept_on_gpu(path: Path, backend: str, kernels: list[tuple[str, str, Any]], slower: float = 1.0) -> Path:
    """A folder as a GPU's tools leave it, the backward `slower` times as long."""
    path.mkdir()
    events = gpu_events()
    for event in events:
        if event.get("cat") == "kernel" and event["args"]["correlation"] % 100 == 4:
            event["name"], event["dur"] = kernels[-1][0], event["dur"] * slower
    with gzip.open(path / folder.TRACE, "wt") as file:
        json.dump({"traceEvents": events}, file)
    (path / folder.NCU).write_text(page(kernels))
    case = Case(backend=backend, mechanism="lightning", pass_name="fwdbwd", seq_len=131072)
    document = {
        "case": case.as_dict(),
        "card": CARD,
        "calls": 2,
        "times_ms": [0.5 * slower, 0.51 * slower],
        "environment": {"gpu": "NVIDIA H100 80GB HBM3"},
        "facts": {"gradients_wanted": True, "saved_tensors": 3, "l2_bytes": 50 * 2**20},
        "parts": {"trace": "", "ncu": "", "memory": "RuntimeError: no snapshot"},
    }
    folder.write(path, document)
    return path


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    walk = ("walk_kernel", "(128, 1, 1)", WALK)
    ours = kept_on_gpu(tmp_path / "ours", "lightning_triton", [walk, walk])
    theirs = kept_on_gpu(
        tmp_path / "theirs",
        "lightning_authors",
        [walk, ("_bwd_inter_kernel", "(16, 1, 1)", LATE)],
        slower=1.5,
    )
    return ours, theirs


def test_output_of_a_gpus_tools_is_shown(
    two: tuple[Path, Path], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    code, out, _ = cli("profile", "--reparse", two[1])
    assert code == 0
    shown = " ".join(out.split())
    for text in (
        "_bwd_inter_kernel",
        "16 blocks leave 116 of 132 multiprocessors without work",
        "gap: the host was late",
        "transposed copy",
        "5.91 GB must move",
        "no memory: RuntimeError: no snapshot",
    ):
        assert text in shown, text
    assert max(map(len, out.splitlines())) <= 140


def test_two_profiles_kernel_by_kernel(two: tuple[Path, Path], cli: Cli) -> None:
    code, out, _ = cli("profile", "--compare", *two, "--json")
    assert code == 0
    told = json.loads(out)
    sides = [
        sum(pair[side]["time_ms"] for pair in told["pairs"] if pair[side]) for side in ("first", "second")
    ]
    assert sum(pair["difference_ms"] for pair in told["pairs"]) == pytest.approx(sides[1] - sides[0])
    sentence, moved, executed, launched = told["told"]
    assert moved == "lightning-attn (authors) moves 4.3 GB, Lightning (ours, Triton) 4.3 GB."
    assert "TFLOP" in executed
    assert launched == "lightning-attn (authors) launches 4 kernels, Lightning (ours, Triton) 4."
    assert sentence.startswith(
        "lightning-attn (authors) takes 1.32 times the kernel time of Lightning (ours, Triton)"
    )
    assert "_bwd_inter_kernel 0.45 ms" in sentence
    assert "16 blocks leave" in sentence
    code, out, _ = cli("profile", "--compare", two[0], two[0])
    assert "same time, within half a percent" in out


@pytest.mark.parametrize("name", [folder.TRACE, folder.NCU])
def test_a_file_that_was_damaged_leaves_the_other_parts(name: str, two: tuple[Path, Path], cli: Cli) -> None:
    path = two[1] / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    code, out, error = cli("profile", "--reparse", two[1])
    assert (code, error) == (0, "")
    part = "trace" if name == folder.TRACE else "ncu"
    assert re.search(rf"^no {part}: ", out, re.MULTILINE) or part == "ncu"
    assert "ncu" in out or "walk_kernel" in out


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "case": 5}'])
def test_a_damaged_document_is_told(content: str, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / folder.DOCUMENT).write_text(content)
    code, _, error = cli("profile", "--reparse", tmp_path)
    assert code == 2
    assert "cannot be read" in error


def test_a_document_is_there_before_ncu_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lbench.device import Device
    from lbench.profiling import nsight
    from lbench.profiling.session import Session

    class Recorder:
        def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
            recorded = {"verdict": "ok", "reason": "", "profile": {"calls": 2, "parts": {"trace": ""}}}
            return recorded if request["do"] == "profile" else {}

        def close(self) -> None:
            """Nothing to end."""

    def ended(case: Case, device: str, path: Path, timeout_s: float) -> str:
        assert "ended before" in folder.read(path).missing["ncu"]
        raise OSError("no such program")

    monkeypatch.setattr(nsight, "watch", ended)
    device = Device(device="cuda:0", environment={"device": "cuda", "gpu": "x"}, copy_bandwidth_gb_s=1.0)
    case = Case(backend="lightning_eager", mechanism="lightning", device="cuda")
    session = Session(
        case=case, device=device, folder=tmp_path / "one", wanted=["ncu"], timeout_s=1.0, make_worker=Recorder
    )
    assert session.take().missing["ncu"].startswith("ncu could not be started: no such program")


@pytest.mark.parametrize("columns", [30, 60, 79, 140])
def test_a_narrow_terminal_loses_columns_but_no_figure(
    columns: int, two: tuple[Path, Path], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for arguments in (["--reparse", two[1]], ["--compare", *two]):
        code, out, _ = cli("profile", *arguments)
        assert code == 0
        assert max(map(len, out.splitlines())) <= columns or columns < 40
        assert "0.45" in out
        assert ("wider terminal" in out) == (columns < 60) or columns in (60, 79)


def test_new_folders_are_named_by_their_case_and_never_taken(tmp_path: Path) -> None:
    from lbench.cli.profile import new_folder

    case = Case(backend="some/where/mine.py:walk", mechanism="lightning")
    names = []
    for _ in range(3):
        folder_of_case = new_folder(case, tmp_path)
        folder_of_case.mkdir()
        names.append(folder_of_case.name)
    assert len(set(names)) == 3
    assert all(name.startswith("some-where-mine.py-walk-fwd-b1-t1024-") for name in names)


def test_sums_over_a_call_that_was_not_counted_to_its_end_are_not_told(tmp_path: Path, cli: Cli) -> None:
    many = [("walk_kernel", f"({number}, 1, 1)", WALK) for number in range(1, 101)]
    path = kept_on_gpu(tmp_path / "many", "lightning_triton", many)
    one = analyse(folder.read(path))
    assert (one.executed_flops, one.moved_bytes) == (None, None)
    _, out, _ = cli("profile", "--reparse", path)
    assert "only the first 100 launches were counted" in " ".join(out.split())
