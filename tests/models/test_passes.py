"""Every pass of every tiny model, as a sweep runs it on a CPU; what is refused, and how."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest
import torch
from models.scripted import row_of, write
from models.tiny import NATIVE, case_of

from lbench import model_check, models, results, rotation, suite
from lbench.case import MODEL_PASSES, Case
from lbench.cli import list_models
from lbench.errors import UsageError
from lbench.model_check import check
from lbench.models import costs, room
from lbench.models.workload import build
from lbench.plan import Plan
from lbench.protocol import Stopping
from lbench.worker import measure_case

HASTY = """
[stopping]
budget_s = 0.0
least = 2
rounds = 1
warm_up_s = 0.0
[[sweep]]
backend = "lightning_eager"
"""
BRIEF = Stopping(budget_s=0.0, least=2, slow_least=2, very_slow_samples=1, warm_up_s=0.0)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def nothing_checked_before():
    """What one test breaks, another must not have found right."""
    model_check._whole.clear()
    model_check._found.clear()


def test_lengths_and_batches_share_the_check_of_the_whole_model(monkeypatch):
    """A setting does not: what it changes is checked for itself."""
    asked = []
    tiny_errors = model_check._tiny_errors
    monkeypatch.setattr(
        model_check, "_tiny_errors", lambda case, *rest: (asked.append(case), tiny_errors(case, *rest))[1]
    )
    case = case_of("tnl-tiny", "native", "lightning", pass_name="train", seq_len=48, batch=2)
    fields = [{}, {"seq_len": 64}, {"batch": 1}, {"checkpoint": "block"}, {"chunk": 16}, {"chunk": 32}]
    found = [check(dataclasses.replace(case, **one), "cpu") for one in fields]
    assert [one.verdict for one in found] == ["ok"] * len(fields)
    assert [(one.checkpoint, bool(one.chunk)) for one in asked] == [
        ("none", False), ("block", False), ("none", True)
    ]  # fmt: skip
    assert found[0].errors["weights"] == found[1].errors["weights"]


def test_sizes_that_are_the_same_in_little_share_its_check(monkeypatch):
    """TransNormerLLM of 3B does not scale its embeddings, so in little it is another model."""
    asked = []
    monkeypatch.setattr(model_check, "_tiny_errors", lambda case, *_: asked.append(case.model) or {})
    sizes = [f"{family}-{size}" for size in ("385m", "1b", "3b") for family in ("tnl", "llama")]
    for body, name in itertools.product(("native", "common"), sizes):
        model = models.load(name)
        case = models.fields_of(name, f"{model.mechanism}_eager", model.mechanism, body, "", "cpu")
        model_check._of_whole(case, models.of_case(case), "cpu")
    assert asked == ["tnl-385m", "llama-385m", "tnl-3b", "tnl-385m", "llama-385m"]


@pytest.mark.parametrize("pass_name", MODEL_PASSES)
@pytest.mark.parametrize(("name", "body", "mechanism"), NATIVE)
def test_a_tiny_model_runs_every_pass(name, body, mechanism, pass_name):
    case = case_of(name, body, mechanism, pass_name=pass_name, seq_len=48, batch=2)
    outcome = measure_case(case, "cpu", BRIEF)
    assert outcome["verdict"] == "ok", outcome["reason"]
    assert outcome["times_ms"]
    ledger = outcome["memory"]
    assert ledger["weights"] == 4 * models.of_case(case).parameters
    assert ledger["optimizer"] == (8 * models.of_case(case).parameters if pass_name == "train" else 0)
    assert (ledger["saved"] > 0) == (pass_name == "train")
    assert (ledger["cache"] > 0) == (pass_name != "train")
    assert "logits" in outcome["errors"]
    facts = outcome["model"]
    assert facts["executed_flops"] >= facts["useful_flops"] > 0
    assert 0 < facts["mixer_ms"] < facts["metered_ms"]


def test_a_mixer_that_is_wrong_within_the_model_is_found(monkeypatch):
    """Right at the row's shape, wrong where a second piece begins: only the whole model shows it."""
    from lbench.backends import lightning_eager

    def forgets(q, k, v, slopes, state):
        return lightning_eager._chunked(q, k, v, slopes, torch.zeros_like(state))

    monkeypatch.setattr(lightning_eager, "carried", forgets)
    outcome = measure_case(case_of("tnl-tiny", "native", "lightning", seq_len=48), "cpu", BRIEF)
    assert outcome["verdict"] == "wrong"
    assert "logits of the whole model at tiny size" in outcome["reason"]


