"""`lbench run`, whole, on a CPU: what it keeps, what it refuses, what it survives."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from lbench import results

TINY = ("--heads", 2, "--head-dim", 16, "--device", "cpu", "--in-process", "--case-budget", 0.01)

KEY = "lightning_eager,fwd,b1,t64,h2,d16,fp32,cuda"

FUNCTIONS = '''
"""Functions of a user: right, wrong and broken."""
import torch

def right(q, k, v, slopes):
    time = torch.arange(q.shape[1], device=q.device)
    lag = time[:, None] - time[None, :]
    mask = torch.where(lag >= 0, torch.exp(-slopes[:, None, None] * lag.clamp(min=0)), 0.0)
    scores = torch.einsum("bthd,bshd->bhts", q, k) * mask.to(q.dtype)
    return torch.einsum("bhts,bshe->bthe", scores, v)

def forgets_decay(q, k, v, slopes):
    return right(q, k, v, slopes * 0)

def raises(q, k, v, slopes):
    raise RuntimeError("no such luck")

def wrong_shape(q, k, v, slopes):
    return q[:, :1]

def state_not_asked_for(q, k, v, slopes):
    return right(q, k, v, slopes), None

def nothing(q, k, v, slopes):
    right(q, k, v, slopes)
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS)
    return path


def rows_of(folder: Path) -> list[results.Row]:
    return list(results.read(folder).rows.values())


def test_a_sweep_ends_with_rows_documents_and_a_way_on(cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = cli(
        *("run", "--backend", "lightning_eager,softmax_eager", "--pass", "fwd,fwdbwd", "--seq", "16..64"),
        *("--out", out, *TINY),
    )
    assert code == 0, stderr
    rows = rows_of(out)
    assert [row.verdict for row in rows] == ["ok"] * 12
    assert all(row.times_ms and row.enqueue_us and row.memory["peak"] > 0 for row in rows)
    assert {"o", "dq", "dk", "dv"} <= set(rows[-1].errors)
    assert f"lbench plot {out}" in stderr
    assert not stdout
    (run,) = results.read(out).runs.values()
    assert run["suite"]["sweep"][0]["seq"] == ["16..64"]
    assert run["copy_bandwidth_gb_s"] > 0


def test_a_resume_goes_on_and_a_second_run_needs_its_own_folder(cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("run", "--backend", "lightning_eager", "--pass", "fwd", "--out", out, *TINY)
    assert cli(*arguments, "--seq", "16")[0] == 0
    before = (out / "rows.jsonl").read_bytes()
    code, _, stderr = cli(*arguments, "--seq", "16..32")
    assert (code, "add --resume" in stderr) == (2, True)
    assert (out / "rows.jsonl").read_bytes() == before
    code, _, stderr = cli(*arguments, "--seq", "16..32", "--resume")
    assert code == 0, stderr
    assert "1 of 2 cases to do" in stderr
    assert (out / "rows.jsonl").read_bytes().startswith(before)
    assert len(rows_of(out)) == 2


def test_a_torn_last_line_is_told_and_measured_again(cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (
        "run",
        "--backend",
        "lightning_eager",
        "--seq",
        "16..32",
        "--pass",
        "fwd",
        "--out",
        out,
        *TINY,
    )
    assert cli(*arguments)[0] == 0
    path = out / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    code, _, stderr = cli(*arguments, "--resume")
    assert code == 0
    assert "line 2 is cut off" in stderr
    assert "1 of 2 cases to do" in stderr
    assert len(rows_of(out)) == 2
    assert not results.read(out).problems


def test_without_out_each_run_makes_its_own_folder(cli, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert cli("run", "--backend", "lightning_eager", "--seq", "16", "--pass", "fwd", *TINY)[0] == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.parametrize("decode_of", ["lightning_eager", "softmax_eager", "mamba1_eager"])
def test_decoding_steps_are_measured(cli, tmp_path: Path, decode_of: str) -> None:
    code, _, stderr = cli(
        "run", "--backend", decode_of, "--seq", "16..32", "--pass", "decode", "--out", tmp_path / "out", *TINY
    )
    assert code == 0, stderr
    rows = rows_of(tmp_path / "out")
    assert [row.verdict for row in rows] == ["ok", "ok"], [row.reason for row in rows]


@pytest.mark.parametrize(
    ("function", "verdict", "reason"),
    [
        ("right", "ok", ""),
        ("forgets_decay", "wrong", "o"),
        ("raises", "failed", "RuntimeError: no such luck"),
        ("wrong_shape", "wrong", "o has shape"),
        ("state_not_asked_for", "ok", ""),
        ("nothing", "failed", "o is a NoneType, not a tensor"),
    ],
)
def test_a_users_function_is_verified_and_timed(
    cli, tmp_path: Path, mine: Path, function: str, verdict: str, reason: str
) -> None:
    code, _, stderr = cli(
        *("run", "--backend", f"{mine}:{function}", "--mechanism", "lightning", "--seq", "64"),
        *("--pass", "fwd,fwdbwd", "--dtype", "fp32", "--out", tmp_path / "out", *TINY),
    )
    assert code == 0, stderr
    rows = rows_of(tmp_path / "out")
    # With a gradient torch says first what is wrong with a shape.
    assert rows[0].verdict == verdict == "wrong" or [row.verdict for row in rows] == [verdict] * 2, rows
    assert reason in rows[0].reason
    assert bool(rows[0].times_ms) == (verdict == "ok")
    if function == "forgets_decay":
        assert rows[0].errors["o"]["rms"] > rows[0].limits["o"]["rms"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seq", "256k..1k"), "runs backwards"),
        (("--seq", "1q"), "no whole number"),
        (("--seq", "0"), "allowed are 1"),
        (("--seq", "1k..100k"), "64k and 128k"),
        (("--batch", "2", "--tokens", "8k"), "exclude each other"),
        (("--tokens", "5000"), "cannot be split"),
        (("--backend", "softmax_eagre"), "did you mean softmax_eager"),
        (("--mechanism", "lightening"), "did you mean lightning"),
        (("--pass", "forward"), "unknown pass"),
        (("--dtype", "fp8"), "unknown dtype"),
        (("--heads", "6", "--kv-heads", "4"), "cannot be shared"),
        (("nosuchsuite",), "unknown suite"),
        (("--device", "tpu"), "allowed are cpu, cuda"),
        (("--resume",), "needs --out"),
        (("--retry", "crashed"), "add --resume --out FOLDER"),
        (("--retry", ",", "--resume", "--out", "there"), "has an empty name"),
        (("--other-environment",), "add --resume --out FOLDER"),
        (("--backend", "softmax_eager,,gla_eager"), "write --backend a,b"),
        (("--kv-heads", ""), "write --kv-heads a,b"),
        (("--backend", "a.py:f", "--mechanism", "lightning,gla"), "a function computes one mechanism"),
        (("--backend", "nowhere.py:f", "--mechanism", "lightning"), "nowhere.py"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, tmp_path, monkeypatch, arguments, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = cli("run", *arguments, "--in-process")
    assert (code, stdout) == (2, "")
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_is_not_there(cli, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    code, _, stderr = cli("run", "--device", "cuda", "--out", tmp_path / "out", "--in-process")
    assert code == 2
    assert "use --device cpu" in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix" or not Path("/proc").exists(), reason="needs /proc")
def test_an_unwritable_out(cli) -> None:
    code, _, stderr = cli("run", "--out", "/proc/lbench", *TINY)
    assert code == 2
    assert "choose another --out" in stderr


SHORT = ("--backend", "lightning_eager", "--pass", "fwd", *TINY)
CONTINUED = {
    "run": ("run", *SHORT, "--seq", "16"),
    "frontier": ("frontier", *SHORT[:-2], "--start", "16", "--largest", "16"),
    "claims run": (
        *("claims", "run", "authors-kernels", "--backend", "flash_attn2", "--pass", "fwd"),
        *("--seq", "512", "--device", "cpu"),
    ),
}


@pytest.mark.parametrize("command", CONTINUED)
def test_rows_of_another_environment_are_not_mixed_in_silence(cli, tmp_path: Path, command: str) -> None:
    out = tmp_path / "out"
    arguments = (*CONTINUED[command], "--out", out)
    code, _, stderr = cli(*arguments)
    assert code == 0, stderr
    (path,) = (out / "environments").iterdir()
    record = json.loads(path.read_text())
    path.unlink()
    (path.parent / "elsewhere.json").write_text(json.dumps({**record, "torch": "1.0"}))
    code, _, stderr = cli(*arguments, "--resume")
    assert code == 2
    assert "torch 1.0, here 2" in stderr
    assert "add --other-environment" in stderr
    assert cli(*arguments, "--resume", "--other-environment")[0] == 0


def test_rows_of_another_protocol_do_not_stand_for_those_asked_for(cli, tmp_path: Path) -> None:
    """A case whose caches were cold is no answer where they are to be warm; its failure is."""
    suite, out = tmp_path / "mine.toml", tmp_path / "out"
    shape = "backend = 'lightning_eager'\npass = 'fwd'\nseq = '{}'\nheads = 2\nhead_dim = 16\n"

    def run(l2: str, seq: str, *more: str) -> tuple[int, str, str]:
        suite.write_text(f"l2 = '{l2}'\n[stopping]\nbudget_s = 0.01\n[[sweep]]\n" + shape.format(seq))
        return cli("run", suite, "--device", "cpu", "--in-process", "--out", out, *more)

    assert run("cold", "16")[0] == 0
    assert run("cold", "16", "--resume")[0] == 0
    for more in ((), ("--dry-run",)):
        code, _, stderr = run("warm", "16,32", "--resume", *more)
        assert code == 2
        assert "1 of these cases stands there with l2 cold, the suite says warm" in stderr
        assert "--retry ok" in stderr
    assert run("warm", "32", "--resume")[0] == 0
    assert run("warm", "16,32", "--resume", "--retry", "ok")[0] == 0
    kept = results.read(out)
    assert {kept.runs[row.run]["suite"]["l2"] for row in kept.rows.values()} == {"warm"}


def test_a_case_is_run_again_by_its_key(cli, tmp_path: Path, mine: Path) -> None:
    first = tmp_path / "first"
    arguments = ("--pass", "fwdbwd", "--seq", "24", "--decay", "zero", "--out", first, *TINY)
    assert cli("run", "--backend", "lightning_eager", *arguments)[0] == 0
    user = ("--backend", f"{mine}:right", "--mechanism", "lightning")
    assert cli("run", *user, *arguments, "--resume")[0] == 0
    keys = list(results.read(first).rows)
    assert len(keys) == 2
    for number, key in enumerate(keys):
        out = tmp_path / f"again{number}"
        code, _, stderr = cli("run", "--case", key, "--in-process", "--case-budget", 0.01, "--out", out)
        assert code == 0, stderr
        assert {key: row.verdict for key, row in results.read(out).rows.items()} == {key: "ok"}


def test_a_users_function_does_not_excuse_batch_with_tokens(cli, mine: Path) -> None:
    user = ("--backend", f"{mine}:right", "--mechanism", "lightning")
    code, _, stderr = cli("run", *user, "--batch", 2, "--tokens", "8k", "--in-process")
    assert code == 2
    assert "--batch and --tokens exclude each other" in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--case", "lightning_eagre,fwd,b1,t16,h2,d16,fp32,cpu"), "did you mean lightning_eager"),
        (("--case", "lightning_eager,fwd,b1,x16"), "unknown part 'x16'"),
        (("--case", "lightning_eager,fwd,b1,t16,h2,d16,fp32,cpu", "--seq", "1k"), "neither a suite nor axes"),
    ],
)
def test_a_key_that_names_no_case(cli, arguments, message: str) -> None:
    code, _, stderr = cli("run", *arguments, "--in-process")
    assert code == 2
    assert message in stderr


@pytest.mark.parametrize("folder", ["environments", "runs"])
def test_rows_of_an_unknown_environment_are_not_mixed_in_silence(cli, tmp_path: Path, folder: str) -> None:
    out = tmp_path / "out"
    arguments = ("run", *SHORT, "--seq", "16", "--out", out)
    assert cli(*arguments)[0] == 0
    (path,) = (out / "environments").iterdir()
    record = json.loads(path.read_text()) | {"torch": "1.0"}
    elsewhere = results.content_id(record)
    (run,) = (out / "runs").iterdir()
    made = {**json.loads(run.read_text()), "environment": elsewhere}
    del made["checksum"]
    run.write_text(json.dumps(made))
    path.with_stem(elsewhere).write_text(json.dumps(record))
    (damaged,) = [one for one in (out / folder).iterdir() if one != path]
    damaged.write_bytes(damaged.read_bytes()[:-2])
    code, _, stderr = cli(*arguments, "--resume")
    assert code == 2
    assert "of 1 row in" in stderr
    assert "add --other-environment" in stderr
    assert cli(*arguments, "--resume", "--other-environment")[0] == 0


def test_this_environment_is_known_by_its_name(cli, tmp_path: Path) -> None:
    arguments = ("run", *SHORT, "--seq", "16", "--out", tmp_path / "out")
    assert cli(*arguments)[0] == 0
    (path,) = (tmp_path / "out" / "environments").iterdir()
    path.write_text("{")
    assert cli(*arguments, "--resume")[0] == 0
    assert results.content_id(json.loads(path.read_text())) == path.stem


def probing(monkeypatch, meanwhile) -> None:
    """Lets something happen while the device is waited for."""
    from lbench import device

    probe = device.probe

    def waited(*arguments):
        meanwhile()
        return probe(*arguments)

    monkeypatch.setattr(device, "probe", waited)


@pytest.mark.parametrize("command", ["run", "frontier"])
def test_what_another_run_wrote_meanwhile_is_not_measured_again(
    cli, tmp_path: Path, monkeypatch, command: str
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    arguments = CONTINUED[command]
    assert cli(*arguments, "--out", other)[0] == 0
    probing(monkeypatch, lambda: shutil.copytree(other, out))
    code, _, stderr = cli(*arguments, "--out", out, "--resume")
    assert code == 0, stderr
    assert (out / "rows.jsonl").read_bytes() == (other / "rows.jsonl").read_bytes()


@pytest.mark.parametrize("command", ["run", "frontier", "verify"])
def test_a_folder_that_another_run_made_meanwhile_is_left_alone(
    cli, tmp_path: Path, monkeypatch, command: str
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    arguments = CONTINUED[command if command in CONTINUED else "run"]
    assert cli(*arguments, "--out", other)[0] == 0
    probing(monkeypatch, lambda: shutil.copytree(other, out))
    named = ("verify", *SHORT[:-2], "--seq", "16") if command == "verify" else arguments
    code, _, stderr = cli(*named, "--out", out)
    assert (code, "another run" in stderr) == (2, True), stderr
    assert (out / "rows.jsonl").read_bytes() == (other / "rows.jsonl").read_bytes()


def test_a_resume_of_nothing_says_so(cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, stderr = cli("run", *SHORT, "--seq", "16", "--out", out, "--resume")
    assert code == 0
    assert f"{out} is new: nothing is there to go on with" in stderr
    assert "is new" not in cli("run", *SHORT, "--seq", "16", "--out", out, "--resume")[2]


@pytest.mark.parametrize(
    ("done", "wanted", "said"),
    [
        (0, "ok", "4 rows are kept in {}: the same command with --out {} --resume goes on"),
        (
            1,
            "ok",
            "4 rows are kept in {}: the same command with --out {} --resume goes on, and measures 1 of",
        ),
        (4, "ok", "4 rows are kept in {}: the same command with --out {} --resume, without --retry, goes on"),
        (1, "wrong", "4 rows are kept in {}: the same command with --out {} --resume goes on"),
    ],
)
def test_what_is_said_of_a_stopped_sweep(
    cli, tmp_path: Path, monkeypatch, done: int, wanted: str, said: str
) -> None:
    from lbench.runner import Sweep

    out = tmp_path / "a folder"
    arguments = ("run", *SHORT, "--out", out, "--case-budget", 0.01)
    assert cli(*arguments, "--seq", "16..128")[0] == 0
    measure = Sweep.measure

    def stopped(sweep: Sweep, *given):
        yield from measure(sweep, *given)
        raise KeyboardInterrupt

    def keep(sweep: Sweep, row):
        if sum(one.run == sweep.run for one in sweep.rows.values()) == done:
            raise KeyboardInterrupt
        return kept(sweep, row)

    kept = Sweep._keep
    monkeypatch.setattr(Sweep, "_keep", keep)
    monkeypatch.setattr(Sweep, "measure", stopped)
    code, _, stderr = cli(*arguments, "--seq", "16..128", "--resume", "--retry", wanted)
    assert code == 130
    assert said.format(out, f"'{out}'") in stderr


@pytest.mark.parametrize("command", ["run", "verify", "profile"])
def test_a_case_is_not_measured_on_another_device_than_its_own(cli, tmp_path: Path, command: str) -> None:
    named = (KEY,) if command == "profile" else ("--case", KEY)
    out = tmp_path / "out"
    code, _, stderr = cli(command, *named, "--device", "cpu", "--out", out, "--in-process")
    assert code == 2
    assert "is one of cuda, the device is cpu; a case of this device has cpu in its key" in stderr
    assert not out.exists()


def test_a_quiet_run_prints_its_folder_and_what_failed(cli, tmp_path: Path, mine: Path) -> None:
    out = tmp_path / "out"
    where = ("--mechanism", "lightning", "--pass", "fwd", "--seq", "16", "--out", out, *TINY)
    code, stdout, stderr = cli("run", "--quiet", "--backend", f"{mine}:right,{mine}:raises", *where)
    assert (code, stdout) == (0, f"{out}\n")
    told = [line for line in stderr.splitlines() if not line.startswith("!")]
    assert len(told) == 2, told
    assert "no such luck" in told[0]
    assert told[1].startswith("    lbench run --case ")


@pytest.mark.parametrize("flag", ["--cell-timeout", "--case-budget"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_time_without_an_end_is_refused(cli, tmp_path: Path, flag: str, value: str) -> None:
    code, _, stderr = cli("run", "--seq", 16, flag, value, "--out", tmp_path / "out")
    assert code == 2
    assert f"{flag} {value}; it is a finite number of seconds" in stderr
    assert not (tmp_path / "out").exists()
