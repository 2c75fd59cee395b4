"""`lbench verify`, `frontier`, `certificate` and the budget of `lbench run`, whole, on a CPU."""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from models.scripted import row_of, write
from rows import make_row

from lbench import models, results

SMALL = ("--heads", 2, "--head-dim", 16, "--dtype", "fp32", "--device", "cpu", "--in-process")
FUNCTIONS = """
import torch

def right(q, k, v, slopes):
    time = torch.arange(q.shape[1])
    lag = time[:, None] - time[None, :]
    mask = torch.where(lag >= 0, torch.exp(-slopes[:, None, None] * lag.clamp(min=0)), 0.0)
    return torch.einsum("bhts,bshe->bthe", torch.einsum("bthd,bshd->bhts", q, k) * mask, v)

def wrong_at_one_length(q, k, v, slopes):
    return right(q, k, v, slopes * (1.01 if q.shape[1] == 32 else 1))

def not_finite(q, k, v, slopes):
    return v * float("nan")

def raises(q, k, v, slopes):
    raise RuntimeError("no such luck")
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS)
    return path


def test_what_is_right_exits_0_and_is_not_timed(cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, text, err = cli("verify", "--backend", "lightning_eager", "--seq", "16..64", "--out", out, *SMALL)
    assert code == 0, err
    lines = text.splitlines()[1:]
    assert len(lines) == 6
    assert all(" ok " in line and "same" in line for line in lines)
    rows = results.read(out).rows.values()
    assert not any(row.times_ms for row in rows)
    assert all(row.errors and row.limits and row.memory and row.inputs_id for row in rows)
    assert "6 ok" in err


def test_one_wrong_length_exits_1_and_names_it(cli, mine: Path) -> None:
    arguments = ("--mechanism", "lightning", "--seq", "16..64", "--pass", "fwd", *SMALL)
    code, text, _ = cli("verify", "--backend", f"{mine}:wrong_at_one_length", *arguments)
    assert code == 1
    (line,) = [line for line in text.splitlines() if "wrong  " in line]
    assert " 32 " in line
    assert "allowed" in line
    assert cli("verify", "--backend", f"{mine}:right", *arguments)[0] == 0
    assert cli("verify", "--backend", f"{mine}:raises", *arguments)[0] == 1


@pytest.mark.parametrize("width", [44, 140])
def test_what_is_no_number_is_told_in_words(cli, mine: Path, monkeypatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    arguments = ("--mechanism", "lightning", "--seq", "16", "--pass", "fwd", *SMALL)
    code, text, _ = cli("verify", "--backend", f"{mine}:not_finite", *arguments)
    assert code == 1
    assert " infinite same" in text.replace("  ", " ")
    assert "infx" not in text


def test_nothing_to_verify_is_undecided(cli) -> None:
    code, text, _ = cli("verify", "--backend", "lightning_triton", "--seq", "16", *SMALL)
    assert code == 3
    assert "unsupported" in text


def test_one_case_by_its_key(cli) -> None:
    key = "lightning_eager,fwdbwd,b1,t24,h2,d16,fp32,cpu"
    code, text, _ = cli("verify", "--case", key, "--in-process")
    assert code == 0
    assert len(text.splitlines()) == 2


def test_the_certificate_of_a_group(cli, tmp_path: Path, mine: Path) -> None:
    out = tmp_path / "out"
    backends = f"{mine}:right,{mine}:wrong_at_one_length"
    arguments = ("--mechanism", "lightning", "--seq", "16..64", "--pass", "fwd", *SMALL)
    cli("verify", "--backend", backends, "--out", out, *arguments)
    code, text, err = cli("certificate", out)
    assert code == 1, err
    assert "S_t = exp(-slope_h) S_{t-1} + k_t v_t^T" in text
    assert "inputs: the same for all" in text
    assert "right (mine.py)" in text
    assert "WRONG at 32" in text
    (found,) = json.loads(cli("certificate", out, "--json")[1])
    limits = {(row.case.seq_len, str(row.limits)) for row in results.read(out).rows.values()}
    assert len(limits) == 3, "one budget a length, for both"
    by_backend = {proof["backend"].rpartition(":")[2]: proof for proof in found["proofs"]}
    assert [point["seq_len"] for point in by_backend["right"]["proved"]] == [16, 32, 64]
    assert [point["seq_len"] for point in by_backend["wrong_at_one_length"]["wrong"]] == [32]
    assert 0 < by_backend["right"]["budget_used"] < 1
    assert found["same_inputs"] is True


def test_rows_without_a_record_of_their_inputs_have_a_certificate_that_says_so(cli) -> None:
    folder = next((Path(__file__).parents[2] / "results").glob("headline-*"))
    code, text, _ = cli("certificate", folder)
    assert code == 0
    assert "not on record" in text


def test_a_certificate_of_models_names_model_and_setting(cli, tmp_path: Path) -> None:
    """What was measured in another setting, or another model, has a certificate of its own."""
    case = models.fields_of("minimax-tiny", "lightning_triton", "lightning", "native", "", "cuda")
    usual = [case, dataclasses.replace(case, backend="lightning_plain")]
    other = [
        dataclasses.replace(case, checkpoint="block"),
        dataclasses.replace(case, attention="sdpa_math"),
        dataclasses.replace(case, model="tnl-tiny", attention=""),
    ]
    folder = write(tmp_path / "rows", map(row_of, [*usual, *other]))
    code, text, _ = cli("certificate", folder)
    assert code == 0
    assert "older rows" not in text
    assert text.count("inputs: drawn from the seed") == 4
    for one in other:
        assert one.model_setting in text
    found = json.loads(cli("certificate", folder, "--json")[1])
    assert [one["model"] for one in found] == ["minimax-tiny"] * 3 + ["tnl-tiny"]
    assert [len(one["proofs"]) for one in found] == [2, 1, 1, 1]


def test_a_dry_run_shows_every_case_and_measures_none(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    out = tmp_path / "out"
    arguments = ("--backend", "lightning_eager,lightning_triton", "--seq", "1k..4k", "--pass", "fwd", *SMALL)
    code, text, err = cli("run", "--dry-run", "--out", out, *arguments)
    assert code == 0, err
    assert not out.exists()
    lines = text.splitlines()[1:]
    assert len(lines) == 6
    assert sum("unsupported: device cpu" in line for line in lines) == 3
    assert "3 of 6 cases would be measured" in err
    code, text, _ = cli("run", "--dry-run", "--budget", "1s", "--out", out, *arguments)
    assert sum("does not fit into the budget" in line for line in text.splitlines()) == 3


def test_a_dry_run_skips_what_a_run_would_skip(cli, tmp_path: Path) -> None:
    """What kept rows settle is not tried again, and takes no time."""
    out = write(tmp_path / "rows", [make_row("timeout", seq_len=32, heads=2, head_dim=16, dtype="fp32")])
    arguments = ("--backend", "lightning_eager", "--seq", "64", "--pass", "fwd", "--resume", "--out", out)
    code, text, err = cli("run", "--dry-run", *arguments, "--other-environment", *SMALL)
    assert code == 0, err
    assert "skipped: timeout already at 32" in text
    assert "0 of 1 cases would be measured, in about 0.0s" in err
    assert cli("run", *arguments, "--other-environment", *SMALL)[0] == 0
    assert [row.reason for row in results.read(out).rows.values()] == ["because", "timeout already at 32"]


def test_a_dry_run_counts_what_a_run_would_try_and_cut_off(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guess alone keeps nobody from trying; what is longer is then skipped."""
    monkeypatch.delenv("COLUMNS", raising=False)
    arguments = ("--backend", "lightning_eager", "--seq", "16,32", "--pass", "fwd", "--cell-timeout", 1)
    code, text, err = cli("run", "--dry-run", "--out", tmp_path / "out", *arguments, *SMALL)
    assert code == 0, err
    first, second = text.splitlines()[1:]
    assert first.endswith("may be cut off: over 1.0s a case (a first guess)")
    assert second.endswith("skipped if 16 is cut off")
    assert "1 of 2 cases would be measured (1 perhaps cut off), in about 1.0s" in err


