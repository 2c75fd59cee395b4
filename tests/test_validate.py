"""`lbench validate`: a sound folder passes, and every way of being wrong is named."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import make_row

import lbench
from lbench import export
from lbench.results import Writer, content_id

MACHINE = {"gpu": "a GPU", "cpu": "a CPU", "cores": 2, "device": "cpu", "torch": "2.13", "driver": None}
RESULTS = Path(__file__).parent.parent / "results"


RUN = {
    "environment": content_id(MACHINE),
    "copy_bandwidth_gb_s": 100.0,
    "matrix_tflop_s": {"bf16": 1.0},
    "suite": {"name": "test", "cell_timeout_s": 60.0},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "out")


def fill(folder: Path) -> Path:
    writer = Writer(folder)
    writer.document("environments", content_id(MACHINE), MACHINE)
    writer.document("runs", "r1", RUN)
    for seq_len in (1024, 2048, 4096):
        limits = {"o": {"rms": 0.1, "block": 0.1}, "dq": {"rms": 0.1, "block": 0.1}}
        writer.append(dataclasses.replace(make_row(seq_len=seq_len), limits=limits))
    writer.append(make_row("out_of_memory", seq_len=8192))
    writer.close()
    return folder


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


def alter_heading(folder: Path) -> None:
    text = table(folder)
    assert "batch 1" in text
    (folder / "NOTES.md").write_text(text.replace("1.00", "0.90", 1).replace("batch 1", "batch 2", 1))


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
    (alter_heading, "batch 2"),
    (lambda folder: add(folder, times_ms=(1.0, -1.0)), "no positive time"),
    (lambda folder: add(folder, times_ms=()), "ok without samples"),
    (lambda folder: add(folder, rounds=(0, 5, 3)), "rounds do not part"),
    (lambda folder: add(folder, blocks=({"first": 0, "count": 3},)), "blocks do not hold"),
    (lambda folder: add(folder, protocol="nowhere"), "its protocol nowhere"),
    (lambda folder: add(folder, limits={"o": {"rms": 1e-9, "block": 1.0}}), "error of o is over its limit"),
    (lambda folder: add(folder, verdict="crashed", times_ms=(), reason=""), "crashed without a reason"),
    (lambda folder: add(folder, memory={"inputs": -1}), "no count of bytes"),
    (lambda folder: add(folder, case=make_row(device="cuda").case), "of cuda, its run was on cpu"),
]


def test_a_sound_folder_passes(cli, folder: Path) -> None:
    (folder / "rows.csv").write_text(export.to_csv(lbench.load(folder)))
    (folder / "rows.json").write_text(export.to_json(lbench.load(folder)))
    (folder / "NOTES.md").write_text(f"# Notes\n\n{table(folder)}\nwords\n")
    assert cli("plot", folder, "--metric", "time_ms")[0] == 0
    assert cli("validate", folder, "--figures") == (0, "", f"{folder}: nothing wrong\n")
    assert json.loads(cli("validate", folder, "--json")[1]) == {str(folder): []}


def test_what_is_not_recomputed_is_told(cli, folder: Path) -> None:
    for name in ("report.html", "table.tex"):
        (folder / name).write_text("17.3 ms")
    said = f"{folder}: nothing wrong; numbers not recomputed: report.html, table.tex\n"
    assert cli("validate", folder) == (0, "", said)


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


def test_what_an_export_cannot_say_is_not_wrong(cli, folder: Path) -> None:
    """JSON has neither NaN nor infinity."""
    for value, length in ((math.nan, 16), (math.inf, 32)):
        errors = {"o": {"rms": value, "block": value}}
        wrong = dataclasses.replace(make_row("wrong", seq_len=length), errors=errors)
        add(
            folder,
            **{
                name: getattr(wrong, name)
                for name in ("case", "verdict", "reason", "errors", "times_ms", "memory")
            },
        )
    for kind in ("csv", "json"):
        assert cli("export", folder, "--format", kind, "--out", folder / f"rows.{kind}")[0] == 0
    assert cli("validate", folder)[0] == 0


def test_every_table_of_a_folder_is_known(cli, folder: Path) -> None:
    """Of any metric, and of speed relative to any backend."""
    writer = Writer(folder)
    writer.append(make_row(time_ms=3.0, backend="softmax_eager", mechanism="softmax"))
    writer.close()
    relative = ("relative_speed", "--relative-to")
    for options in (("ns_per_token",), (*relative, "lightning_eager"), (*relative, "softmax_eager")):
        code, text, _ = cli("table", folder, "--format", "markdown", "--metric", *options)
        assert code == 0
        (folder / f"{options[-1]}.md").write_text(text)
    assert cli("report", folder, "--format", "markdown", "--out", folder / "report.md")[0] == 0
    assert cli("validate", folder) == (0, "", f"{folder}: nothing wrong\n")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["key", "a"]), inner),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every kind."""
    made = fill(tmp_path_factory.mktemp("whole") / "out")
    protocol = {"l2": "cold", "timer": "events", "stopping": {"budget_s": 1.0}}
    writer = Writer(made)
    writer.document("protocols", content_id(protocol), protocol)
    timeout = dataclasses.replace(make_row("timeout", seq_len=512), protocol=content_id(protocol))
    writer.append(timeout)
    writer.close()
    (made / "rows.csv").write_text(export.to_csv(lbench.load(made)))
    (made / "rows.json").write_text(export.to_json(lbench.load(made)))
    (made / "NOTES.md").write_text(f"# Notes\n\n{table(made)}\nwords\n")
    return made


def damage(path: Path, data: st.DataObject) -> None:
    """Cuts a file off, flips a bit, or puts other JSON in its place or for something in it."""
    content = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1), label="where")
    how = data.draw(st.sampled_from(["cut", "flip", "replace", "alter"]), label="how")
    if how == "cut":
        del content[where:]
    elif how == "flip":
        content[where] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    elif how == "alter" and path.suffix == ".json":
        document = json.loads(content)
        alter(document, data)
        content = bytearray(json.dumps(document).encode())
    else:
        content = bytearray(json.dumps(data.draw(JSON, label="instead")).encode())
    path.write_bytes(content)


def alter(document: object, data: st.DataObject) -> None:
    """Other JSON for one value, however deep it lies; the checksum goes, as older files had none."""
    if isinstance(document, dict):
        document.pop("checksum", None)
    names = list(document) if isinstance(document, dict) else list(range(len(document)))
    name = data.draw(st.sampled_from(names), label="of")
    if (
        isinstance(document[name], dict | list)
        and document[name]
        and data.draw(st.booleans(), label="deeper")
    ):
        alter(document[name], data)
    else:
        document[name] = data.draw(JSON, label="instead")


@given(data=st.data())
def test_no_damage_ends_in_a_traceback(whole: Path, data: st.DataObject) -> None:
    from lbench.cli.main import main

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "out"
        shutil.copytree(whole, folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        damage(data.draw(st.sampled_from(paths), label="file"), data)
        for command in (("validate",), ("table",), ("show",), ("export",), ("export", "--format", "json")):
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
                contextlib.suppress(SystemExit),
            ):
                main([command[0], str(folder), *command[1:]])


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


def test_rows_that_were_only_verified_have_no_samples(cli, folder: Path) -> None:
    add(folder, times_ms=(), enqueue_us=())
    assert cli("validate", folder)[0] == 0