MIXERS = """
import itertools
import torch

CALLS = itertools.count()

def right(q, k, v, slopes):
    lag = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])[None, :]
    mask = torch.where(lag >= 0, torch.exp(-slopes[:, None, None] * lag.clamp(min=0)), 0.0)
    return torch.einsum("bhts,bshe->bthe", torch.einsum("bthd,bshd->bhts", q, k) * mask, v)

def first_wrong(q, k, v, slopes):
    return right(q, k, v, slopes) * (1.5 if next(CALLS) == 0 else 1)

def second_wrong(q, k, v, slopes):
    return right(q, k, v, slopes) * (1.5 if next(CALLS) == 1 else 1)
"""


@pytest.mark.parametrize(
    ("function", "told"),
    [("right", ""), ("first_wrong", "in the first call: "), ("second_wrong", "in a later call: ")],
)
def test_a_models_mixer_is_judged_by_its_first_call_and_by_another(tmp_path, function, told):
    path = tmp_path / "mixers.py"
    path.write_text(MIXERS)
    case = models.fields_of("tnl-tiny", f"{path}:{function}", "lightning", "native", "", "cpu")
    found = check(dataclasses.replace(case, dtype="fp32", pass_name="train", seq_len=48, batch=2), "cpu")
    assert found.verdict == ("wrong" if told else "ok")
    assert found.reason.startswith(told)


@pytest.mark.parametrize("setting", [{"checkpoint": "block"}, {"chunk": 16}])
def test_the_whole_model_is_checked_in_the_rows_own_setting(monkeypatch, setting):
    """What checkpoints or chunks break is found, though the mixer is right."""
    from lbench.models import decoder

    again = decoder._again

    def breaks(run, x, *others):
        return again(run, x * 1.5, *others)

    case = case_of("tnl-tiny", "native", "lightning", pass_name="train", seq_len=48, batch=2, **setting)
    assert check(case, "cpu").verdict == "ok"
    monkeypatch.setattr(decoder, "_again", breaks)
    model_check._whole.clear()
    found = check(case, "cpu")
    assert (found.verdict, "of the whole model" in found.reason) == ("wrong", True)
    assert check(dataclasses.replace(case, checkpoint="none", chunk=0), "cpu").verdict == "ok"


@pytest.mark.parametrize("checkpoint", ["none", "selective", "block"])
@pytest.mark.parametrize("name", ["tnl-tiny", "gla-tiny", "mamba2-tiny"])
def test_the_predicted_memory_is_near_the_ledgers(name, checkpoint):
    mechanism = models.load(name).mechanism
    case = case_of(name, "native", mechanism, pass_name="train", batch=2, seq_len=512, checkpoint=checkpoint)
    _, ledger = build(case, "cpu").ledger("cpu")
    used = ledger["inputs"] + ledger["peak"]
    assert 0.6 < costs.memory_of(case).total / used < 1.7


def test_flops_are_six_a_parameter_and_token_and_the_mixers():
    case = models.fields_of("tnl-1b", "lightning_triton", "lightning", "native", "", "cuda")
    case = dataclasses.replace(case, batch=8, seq_len=8192)
    model, tokens = models.of_case(case), 8 * 8192
    # A head dim of 128 adds 4 x 128 x 128 a head, layer and token, the doubled first one as much again.
    mixers = 3 * 4 * 16 * 128 * 128 * (16 + 1) * tokens
    matrices = model.parameters - model.width
    assert costs.useful_flops(case) == pytest.approx(6 * matrices * tokens + mixers)
    block = dataclasses.replace(case, checkpoint="block")
    assert 1.2 < costs.executed_flops(block) / costs.useful_flops(block) < 1.34


