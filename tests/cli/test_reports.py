"""`lbench plot`, `table` and `export` on result folders, in-process: what they write, say and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from models.scripted import row_of, write
from rows import make_row

from lbench import models, results

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "run"
    writer = results.Writer(place)
    writer.document("runs", "r1", {"environment": "e1", "copy_bandwidth_gb_s": 12.0, "lbench_commit": "abc"})
    writer.document("environments", "e1", {"torch": "2.13.0", "gpu": None})
    for number, seq_len in enumerate((1024, 2048, 4096)):
        writer.append(make_row(seq_len=seq_len, time_ms=1.0 * 2**number))
        verdict = "ok" if seq_len < 4096 else "out_of_memory"
        softmax = {"backend": "sdpa_math", "mechanism": "softmax", "seq_len": seq_len}
        writer.append(make_row(verdict, time_ms=0.6 * 4**number, **softmax))
    writer.close()
    return place


def test_plot_writes_its_figures_beside_the_rows_and_names_them(cli: Cli, folder: Path) -> None:
    code, out, err = cli("plot", folder)
    assert (code, err) == (0, "")
    written = sorted(path.name for path in (folder / "figures").iterdir())
    assert written == [
        "error-batch-1.png",
        "peak-memory-batch-1.png",
        "relative-speed-batch-1.png",
        "throughput-batch-1.png",
        "time-batch-1.png",
        "time-per-token-batch-1.png",
    ]
    assert sorted(Path(line).name for line in out.splitlines()) == written


def test_plot_twice_gives_the_same_files(cli: Cli, folder: Path, tmp_path: Path) -> None:
    arguments = ("plot", folder, "--format", "svg", "--metric", "time_ms,error_out", "--out")
    assert cli(*arguments, tmp_path / "a")[0] == cli(*arguments, tmp_path / "b")[0] == 0
    names = [path.name for path in (tmp_path / "a").iterdir()]
    assert sorted(names) == ["error-out-batch-1.svg", "time-batch-1.svg"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "pgn"), "did you mean png"),
        (("--metric", "time"), "did you mean time_ms"),
        (("--metric", "time_ms,"), "empty name"),
        (("--backend", "sdpa_mat"), "did you mean sdpa_math"),
        (("--pass", "bwd"), "unknown pass in these results 'bwd'"),
        (("--relative-to", "lightning_eagr"), "did you mean lightning_eager"),
        (("--relative-to", "lightning_eager", "--metric", "time_ms"), "--relative-to is for relative_speed"),
        (("--metric", "floor_share", "--backend", "nothing"), "unknown backend"),
    ],
)
def test_plot_refuses_in_one_line_and_writes_nothing(
    cli: Cli, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = cli("plot", folder, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (folder / "figures").exists()


def test_an_out_that_is_a_file_is_refused(cli: Cli, folder: Path) -> None:
    code, _, err = cli("plot", folder, "--out", folder / "rows.jsonl", "--metric", "time_ms")
    assert code == 2
    assert "choose another --out" in err


def test_rows_without_a_time_are_counted_instead_of_drawn(cli: Cli, tmp_path: Path) -> None:
    writer = results.Writer(tmp_path / "run")
    writer.append(make_row("unavailable"))
    writer.close()
    code, _, err = cli("plot", tmp_path / "run")
    assert code == 2
    assert "1 unavailable" in err
    assert cli("table", tmp_path / "run")[0] == 0


@pytest.mark.parametrize("command", ["plot", "table", "export"])
def test_no_rows_no_report(cli: Cli, tmp_path: Path, command: str) -> None:
    assert cli(command, tmp_path)[0] == 2
    (tmp_path / "rows.jsonl").touch()
    code, _, err = cli(command, tmp_path)
    assert code == 2
    assert "no rows yet" in err


def test_a_cut_off_line_is_told_and_the_rest_is_used(cli: Cli, folder: Path) -> None:
    path = folder / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    code, out, err = cli("export", folder)
    assert code == 0
    assert "line 6 is cut off" in err
    assert len(out.splitlines()) == 6


def test_table_shows_the_best_and_the_failure(cli: Cli, folder: Path) -> None:
    code, out, _ = cli("table", folder, "--format", "markdown")
    assert code == 0
    assert "| SDPA math | **0.603** |" in out
    assert "OOM" in out
    assert cli("table", folder)[1].count("*") == 3 + 1


@pytest.mark.parametrize("kind", ["rich", "markdown", "csv", "latex"])
def test_every_table_format_answers(cli: Cli, folder: Path, kind: str) -> None:
    code, out, _ = cli(
        "table", folder, "--format", kind, "--metric", "relative_speed", "--backend", "sdpa_math"
    )
    assert code == 0
    assert "math" in out


def test_a_reference_alone_asks_for_relative_speed(cli: Cli, folder: Path, tmp_path: Path) -> None:
    """Of mixers and of models; beside another metric it would say nothing, so it is refused."""
    case = models.fields_of("tnl-tiny", "lightning_triton", "lightning", "native", "", "cuda")
    of_models = write(tmp_path / "models", [row_of(case)])
    for rows, backend in ((folder, "sdpa_math"), (of_models, "lightning_triton")):
        code, out, _ = cli("table", rows, "--relative-to", backend)
        assert (code, "speed relative to" in out) == (0, True)
        assert out == cli("table", rows, "--relative-to", backend, "--metric", "relative_speed")[1]
        code, out, err = cli("table", rows, "--relative-to", backend, "--metric", "time_ms")
        assert (code, out) == (2, "")
        assert "--relative-to is for relative_speed" in err
        code, _, err = cli("table", rows, "--relative-to", backend[:-1])
        assert (code, f"did you mean {backend}" in err) == (2, True)


def test_table_takes_one_format(cli: Cli, folder: Path) -> None:
    code, _, err = cli("table", folder, "--format", "csv,latex")
    assert code == 2
    assert "one at a time" in err


def test_export_writes_one_line_a_row(cli: Cli, folder: Path, tmp_path: Path) -> None:
    code, out, _ = cli("export", folder, "--format", "json")
    assert code == 0
    assert [row["seq_len"] for row in json.loads(out)] == [1024, 1024, 2048, 2048, 4096, 4096]
    code, out, _ = cli("export", folder, "--out", tmp_path / "rows.csv")
    assert out == f"6 rows: {tmp_path / 'rows.csv'}\n"
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 7


def test_parquet_needs_a_file(cli: Cli, folder: Path) -> None:
    code, _, err = cli("export", folder, "--format", "parquet")
    assert code == 2
    assert "--out" in err


def test_lengths_can_be_chosen(cli: Cli, folder: Path) -> None:
    code, stdout, stderr = cli("table", folder, "--format", "csv", "--seq", "1..2k")
    assert code == 0, stderr
    lengths = [int(name) for name in stdout.splitlines()[0].split(",") if name.isdigit()]
    assert lengths
    assert max(lengths) <= 2048
    code, _, stderr = cli("table", folder, "--seq", "3m")
    assert code == 2
    assert "no row has a length of --seq 3m; there are" in stderr
