"""A model from a file is its content: what changes is another model, and no folder is part of its name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from models.test_passes import HASTY

from lbench import models, plan, results
from lbench.case import Case
from lbench.errors import UsageError
from lbench.models import classes
from lbench.protocol import Stopping

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 256,
}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch, tmp_path):
    """No folder is looked in but the current one, and no file was met before."""
    monkeypatch.setenv("LBENCH_MODELS", "")
    monkeypatch.chdir(tmp_path)
    forget()
    yield
    forget()


def write(folder: Path, layers: int = 2, **layout: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "small.json"
    path.write_text(json.dumps({**LLAMA, "num_hidden_layers": layers}, **layout))
    return path


def forget() -> None:
    """As a new process begins."""
    models._load.cache_clear()
    models._resolved.cache_clear()


def test_the_name_is_the_content_whatever_the_folder_and_the_layout(tmp_path):
    path = write(tmp_path / "a")
    name = models.load(str(path)).name
    assert name.startswith("small.json@")
    assert models.load(str(write(tmp_path / "b", indent=3, sort_keys=True))).name == name
    assert models.load(str(write(tmp_path / "a", layers=3))).layers == 3
    assert models.load(str(path)).name != name
    assert models.load(name).layers == 2
    case = models.fields_of(str(path), "softmax_eager", "softmax", "native", "", "cpu")
    assert case.model == models.load(str(path)).name
    assert Case.from_key(case.key, "softmax") == case
    assert classes.named(str(path)) == (case.model,)


def test_a_name_is_found_in_the_current_folder_and_in_those_that_were_met(tmp_path, monkeypatch):
    path = write(tmp_path / "a")
    name = models.load(str(path)).name
    assert os.environ["LBENCH_MODELS"] == str(tmp_path / "a")
    models.load(os.path.relpath(path))
    assert os.environ["LBENCH_MODELS"] == str(tmp_path / "a")
    other = write(tmp_path / "b", layers=5)
    models.load(str(other))
    assert os.environ["LBENCH_MODELS"].split(os.pathsep) == [str(tmp_path / "b"), str(tmp_path / "a")]
    forget()
    assert models.load(name).layers == 2
    monkeypatch.setenv("LBENCH_MODELS", "")
    forget()
    with pytest.raises(UsageError, match="none was found in the current folder; go to its folder"):
        models.load(name)
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(UsageError, match=r"small\.json has other content; .*LBENCH_MODELS$") as told:
        models.load(name)
    assert "\n" not in str(told.value)
    monkeypatch.chdir(tmp_path / "a")
    assert models.load(name).layers == 2


def run(cli, tmp_path, *arguments: str) -> tuple[int, str, str]:
    hasty = tmp_path / "hasty.toml"
    hasty.write_text(HASTY)
    flags = ("--seq", "32", "--pass", "decode", "--dtype", "fp32", "--device", "cpu")
    return cli("run", hasty, *arguments, *flags, "--out", tmp_path / "out", "--resume")


def test_a_resume_measures_a_changed_file_and_its_workers_find_it(cli, tmp_path):
    for layers in (2, 3, 3):
        path = write(tmp_path / "private", layers)
        code, _, stderr = run(cli, tmp_path, "--model", path)
        assert code == 0, stderr
        forget()
    rows = list(results.read(tmp_path / "out").rows.values())
    assert [row.verdict for row in rows] == ["ok", "ok"], [row.reason for row in rows]
    assert "nothing to do" in stderr
    kept = [path.read_text() for path in (tmp_path / "out").rglob("*.json*")]
    assert not [text for text in kept if "private" in text]
    (key,) = [row.case.key for row in rows if row.case.model == models.name_of(str(path))]
    code, _, stderr = cli("run", "--case", key, "--out", tmp_path / "out", "--resume")
    assert (code, "nothing to do" in stderr) == (0, True), stderr


def test_rows_outlive_their_file(cli, tmp_path, monkeypatch):
    out = tmp_path / "out"
    for layers in (2, 3):
        path = write(tmp_path / "a", layers)
        assert run(cli, tmp_path, "--model", path, "--in-process")[0] == 0
    path.unlink()
    monkeypatch.setenv("LBENCH_MODELS", "")
    forget()
    for command in (
        ("table", out),
        ("show", out),
        ("export", out, "--format", "json"),
        ("validate", out),
        ("report", out, "--out", tmp_path / "report.html"),
        ("plot", out),
        ("compare", out, out),
    ):
        code, stdout, stderr = cli(*command)
        assert code == 0, (command, stdout, stderr)
    rows = list(results.read(out).rows.values())
    code, _, stderr = cli("run", "--case", rows[0].case.key, "--out", tmp_path / "other")
    assert (code, len(stderr.splitlines())) == (2, 1)
    assert rows[0].case.model in stderr
    # Nor do they stand in the way of what is measured beside them.
    case = models.fields_of("llama-tiny", "softmax_eager", "softmax", "native", "", "cpu")
    assert plan.Plan(Stopping(), 50.0).predict(case, rows) == plan.Plan(Stopping(), 50.0).predict(case, [])


@pytest.mark.parametrize("command", ["table", "plot", "filter", "frontier"])
def test_rows_are_chosen_by_the_file_too_and_no_path_is_kept(cli, tmp_path, command):
    paths = [write(tmp_path / f"private{layers}", layers) for layers in (2, 3)]
    given = ",".join(map(str, paths))
    hasty = tmp_path / "hasty.toml"
    hasty.write_text(HASTY)
    flags = ("--seq", "16,32", "--pass", "decode", "--dtype", "fp32", "--device", "cpu", "--in-process")
    assert cli("run", hasty, "--model", given, *flags, "--out", tmp_path / "out")[0] == 0
    name, other = map(models.name_of, map(str, paths))
    folder = ("--of", tmp_path / "out") if command == "frontier" else (tmp_path / "out",)
    out = () if command == "table" else ("--out", tmp_path / "part")
    code, stdout, stderr = cli(command, *folder, "--model", paths[0], *out)
    assert code == 0, stderr
    if command in ("table", "frontier"):
        assert name in stdout
        assert other not in stdout
    kept = {path.name: path.read_bytes() for path in (tmp_path / "part").rglob("*.*")}
    assert bool(kept) == (command != "table")
    assert not [name for name, content in kept.items() if b"private" in content]
    assert other.encode() not in kept.get("rows.jsonl", b"")
