"""`lbench validate`: a sound folder passes, and every way of being wrong is named."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rows import make_row

import lbench
from lbench import export
from lbench.results import Writer, content_id

MACHINE = {"gpu": "a GPU", "device": "cuda"}
RESULTS = Path(__file__).parent.parent / "results"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = Writer(tmp_path / "out")
    writer.document("environments", content_id(MACHINE), MACHINE)
    writer.document("runs", "r1", {"environment": content_id(MACHINE), "copy_bandwidth_gb_s": 100.0})
    for seq_len in (1024, 2048, 4096):
        limits = {"o": {"rms": 0.1, "block": 0.1}, "dq": {"rms": 0.1, "block": 0.1}}
        writer.append(dataclasses.replace(make_row(seq_len=seq_len), limits=limits))
    writer.append(make_row("out_of_memory", seq_len=8192))
    writer.close()
    return tmp_path / "out"


def add(folder: Path, **fields: object) -> None:
    """A row more, as a writer with a fault might have made it."""
    writer = Writer(folder)
    writer.append(dataclasses.replace(make_row(seq_len=99), **fields))
    writer.close()


def alter_document(folder: Path) -> None:
    (path,) = (folder / "environments").iterdir()
    path.write_text(json.dumps({**MACHINE, "gpu": "a better GPU"}))


def write_twice(folder: Path) -> None:
    lines = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    (folder / "rows.jsonl").write_text("".join([*lines, lines[0]]))


def flip(folder: Path) -> None:
    data = bytearray((folder / "rows.jsonl").read_bytes())
    data[700] ^= 4
    (folder / "rows.jsonl").write_bytes(data)


def lose_run(folder: Path) -> None:
    (folder / "runs" / "r1.json").unlink()


def alter_export(folder: Path) -> None:
    text = export.to_csv(lbench.load(folder))
    assert "1.0045" in text
    (folder / "rows.csv").write_text(text.replace("1.0045", "0.9045", 1))


def alter_json_export(folder: Path) -> None:
    rows = json.loads(export.to_json(lbench.load(folder)))
    rows[1]["peak_mib"] *= 2
    (folder / "rows.json").write_text(json.dumps(rows))


def alter_table(folder: Path) -> None:
    text = table(folder)
    assert "1.00" in text
    (folder / "NOTES.md").write_text(text.replace("1.00", "0.90", 1))


def table(folder: Path) -> str:
    from lbench.report.table_formats import to_markdown
    from lbench.report.tables import tables

    return to_markdown(tables(lbench.load(folder)))


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (write_twice, "written 2 times"),
    (flip, "left out"),
    (lose_run, "its run r1 is not in runs/"),
    (alter_document, "it was altered"),
    (alter_export, "has time_ms 0.9045"),
    (alter_json_export, "has peak_mib 2"),
    (alter_table, "is not what the samples give"),
    (lambda folder: add(folder, times_ms=(1.0, -1.0)), "no positive time"),
    (lambda folder: add(folder, times_ms=()), "ok without samples"),
    (lambda folder: add(folder, rounds=(0, 5, 3)), "rounds do not part"),
    (lambda folder: add(folder, blocks=({"first": 0, "count": 3},)), "blocks do not hold"),
    (lambda folder: add(folder, protocol="nowhere"), "its protocol nowhere"),
    (lambda folder: add(folder, limits={"o": {"rms": 1e-9, "block": 1.0}}), "error of o is over its limit"),
    (lambda folder: add(folder, verdict="crashed", times_ms=(), reason=""), "crashed without a reason"),
    (lambda folder: add(folder, memory={"inputs": -1}), "no count of bytes"),
]


def test_a_sound_folder_passes(cli, folder: Path) -> None:
    (folder / "rows.csv").write_text(export.to_csv(lbench.load(folder)))
    (folder / "rows.json").write_text(export.to_json(lbench.load(folder)))
    (folder / "NOTES.md").write_text(f"# Notes\n\n{table(folder)}\nwords\n")
    assert cli("plot", folder, "--metric", "time_ms")[0] == 0
    assert cli("validate", folder, "--figures") == (0, "", f"{folder}: nothing wrong\n")
    assert json.loads(cli("validate", folder, "--json")[1]) == {str(folder): []}


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_every_fault_is_named_and_exits_with_1(cli, folder: Path, fault, message: str) -> None:
    fault(folder)
    code, stdout, stderr = cli("validate", folder)
    assert code == 1
    assert message in stdout
    assert "wrong" in stderr


def test_a_figure_of_other_rows_is_found(cli, folder: Path) -> None:
    assert cli("plot", folder, "--metric", "time_ms")[0] == 0
    add(folder)
    assert cli("validate", folder)[0] == 0
    code, stdout, _ = cli("validate", folder, "--figures")
    assert code == 1
    assert "figures/time-batch-1.png" in stdout


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
@pytest.mark.parametrize(
    "command",
    [
        ("plot", "--seq", "1k,4k", "--backend", "lightning_eager"),
        ("plot", "--metric", "floor_share, time_ms", "--pass", "fwd"),
        ("roofline", "--seq", "2k..4k"),
    ],
)
def test_a_figure_is_drawn_again_with_its_own_selection(cli, folder: Path, command, kind: str) -> None:
    assert cli(command[0], folder, *command[1:], "--format", kind)[0] == 0
    assert cli("validate", folder, "--figures") == (0, "", f"{folder}: nothing wrong\n")
    row = make_row(seq_len=2048 if command[0] == "roofline" else 4096, time_ms=9.0)
    add(folder, case=row.case, times_ms=row.times_ms)
    _, stdout, _ = cli("validate", folder, "--figures")
    assert f"`lbench {command[0]}` redraws it" in stdout


def test_a_frontier_is_drawn_again(cli, folder: Path) -> None:
    assert cli("frontier", "--of", folder)[0] == 0
    assert cli("validate", folder, "--figures")[0] == 0
    add(folder, case=make_row(seq_len=6144).case)
    assert "figures/frontier.png" in cli("validate", folder, "--figures")[1]


def test_a_figure_that_does_not_say_its_selection_is_told_apart(cli, folder: Path) -> None:
    from PIL import Image

    assert cli("plot", folder, "--seq", "1k,4k", "--metric", "time_ms")[0] == 0
    path = folder / "figures" / "time-batch-1.png"
    Image.open(path).save(path)
    (folder / "figures" / "mine.png").write_bytes(path.read_bytes())
    code, stdout, stderr = cli("validate", folder, "--figures")
    assert code == 1
    assert "does not say what was selected for it" in stdout
    assert f"{folder}: 1 wrong" in stderr, "a picture of somebody's own is none of ours"


def test_a_figure_of_several_folders_is_no_figure_of_one(cli, folder: Path, tmp_path: Path) -> None:
    import shutil

    other = shutil.copytree(folder, tmp_path / "other")
    assert cli("plot", folder, other, "--metric", "time_ms")[0] == 0
    code, stdout, _ = cli("validate", folder, "--figures")
    assert code == 1
    assert "other folders" in stdout


def test_kept_figures_say_how_they_were_drawn() -> None:
    from lbench.plot.redraw import read_origin

    kept = sorted(RESULTS.glob("*/figures/*.png"))
    assert kept
    assert all(read_origin(path) for path in kept)


def test_no_folder_is_a_usage_error(cli, tmp_path: Path) -> None:
    assert cli("validate", tmp_path)[0] == 2


@pytest.mark.parametrize("kept", sorted(RESULTS.glob("*/rows.jsonl*")), ids=lambda path: path.parent.name)
def test_kept_results_are_sound(cli, kept: Path) -> None:
    code, stdout, _ = cli("validate", kept.parent)
    assert code == 0, stdout


def test_the_interval_is_checked_against_another_formula(folder: Path) -> None:
    from lbench.validate import problems

    for count in (1, 2, 5, 6, 7, 20, 101, 1500):
        times_ms = tuple(1 + (7919 * i % 1000) * 1e-4 for i in range(count))
        add(folder, case=make_row(seq_len=count).case, times_ms=times_ms)
    assert not problems(folder)
