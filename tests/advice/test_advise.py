"""`lbench advise`: what was measured stands first, what is estimated says so, and nothing is made up."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.scripted import RUN, row_of, rows_of, write

from lbench import floors, models, results, suite
from lbench.advice import advise
from lbench.advice.estimates import Question, between
from lbench.advice.missing import command_for
from lbench.advice.words import notes, sentence, table
from lbench.case import Case
from lbench.claims.rows import Measured, gather
from lbench.models.classes import named, size_text
from lbench.models.costs import GIB
from lbench.results import Row, Writer, content_id

Cli = Callable[..., tuple[int, str, str]]
KILO = 1024


def asked(text: str, length: int, pass_name: str = "train", gib: int = 80, batch: int = 0) -> Question:
    return Question(
        asked=text,
        models=named(text),
        seq_len=length * KILO,
        pass_name=pass_name,
        memory_bytes=gib * GIB,
        batch=batch,
    )


def kept(*rows: Row, machine: str = "M") -> list[Measured]:
    return [Measured(row=row, run=RUN, machine=machine) for row in rows]


def case_of(name: str, backend: str, length: int, **fields: object) -> Case:
    case = models.fields_of(name, backend, models.load(name).mechanism, "native", "", "cuda")
    return dataclasses.replace(case, seq_len=length * KILO, **{"checkpoint": "block", **fields})


def row(name: str, backend: str, length: int, faster: float = 1.0, **fields: object) -> Row:
    made = row_of(case_of(name, backend, length, **fields))
    return dataclasses.replace(made, times_ms=tuple(time / faster for time in made.times_ms))


PLAIN = {"pass_name": "prefill", "checkpoint": "none", "batch": 1}
CONFIG = {
    **{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 96, "vocab_size": 256, "max_position_embeddings": 8192},
}
OURS, FLASH = ("tnl-1b", "lightning_triton"), ("llama-1b", "flash_attn2")


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("1b", {"tnl-1b", "llama-1b", "llama3-1b", "minimax-1b", "gla-1.3b", "mamba-1.4b", "mamba2-780m"}),
        ("0.4b", {"tnl-385m", "llama-385m", "gla-340m", "mamba-370m"}),
        ("7b", {"tnl-7b", "llama-7b", "llama3-8b", "retnet-6.7b"}),
    ],
)
def test_a_size_is_every_model_of_that_size(text: str, members: set[str]) -> None:
    assert members <= set(named(text))
    sizes = [models.load(name).parameters for name in named(text)]
    assert max(sizes) <= 2 * min(sizes)
    assert named("tnl-1b") == ("tnl-1b",)


def test_what_was_measured_stands_before_a_faster_estimate() -> None:
    rows = kept(row(*FLASH, 128), row(*OURS, 64))
    found = advise(asked("1b", 128), rows)
    assert found.best is not None
    assert (found.best.case.model, found.best.basis) == ("llama-1b", "measured")
    assert found.faster_estimate is not None
    assert found.faster_estimate.case.model == "tnl-1b"
    assert "measured" in sentence(found)
    assert "not measured: lightning_triton in tnl-1b" in " ".join(notes(found))


def test_the_fastest_of_what_was_measured_is_taken() -> None:
    rows = [row(*OURS, 128), row("tnl-1b", "lightning_authors", 128), row(*FLASH, 128)]
    for order in (rows, rows[::-1]):
        found = advise(asked("1b", 128), kept(*order))
        assert found.best is not None
        assert found.best.case.backend == "lightning_triton"
        assert [one.tier for one in found.answers] == [0, 0, 0]
        speeds = [one.tokens_per_s for one in found.answers]
        assert speeds == sorted(speeds, reverse=True)
        assert f"{speeds[0]:,.0f} tokens/s" in sentence(found)


def test_the_table_keeps_to_a_terminal_and_says_every_setting() -> None:
    long = {"chunk": 16 * KILO, "compile": "on"}
    rows = [row("gla-1.3b", "gla_fla_chunk", 128, **long), row("tnl-1b", "lightning_fla_recurrent", 128)]
    found = advise(asked("1b", 128), kept(*rows, row(*OURS, 64)))
    lines = list(table(found))
    shown = lines[: lines.index("rows:")]
    assert max(map(len, shown)) <= 80
    assert [line.strip() for line in shown if "checkpoint" in line] == [
        f"with {one.case.model_setting.partition(', ')[2]}" for one in found.answers
    ]


@given(at=st.floats(1.01, 7.99), exponent=st.floats(-0.5, 2.2))
def test_between_two_lengths_a_power_law_is_exact(at: float, exponent: float) -> None:
    assert between([(1, 3.0), (8, 3.0 * 8**exponent)], at) == pytest.approx(3.0 * at**exponent)


def test_an_estimate_lies_between_its_rows_and_says_so() -> None:
    rows = kept(row(*FLASH, 64), row(*FLASH, 128))
    (answer,) = advise(asked("1b", 96), rows).answers
    assert answer.basis == "between lengths"
    low, high = (one.value("time_ms") for one in answer.rows)
    assert low < answer.time_ms < high
    said = sentence(advise(asked("1b", 96), rows))
    assert "estimated between 64k and 128k" in said
    assert "measured" not in said


def test_beyond_what_was_measured_time_goes_by_work() -> None:
    nearest = row(*FLASH, 64)
    (answer,) = advise(asked("llama-1b", 128), kept(row(*FLASH, 32), nearest)).answers
    assert answer.basis == "beyond lengths"
    more = floors.useful_flops(answer.case) / floors.useful_flops(nearest.case)
    assert answer.time_ms == pytest.approx(more * answer.rows[0].value("time_ms"))
    assert [one.row for one in answer.rows] == [nearest]
    told = " ".join(notes(advise(asked("llama-1b", 128), kept(nearest))))
    assert "Nothing at that length and size was measured" in told
    assert "lbench run --case flash_attn2,train,b1,t131072," in told


def test_another_size_of_the_family_is_the_last_resort() -> None:
    found = advise(asked("tnl-1b", 64), kept(row("tnl-385m", "lightning_triton", 64), row(*FLASH, 64)))
    assert found.best is not None
    assert (found.best.case.model, found.best.basis) == ("tnl-1b", "of another size")
    assert found.best.case == case_of(*OURS, 64)
    assert "estimated from tnl-385m" in sentence(found)
    assert all(one.case.model == "tnl-1b" for one in found.answers)


def test_rows_of_a_family_answer_for_no_other() -> None:
    found = advise(asked("tnl-1b", 64), kept(row("llama-385m", "flash_attn2", 64)))
    assert found.best is None
    assert "none of these models or their families" in sentence(found)


@pytest.mark.parametrize("gib", [10, 30, 80, 200])
def test_nothing_larger_than_the_memory_is_advised(gib: int) -> None:
    found = advise(asked("1b", 32, gib=gib), kept(*rows_of("models-train", "models-fast")))
    assert all(one.memory_bytes <= gib * GIB for one in found.answers)
    assert all(one.memory_bytes > gib * GIB for one in found.too_large)
    if found.best is None:
        assert "the least that was measured" in sentence(found)
        assert "lbench run" in " ".join(notes(found)) or "Nothing of it is predicted" in " ".join(
            notes(found)
        )


def test_machines_are_not_mixed() -> None:
    rows = kept(row(*OURS, 64), machine="fast") + kept(row(*FLASH, 64, faster=0.1), machine="slow")
    found = advise(asked("1b", 64), rows)
    assert {one.machine for one in found.answers} == {"fast"}
    assert found.elsewhere == ("slow",)
    assert "slow" in " ".join(notes(found))


@pytest.mark.parametrize("order", [1, -1])
def test_a_case_on_two_machines_is_that_of_the_best(order: int, tmp_path: Path) -> None:
    """Whichever was measured last; the other has its own failures."""
    folders = []
    for name, faster, started_at in (
        ("fast", 10.0, "2026-01-01T00:00:00Z"),
        ("slow", 1.0, "2026-02-01T00:00:00Z"),
    ):
        environment = {"device": "cuda", "gpu": name, "cpu": "a CPU"}
        writer = Writer(tmp_path / name)
        writer.document("environments", content_id(environment), environment)
        writer.document("runs", "r1", RUN | {"environment": content_id(environment)})
        writer.append(dataclasses.replace(row(*OURS, 64, faster=faster), started_at=started_at))
        if name == "slow":
            writer.append(dataclasses.replace(row(*FLASH, 64), times_ms=(), rounds=(), verdict="timeout"))
        writer.close()
        folders.append(results.read(tmp_path / name))
    found = advise(asked("1b", 64), gather(folders[::order]))
    assert found.best is not None
    assert found.best.machine == "fast"
    assert found.elsewhere == ("slow",)
    assert "No time" not in " ".join(notes(found))


def test_failures_at_that_length_and_doubts_are_told() -> None:
    doubted = dataclasses.replace(row(*OURS, 64), doubts=("clock drift: by 4 %",))
    failed = dataclasses.replace(row(*FLASH, 64), times_ms=(), rounds=(), verdict="out_of_memory")
    told = " ".join(notes(advise(asked("1b", 64), kept(doubted, failed))))
    assert "out of memory: flash_attn2 in llama-1b" in told
    assert "clock drift: by 4 %" in told


def test_what_cannot_be_told_apart_is_told() -> None:
    one = row(*OURS, 64)
    other = dataclasses.replace(one, case=case_of("tnl-1b", "lightning_fla_chunk", 64))
    found = advise(asked("1b", 64), kept(one, other))
    assert [answer.case.backend for answer in found.equals] == ["lightning_fla_chunk"]
    assert not advise(asked("1b", 64), kept(one, row(*FLASH, 64))).equals


@pytest.mark.parametrize("pass_name", ["train", "prefill", "decode"])
@pytest.mark.parametrize("text", ["1b", "tnl-385m", "0.4b", "mamba-tiny"])
def test_the_command_expands_to_cases_that_answer(text: str, pass_name: str) -> None:
    question = asked(text, 4, pass_name, gib=79, batch=2)
    found = advise(question, kept(*(row_of(case) for case in cases_of(command_for(question)))))
    assert found.best is not None
    assert found.best.basis == "measured"


def cases_of(command: str) -> list[Case]:
    words = shlex.split(command)
    axes = {
        word[2:]: words[place + 1].split(",") for place, word in enumerate(words) if word.startswith("--")
    }
    return suite.load("quick-models-cuda").override(axes).cases("cuda")


@pytest.mark.parametrize("length", [1, 4, 16, 128])
@pytest.mark.parametrize("gib", [1, 3, 10, 80])
@pytest.mark.parametrize("text", ["mamba-130m", "1b"])
def test_what_fits_at_one_sequence_is_found_without_a_batch(text: str, gib: int, length: int) -> None:
    """And nothing is cut into chunks longer than it is."""
    command = command_for(asked(text, length, gib=gib))
    assert bool(command) >= bool(command_for(asked(text, length, gib=gib, batch=1)))
    assert all(case.chunk < case.seq_len for case in cases_of(command) if command)
    told = " ".join(notes(advise(asked(text, length, gib=gib), [])))
    assert ("lbench run" in told) == bool(command)
    assert length > 16 or "chunk" not in told


def test_a_backend_that_serves_stands_in_for_the_usual_one() -> None:
    found = advise(
        asked("mamba-tiny", 4, "prefill", batch=1), kept(row("mamba-tiny", "mamba1_eager", 1, **PLAIN))
    )
    assert found.best is not None
    assert found.best.case.backend == "mamba1_eager"
    (told,) = notes(advise(found.question, []))
    assert "lbench run --model mamba-tiny --backend mamba1_eager --seq 4k --pass prefill" in told


def test_the_sentence_counts_the_parameters_of_the_body_and_no_gpu_on_a_cpu() -> None:
    native = models.fields_of("mamba-130m", "mamba1_eager", "mamba1", "native", "", "cpu")
    common = models.fields_of("mamba-130m", "mamba1_eager", "mamba1", "common", "", "cpu")
    counts = [size_text(models.of_case(case).parameters) for case in (native, common)]
    assert counts[0] != counts[1]
    for case, count in zip((native, common), counts, strict=True):
        said = sentence(advise(asked("mamba-130m", 1), kept(row_of(case))))
        assert f"({count} parameters)" in said
        assert " a GPU" not in said
    assert " a GPU (" in sentence(advise(asked("1b", 64), kept(row(*OURS, 64))))


@pytest.mark.parametrize("seen", [row(*OURS, 64, compile="on"), row("tnl-1b", "lightning_authors", 64)])
def test_what_is_estimated_is_measured_by_its_own_setting_and_backend(seen: Row) -> None:
    found = advise(asked("1b", 128), kept(seen))
    assert found.best is not None
    (command,) = (note for note in notes(found) if "this measures it" in note)
    assert shlex.split(command)[-3:] == ["run", "--case", found.best.case.key]
    again = Case.from_key(found.best.case.key, "lightning")
    measured = advise(found.question, kept(seen, row_of(again))).best
    assert measured is not None
    assert (measured.case, measured.tier) == (again, 0)


def test_a_name_with_a_space_stays_one_word(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(CONFIG))
    question = asked(str(path), 4, "prefill", batch=1)
    assert shlex.split(command_for(question))[2:4] == ["--model", str(path)]


def test_the_command_line(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    folder = write(tmp_path / "rows", [row(*OURS, 128), row(*FLASH, 128)])
    code, out, error = cli("advise", folder, "--model", "1b", "--seq", "128k", "--memory", "80g")
    assert (code, error) == (0, "")
    assert re.match(r"For training 1b models at 128k within 80 GiB take lightning_triton in tnl-1b", out)
    assert row(*OURS, 128).case.key in out
    code, out, _ = cli("advise", folder, "--model", "1b", "--seq", "128k", "--memory", "80g", "--json")
    record = json.loads(out)
    assert record["answers"][0]["rows"] == [row(*OURS, 128).case.key]
    assert record["answers"][0]["basis"] == "measured"
    code, out, _ = cli("advise", folder, "--model", "1b", "--seq", "4k", "--pass", "decode")
    assert code == 3
    assert "0 of 2 rows of models are of that pass" in " ".join(out.split())
    assert "lbench run --model" in out


def test_by_default_it_reads_what_is_kept(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "runs" / "mine", [row("gdn-1.3b", "gated_deltanet_fla_chunk", 128)])
    code, out, _ = cli("advise", "--model", "gdn-1.3b", "--seq", "128k", "--memory", "80g")
    assert code == 0
    assert "gated_deltanet_fla_chunk in gdn-1.3b" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "needs a model and a length"),
        (("--model", "1b"), "needs a model and a length"),
        (("--model", "tnl-1bb", "--seq", "4k"), "did you mean tnl-1b"),
        (("--model", "40b", "--seq", "4k"), "the nearest: tnl-15b"),
        (("--model", "1b", "--seq", "4q"), "length '4q'"),
        (("--model", "1b", "--seq", "1k", "--pass", "fwd"), "unknown pass of models"),
        (("--model", "1b", "--seq", "1k", "--memory", "80"), "--memory '80' is no size"),
        (("--model", "llama3-8b", "--seq", "256k"), "has positions for 128k tokens"),
        (("nowhere", "--model", "1b", "--seq", "1k"), "holds no rows.jsonl"),
        (("--model", "./config.json", "--seq", "1k"), "cannot be read"),
    ],
)
def test_bad_input_is_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, error = cli("advise", *arguments)
    assert (code, out) == (2, "")
    assert said in error
    assert len(error.strip().splitlines()) == 1