def test_a_budget_skips_what_does_not_fit_and_a_resume_takes_it_up(cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--backend", "lightning_eager", "--seq", "16..32", "--pass", "fwd", "--case-budget", 0.01)
    code, _, err = cli("run", *arguments, "--budget", "0.5s", "--out", out, *SMALL)
    assert code == 0, err
    rows = list(results.read(out).rows.values())
    assert {row.verdict for row in rows} == {"skipped"}
    assert all("predicted to take" in row.reason and "of the 0.5s are left" in row.reason for row in rows)
    code, _, err = cli("run", *arguments, "--budget", "1h", "--resume", "--out", out, *SMALL)
    assert code == 0, err
    assert {row.verdict for row in results.read(out).rows.values()} == {"ok"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--budget", "0.5"), "Seconds of sampling a case are --case-budget 0.5"),
        (("run", "--budget", "soon"), "write 90s, 20m or 1h30m"),
        (("verify", "--case", "x", "--seq", "1k"), "neither a suite nor axes"),
        (("verify", "--seq", "1q"), "no whole number"),
        (("frontier", "--start", "4k", "--largest", "1k"), "longer than --largest"),
        (("frontier", "--of", "nowhere"), "holds no rows.jsonl"),
        (("frontier", "--of", "nowhere", "--device", "cpu"), "--of measures nothing"),
        (("certificate", "nowhere"), "holds no rows.jsonl"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, tmp_path, monkeypatch, arguments, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = cli(*arguments)
    assert (code, stdout) == (2, "")
    assert message in stderr
    assert not list(tmp_path.iterdir())


def test_the_frontier_of_real_allocations_that_fail(tmp_path: Path) -> None:
    """A function that takes 1 MiB a token, under a limit of the address space."""
    path, out = tmp_path / "hungry.py", tmp_path / "out"
    path.write_text(
        "import torch\n"
        "def hungry(q, k, v):\n"
        "    torch.empty(q.shape[1] * 2**18)\n"
        "    heads_first = (x.transpose(1, 2) for x in (q, k, v))\n"
        "    o = torch.nn.functional.scaled_dot_product_attention(*heads_first, is_causal=True)\n"
        "    return o.transpose(1, 2)\n"
    )
    command = [sys.executable, "-m", "lbench", "frontier", "--backend", f"{path}:hungry", "--pass", "fwd"]
    command += ["--mechanism", "softmax", "--heads", "1", "--head-dim", "16", "--dtype", "fp32"]
    command += ["--device", "cpu", "--start", "1k", "--largest", "16k", "--resolution", "0.5"]
    command += ["--cell-timeout", "600", "--out", str(out)]
    limit = 5 * 2**30
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert ended.returncode == 0, ended.stderr
    assert "out of memory at" in ended.stdout, ended.stderr
    verdicts = {row.case.seq_len: row.verdict for row in results.read(out).rows.values()}
    fits = [length for length, verdict in verdicts.items() if verdict == "ok"]
    refused = [length for length, verdict in verdicts.items() if verdict == "out_of_memory"]
    assert 1024 <= max(fits) < 5120
    assert max(fits) < min(refused)
    assert min(refused) <= 2 * max(fits)
    assert (out / "figures" / "frontier.png").is_file()


TINY = ("--seq", "64", "--dtype", "fp32", "--device", "cpu", "--in-process")


def test_a_model_is_verified_in_every_pass_it_serves(cli) -> None:
    code, text, err = cli("verify", "--model", "tnl-tiny,minimax-tiny", *TINY)
    assert code == 0, err
    lines = text.splitlines()[1:]
    for name in ("tnl-tiny", "minimax-tiny"):
        for pass_name in ("train", "prefill", "decode"):
            assert any(f"in {name}" in line and f" {pass_name} " in line for line in lines)
    assert "6 ok" in err


def test_backends_that_are_named_go_to_their_models(cli) -> None:
    named = ("--backend", "lightning_eager,softmax_eager")
    code, text, err = cli("verify", "--model", "tnl-tiny,llama-tiny", *named, *TINY)
    assert code == 0, err
    assert text.count("lightning_eager in tnl-tiny") == 3
    assert text.count("softmax_eager in llama-tiny") == 3


def test_a_model_whose_whole_is_wrong_exits_1(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mixer is right at its shape, but loses the state between two pieces of a prompt."""
    import torch

    from lbench import model_check
    from lbench.backends import lightning_eager

    monkeypatch.setattr(model_check, "_whole", {})
    chunked = lightning_eager._chunked
    monkeypatch.setattr(
        lightning_eager,
        "carried",
        lambda q, k, v, slopes, state: chunked(q, k, v, slopes, torch.zeros_like(state)),
    )
    code, text, _ = cli("verify", "--model", "tnl-tiny", *TINY)
    assert code == 1
    wrong = [line for line in text.splitlines() if "wrong" in line]
    assert any(" prefill " in line for line in wrong)
    assert not any(" train " in line for line in wrong)
    assert all("logits of the whole model at tiny size" in line for line in wrong)


def test_a_model_too_large_for_the_machine_is_verified_all_the_same(cli) -> None:
    """Its mixers at their shape and the whole at tiny size need none of its weights."""
    code, text, err = cli("verify", "--model", "tnl-15b", "--pass", "decode", *TINY)
    assert code == 0, (text, err)
    assert "lightning_eager in tnl-15b" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "tnl-1bb"), "did you mean tnl-1b"),
        (("--model", "llama3-8b", "--seq", "256k"), "has positions for 128k tokens"),
        (("--model", "tnl-tiny", "--backend", "flash_attn2"), "--body common"),
        (("--model", "tnl-1b", "--heads", "4"), "a shape of its own"),
        (("--model", "gla-tiny", "--pass", "decode", "--device", "cuda"), "no decode form"),
    ],
)
def test_a_model_that_cannot_be_is_one_line(cli, arguments: tuple[str, ...], said: str) -> None:
    code, text, err = cli("verify", *arguments)
    assert (code, text) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


KEPT = Path(__file__).parents[2] / "results" / "headline-h100-2026-11-22"


def test_the_frontier_of_kept_rows_takes_the_axes_and_leaves_the_folder_alone(cli, tmp_path: Path) -> None:
    out, before = tmp_path / "out", sorted(KEPT.rglob("*"))
    chosen = ("--backend", "softmax_eager,gla_eager", "--pass", "fwd", "--batch", "1", "--head-dim", "128")
    code, stdout, stderr = cli("frontier", "--of", KEPT, *chosen, "--out", out)
    assert code == 0, stderr
    assert [path.name for path in out.iterdir()] == ["frontier.png"]
    assert sorted(KEPT.rglob("*")) == before
    assert len(stdout.splitlines()) == 1 + 1 + 2, "a setting, a head and the two backends"
    assert "Softmax, eager torch" in stdout


@pytest.mark.parametrize(
    ("axis", "known"),
    [("backend", "known: "), ("pass", "fwd"), ("mechanism", "softmax"), ("heads", "16"), ("dtype", "bf16")],
)
def test_the_frontier_of_kept_rows_refuses_what_they_have_not(cli, tmp_path, axis: str, known: str) -> None:
    value = "3" if axis == "heads" else "nope"
    code, stdout, stderr = cli("frontier", "--of", KEPT, f"--{axis}", value, "--out", tmp_path / "out")
    assert (code, stdout) == (2, "")
    assert f"unknown {axis} in these results '{value}'" in stderr
    assert known in stderr
    assert not (tmp_path / "out").exists()


def test_rows_at_one_length_a_batch_are_no_frontier(cli, tmp_path: Path) -> None:
    code, stdout, stderr = cli("frontier", "--of", KEPT, "--out", tmp_path / "out")
    assert code == 0, stderr
    assert "batch 256" not in stdout
    code, _, stderr = cli("frontier", "--of", KEPT, "--batch", "256", "--out", tmp_path / "none")
    assert code == 2
    assert "two lengths or more" in stderr