def test_a_sweep_over_models_ends_with_rows_and_tables(cli, tmp_path):
    out, hasty = tmp_path / "out", tmp_path / "hasty.toml"
    hasty.write_text(HASTY)
    code, _, stderr = cli(
        *("run", hasty, "--model", "tnl-tiny,llama-tiny", "--seq", "32", "--pass", "train,decode"),
        *("--dtype", "fp32", "--checkpoint", "none,block", "--out", out, "--device", "cpu", "--in-process"),
    )
    assert code == 0, stderr
    rows = results.read(out).rows
    assert [row.verdict for row in rows.values()] == ["ok"] * 6, [row.reason for row in rows.values()]
    key = next(key for key in rows if "tnl-tiny,checkpoint=block" in key)
    assert "lightning_eager in tnl-tiny" in stderr
    code, stdout, _ = cli("table", out, "--metric", "mfu_useful")
    assert code == 0
    assert "checkpoint block" in stdout
    assert stdout.count("tnl-tiny") == 3  # trained in either setting, decoding
    code, stdout, _ = cli("export", out, "--format", "json")
    records = json.loads(stdout)
    record = next(one for one in records if one["key"] == key)
    assert (record["model"], record["body"], record["params"]) == ("tnl-tiny", "native", 94272)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "tnl-1bb"), "did you mean tnl-1b"),
        (("--model", "tnl-1b", "--backend", "flash_attn2"), "--body common"),
        (("--model", "tnl-1b,llama-1b", "--backend", "lightning_triton"), "the mixer of llama-1b"),
        (("--model", "tnl-1b", "--backend", "lightning_plain", "--pass", "decode"), "no decode form"),
        (("--model", "tnl-1b", "--backend", "lightning_authors", "--pass", "prefill"), "cannot go on"),
        (("--model", "llama-1b", "--backend", "flash_attn2", "--pass", "forward"), "unknown pass"),
        (("--model", "llama-1b", "--pass", "fwd"), "unknown pass of models"),
        (("--model", "llama3-8b", "--seq", "256k", "--pass", "decode"), "has positions for 128k tokens"),
        (("--model", "tnl-1b", "--heads", "8"), "a model has a shape of its own"),
        (("--model", "tnl-1b", "--attention", "sdpa_flash"), "no softmax layers"),
        (("--model", "minimax-1b", "--attention", "gla_eager"), "gla_eager computes gla, --attention takes"),
        (("--model", "tnl-1b", "--checkpoint", "all"), "unknown checkpoint"),
        (("--model", "./nothing/config.json"), "cannot be read"),
        (("--model", "."), "'.' is a folder; give its config.json, --model ./config.json"),
        (("--pass", "train"), "name them with --model"),
        (("--checkpoint", "block"), "name them with --model"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = cli("run", *arguments, "--in-process")
    assert (code, stdout) == (2, "")
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command", [("run", "--dry-run"), ("run",), ("verify",), ("frontier", "--largest", "16")]
)
def test_settings_of_one_model_are_told_apart(cli, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    axes = ("--model", "tnl-tiny", "--pass", "train", "--checkpoint", "none,block", "--dtype", "fp32")
    length = ("--start", "16") if command[0] == "frontier" else ("--seq", "16")
    hasty = tmp_path / "hasty.toml"
    hasty.write_text(HASTY)
    code, stdout, stderr = cli(
        command[0], hasty, *command[1:], *axes, *length, "--device", "cpu", "--in-process"
    )
    assert code == 0, stderr
    told = [line for line in (stdout + stderr).splitlines() if "lightning_eager in tnl-tiny" in line]
    assert len(told) == 2
    assert [", checkpoint block" in line for line in told].count(True) == 1


def test_a_size_that_cannot_fit_is_skipped_with_its_parts_and_what_would_fit(cli, tmp_path):
    code, _, stderr = cli(
        *("run", "--model", "tnl-15b", "--seq", "1k", "--pass", "train", "--dtype", "fp32"),
        *("--device", "cpu", "--in-process", "--out", tmp_path / "out"),
    )
    assert code == 0, stderr
    (row,) = results.read(tmp_path / "out").rows.values()
    assert row.verdict == "skipped"
    for word in ("weights 55.3 GiB", "gradients 55.3 GiB", "optimizer 110.5 GiB", "would fit"):
        assert word in row.reason
    assert row.model["params"] == models.load("tnl-15b").parameters


def test_what_would_fit_does_fit():
    memory = 80 * 2**30
    case = models.fields_of("llama-7b", "flash_attn2", "softmax", "native", "", "cuda")
    case = dataclasses.replace(case, batch=64, seq_len=8192)
    reason = room.reason_not_to_try(case, memory, "cuda")
    assert "--checkpoint block would fit" in reason
    assert room.longest(dataclasses.replace(case, batch=1, checkpoint="block"), memory) >= 1024
    small = dataclasses.replace(case, model="llama-385m", batch=1)
    assert not room.reason_not_to_try(small, memory, "cuda")


def test_a_short_length_that_fits_is_found():
    case = models.fields_of("mamba-130m", "mamba1_eager", "mamba1", "native", "", "cpu")
    for seq_len in (64, 256, 1024):
        short = dataclasses.replace(case, seq_len=seq_len)
        memory = costs.memory_of(dataclasses.replace(short, checkpoint="block")).total
        assert room.longest(dataclasses.replace(case, checkpoint="block"), memory) == seq_len
        reason = room.reason_not_to_try(dataclasses.replace(case, seq_len=2048), memory, "cpu")
        assert reason.endswith("--batch 1 --checkpoint block would fit")
        assert "--model" not in reason


@pytest.mark.parametrize(
    ("length", "told"), [(0, "-"), (256, "256"), (1 << 25, "32m"), (1 << 26, ">32m"), (131072, "128k")]
)
def test_a_listed_length_is_told_as_it_is_up_to_32m(length, told):
    assert list_models._length(length) == told


def test_keys_of_models_name_the_case_again():
    case = models.fields_of("minimax-1b", "lightning_triton", "lightning", "native", "flash_attn2", "cuda")
    case = dataclasses.replace(case, checkpoint="selective", chunk=4096, compile="on", seq_len=8192)
    assert case.key == (
        "lightning_triton,train,b1,t8192,h16,d128,bf16,cuda,model=minimax-1b,attention=flash_attn2,"
        "checkpoint=selective,chunk=4096,compile=on"
    )
    assert Case.from_key(case.key, mechanism="lightning") == case
    assert suite.of_key(case.key)[1] == case


def test_the_suites_of_models_expand():
    for name in (
        "models-train",
        "models-train-more",
        "models-fast",
        "models-serve",
        "models-common",
        "models-trial",
        "quick-models-cuda",
        "quick-models-cpu",
    ):
        cases = suite.load(name).cases("cpu" if name.endswith("cpu") else "cuda")
        assert all(case.model for case in cases)


OF_TABLES = ("models-train", "models-train-more", "models-fast", "models-serve", "models-common")


@pytest.mark.parametrize("name", OF_TABLES)
def test_every_case_of_the_tables_takes_turns_enough_to_tell_it_from_another(name):
    """A ratio is paired by round: of one turn none is known, of two hardly any."""
    chosen = suite.load(name)
    plan = Plan(chosen.stopping, 3000.0)
    for case in chosen.cases("cuda"):
        assert chosen.stopping.rounds_of(plan.predict(case, []).call_s) >= 3, case.key


@pytest.mark.parametrize("name", OF_TABLES)
def test_every_case_of_the_tables_fits_into_a_command_of_ten_minutes(name):
    """So `lbench run NAME --out FOLDER --resume --budget 9m`, again and again, comes to an end."""
    chosen = suite.load(name)
    plan = Plan(chosen.stopping, 3000.0)
    for case in chosen.cases("cuda"):
        if not room.reason_not_to_try(case, 79 * 2**30, "cuda"):
            prediction = plan.predict(case, [])
            assert prediction.wall_s < min(chosen.cell_timeout_s, 500.0), case.key
            assert 1e11 < costs.useful_flops(case) / prediction.call_s < 4.1e14
            assert prediction.memory_bytes == costs.memory_of(case).total


def test_the_table_again_fits_into_some_25_minutes_of_a_card_and_its_rest_into_35():
    """One column of kernels after another: every size from 1k on, the longest length of each included."""
    taken, found = {}, {}
    for name in ("models-train", "models-train-more"):
        chosen = suite.load(name)
        plan = Plan(chosen.stopping, 3000.0)
        found[name] = [case for group in rotation.groups(chosen.cases("cuda")) for case in group]
        taken[name] = 0.0
        for case in found[name]:
            taken[name] += plan.predict(case, []).wall_s
            plan.reason_to_skip(case, [])
    assert taken["models-train"] < 26 * 60
    assert taken["models-train-more"] < 35 * 60
    table, rest = ({case.key for case in cases} for cases in found.values())
    assert not table & rest
    for name, longest in (("385m", 1 << 17), ("1b", 1 << 17), ("3b", 1 << 16)):
        for model, backend in ((f"tnl-{name}", "lightning_triton"), (f"llama-{name}", "flash_attn2")):
            lengths = [
                {case.seq_len for case in cases if (case.model, case.backend) == (model, backend)}
                for cases in (found["models-train"], [*found["models-train"], *found["models-train-more"]])
            ]
            assert {1024, longest} <= lengths[0]
            assert {1 << power for power in range(10, 18)} <= lengths[1]


def test_a_suite_of_models_is_run_in_pieces_by_model():
    """--model takes its part, backends and tokens as they are; another model replaces them all."""
    from lbench.cli.axes import chosen

    whole = {case.key for case in suite.load("models-train").cases("cuda")}
    parts = [
        {case.key for case in chosen("models-train", {"model": names}, "cuda").cases("cuda")}
        for names in (["tnl-1b"], ["llama-1b"], ["tnl-385m", "llama-385m"], ["tnl-3b", "llama-3b"])
    ]
    assert set.union(*parts) == whole
    assert sum(map(len, parts)) == len(whole)
    short = chosen("models-train", {"model": ["tnl-1b"], "seq": ["64k"]}, "cuda").cases("cuda")
    assert {case.backend for case in short} == {
        "lightning_triton",
        "lightning_fla_chunk",
        "lightning_authors",
    }
    both = {"model": ["tnl-1b", "llama-1b"], "seq": ["16k"], "backend": ["flash_attn2", "lightning_triton"]}
    pairs = {(case.model, case.backend) for case in chosen("models-train", both, "cuda").cases("cuda")}
    assert pairs == {("tnl-1b", "lightning_triton"), ("llama-1b", "flash_attn2")}
    with pytest.raises(UsageError, match="--body common"):
        chosen("models-train", {"model": ["tnl-1b"], "backend": ["flash_attn2"]}, "cuda").cases("cuda")
    (other,) = chosen("models-train", {"model": ["gla-1.3b"], "seq": ["4k"]}, "cuda").cases("cuda")
    assert other.backend == "gla_fla_chunk"


def test_flags_take_of_a_models_part_what_it_has_and_replace_what_it_has_not():
    """So that a sitting measures some lengths of a suite, and none that is not in it."""
    from lbench.cli.axes import chosen

    whole = {case.key for case in suite.load("models-train-more").cases("cuda")}
    both = {"model": ["tnl-1b", "llama-1b"]}
    for flags in (
        {"seq": ["2k,32k,80k"]},
        {"backend": ["lightning_triton", "flash_attn2"], "seq": ["2k,8k,32k"]},
        {"backend": ["lightning_fla_chunk"]},
        {"batch": ["1"]},
    ):
        cases = chosen("models-train-more", both | flags, "cuda").cases("cuda")
        assert {case.key for case in cases} < whole
        assert {case.backend for case in cases} <= {*flags.get("backend", [one.backend for one in cases])}
    decoding = chosen("models-serve", {"model": ["tnl-7b"], "pass": ["decode"]}, "cuda").cases("cuda")
    assert {case.key for case in decoding} < {case.key for case in suite.load("models-serve").cases("cuda")}
    other = chosen("models-train", both | {"seq": ["3k"], "tokens": ["96k"]}, "cuda").cases("cuda")
    assert {(case.seq_len, case.tokens) for case in other} == {(3072, 98304)}


def test_a_flat_training_speed_passes_the_gate_of_its_suite(cli, tmp_path):
    """A step is bound by arithmetic: its share of the memory floor is no reason to fail it."""
    chosen = suite.load("models-train")
    cases = [case for case in chosen.cases("cuda") if (case.model, case.tokens) == ("tnl-1b", 131072)]
    folder = write(tmp_path / "rows", map(row_of, cases), suite=chosen.as_dict())
    code, stdout, stderr = cli("check", "constancy", folder, "--backend", "lightning_triton")
    assert code == 0, stdout + stderr
    assert "lightning_triton train, 131,072 tokens, tnl-1b" in stdout


def test_weights_that_more_tokens_share_are_no_reason_to_fail_a_flat_model(cli, tmp_path):
    """At one sequence a step a token's share of them falls with length; a model that grows fails as ever."""
    cases = suite.load("models-train").cases("cuda") + suite.load("models-train-more").cases("cuda")
    alone = [row_of(case) for case in cases if (case.model, case.batch) == ("tnl-385m", 1)]
    folder = write(tmp_path / "rows", alone, suite=suite.load("models-train").as_dict())
    _, stdout, _ = cli("check", "constancy", folder, "--backend", "lightning_triton")
    assert "undecided  lightning_triton train, batch 1, tnl-385m" in stdout
    assert "memory" not in stdout.replace("memory floor", "")
    grown = [
        dataclasses.replace(row, memory={**row.memory, "peak": row.memory["peak"] * row.case.seq_len // 4096})
        for row in alone
    ]
    folder = write(tmp_path / "grown", grown, suite=suite.load("models-train").as_dict())
    code, stdout, _ = cli("check", "constancy", folder, "--backend", "lightning_triton")
    assert code == 1
    assert "memory: worst over best" in stdout


def test_a_prompt_whose_weights_are_read_for_more_tokens_may_get_cheaper_not_dearer(cli, tmp_path):
    chosen = suite.load("models-serve")
    names = ("tnl-7b", "tnl-15b")
    rows = [row_of(one) for one in chosen.cases("cuda") if one.model in names and one.pass_name == "prefill"]
    folder = write(tmp_path / "rows", rows, suite=chosen.as_dict())
    _, stdout, _ = cli("check", "constancy", folder)
    assert "(3 pass)" in stdout
    dearer = [
        dataclasses.replace(row, times_ms=tuple(1.3 * time_ms for time_ms in row.times_ms))
        if row.case.seq_len == 16384
        else row
        for row in rows
    ]
    folder = write(tmp_path / "dearer", dearer, suite=chosen.as_dict())
    assert cli("check", "constancy", folder)[0] == 1


def test_a_step_is_predicted_near_what_a_card_takes():
    """TransNormerLLM of 1B on an H100: 30,000 to 70,000 tokens a second with block checkpointing."""
    case = models.fields_of("tnl-1b", "lightning_triton", "lightning", "native", "", "cuda")
    case = dataclasses.replace(case, batch=8, seq_len=8192, checkpoint="block")
    call_s = Plan(Stopping(), 3000.0).predict(case, []).call_s
    assert 30_000 < case.tokens / call_s < 70_000


def test_models_are_listed_with_what_fits(cli):
    code, stdout, _ = cli("list", "models", "--memory", "80g", "--json")
    assert code == 0
    records = {record["name"]: record for record in json.loads(stdout)}
    assert records["tnl-1b"]["parameters"] == 1_020_266_496
    assert records["tnl-15b"]["longest_train"] == 0
    assert records["llama-1b"]["longest_train"] >= 65536
    for memory in ("12q", "\N{SUPERSCRIPT TWO}g", "0g", "9" * 400 + "g"):
        assert cli("list", "models", "--memory", memory)[0] == 2


@pytest.mark.parametrize("columns", [80, 120])
def test_the_list_of_models_is_as_wide_as_the_terminal(cli, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, stdout, _ = cli("list", "models", "--memory", "80g")
    assert code == 0
    assert max(map(len, stdout.splitlines())) <= columns
    (line,) = [line for line in stdout.splitlines() if line.startswith("tnl-1b ")]
    assert ("1,020,266,496" in line) == (columns == 120)
