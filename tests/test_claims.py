"""Published tables as data: what they say of themselves, and rows that answer them or do not."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.scripted import rows_of
from rows import make_row

from lbench import backends, claims, mechanisms, results
from lbench import suite as suites
from lbench.case import Case
from lbench.claims.cases import suite_of
from lbench.claims.rows import Measured, gather
from lbench.claims.shapes import bracket
from lbench.claims.spec import Claim, Line, parse
from lbench.claims.words import tell, text
from lbench.errors import UsageError
from lbench.results import Writer, content_id

Cli = Callable[..., tuple[int, str, str]]
EXCERPT = Path(__file__).parent / "gates" / "h100"
OF_KERNELS = ("authors-kernels", "tfla-h100")
TABLE = ("models-train", "models-train-more")
"""The suites that measure la2-table1 again."""


def measured(case: Case, time_ms: float) -> Measured:
    """A row of five rounds with a spread of 0.1 %."""
    generator = np.random.default_rng(zlib.crc32(case.key.encode()))
    row = dataclasses.replace(make_row(), case=case)
    times = tuple(time_ms * np.exp(generator.normal(0, 0.001, 50)))
    return Measured(
        row=dataclasses.replace(row, times_ms=times, rounds=tuple(range(0, 50, 10))), run={}, machine="M"
    )


def answered(claim: Claim, factor: Callable[[Line, int], float] = lambda line, length: 1.0) -> list[Measured]:
    """A row for every published number of a kernel that is here, `factor` times as slow."""
    made = []
    for line, pass_name, length, value in numbers(claim):
        axes = {name: v for name, v in line.fields.items() if name != "tokens"}
        batch = line.fields["tokens"] // length if "tokens" in line.fields else line.fields["batch"]
        case = Case(**{**axes, "pass_name": pass_name, "seq_len": length, "batch": batch})
        made.append(measured(case, value * factor(line, length)))
    return made


def numbers(claim: Claim) -> Iterator[tuple[Line, str, int, float]]:
    for line in claim.lines:
        if "backend" in line.fields:
            for pass_name in line.values:
                for length, value in claim.published(line, pass_name).items():
                    yield line, pass_name, length, value


@pytest.mark.parametrize("name", claims.names())
def test_a_claim_names_what_there_is(name: str) -> None:
    claim = claims.load(name)
    for line in claim.lines:
        if "mechanism" in line.fields:
            assert line.fields["mechanism"] in mechanisms.names()
        if "backend" in line.fields:
            assert backends.load(line.fields["backend"]).mechanism == line.fields["mechanism"]
    for shape in claim.shapes:
        assert "backend" in claim.line(shape.line).fields
        assert shape.pass_name in claim.line(shape.line).values
    assert claim.source
    assert claim.gpu


def test_the_data_say_what_the_papers_say() -> None:
    told = {one.subject: one.published for one in tell(claims.load("la2-table1"), []).shapes}
    assert told["train: TNL-LA2 0.4B over LLaMA-FA2 0.4B at 92k"] == "9.46 times as fast"
    assert told["train: TNL-LA2 0.4B over LLaMA-FA2 0.4B at 1k"] == "1.07 times as fast"
    told = {one.subject: one.published for one in tell(claims.load("authors-kernels"), []).shapes}
    assert told["fwd: Lightning Attention-2 over FlashAttention-2 at 32k"] == "9.22 times as fast"
    assert told["bwd: Lightning Attention-2 becomes faster than FlashAttention-2"] == "between 4k and 8k"
    tfla = claims.load("tfla-h100")
    assert tfla.published(tfla.line("la2"), "fwdbwd")[65536] == 126.2
    assert tfla.published(tfla.line("fa3"), "fwd")[512] == pytest.approx(1.69, abs=0.005)


@pytest.mark.parametrize("name", OF_KERNELS)
def test_a_claims_cases_are_the_rows_that_answer_it(name: str) -> None:
    claim = claims.load(name)
    cases = suite_of(claim).cases("cuda")
    told = tell(claim, [measured(case, 1.0) for case in cases])
    keys = {one.key for of_line in told.measured.values() for one in of_line}
    assert keys == {case.key for case in cases}
    for line, pass_name, length, _ in numbers(claim):
        same = [one for one in told.measured[line.id, pass_name] if one.same_kernel]
        assert length in {one.seq_len for one in same}


@pytest.mark.parametrize("name", OF_KERNELS)
def test_a_perfect_reproduction_holds_in_everything(name: str) -> None:
    claim = claims.load(name)
    told = tell(claim, answered(claim, lambda line, length: 0.5))
    assert {one.outcome for one in told.shapes} == {"holds", "measured"}
    ratios = [one.ratio for of_line in told.measured.values() for one in of_line]
    assert ratios == pytest.approx([2.0] * len(ratios), rel=1e-3)
    assert told.machines == "M"


def test_another_shape_does_not_hold() -> None:
    claim = claims.load("tfla-h100")
    steep = tell(claim, answered(claim, lambda line, length: length if line.id == "la2" else 1.0))
    said = {one.subject: one for one in steep.shapes}
    assert said["fwd: Lightning Attention-2 is flat"].outcome == "does not hold"
    assert said["fwd: Lightning Attention-2 becomes faster than FlashAttention-3"].outcome == "does not hold"
    slow = tell(claim, answered(claim, lambda line, length: 100.0 if line.id == "simple-gla" else 1.0))
    said = {one.subject: one for one in slow.shapes}
    assert said["fwd: fla chunk_simple_gla is faster than fla chunk_gla"].outcome == "does not hold"
    late = tell(claim, answered(claim, lambda line, length: 4.0 if line.id == "la2" else 1.0))
    crossed = {one.subject: one for one in late.shapes}[
        "fwd: Lightning Attention-2 becomes faster than FlashAttention-3"
    ]
    assert (crossed.outcome, crossed.reason.endswith("later")) == ("does not hold", True)


def test_the_bracket_of_a_crossover() -> None:
    claim = claims.load("tfla-h100")
    shape = next(shape for shape in claim.shapes if shape.kind == "crossover" and shape.other == "fa3")
    assert bracket(claim, shape, [claim.line(shape.line), claim.line(shape.other)]) == (8192, 16384)


def test_rows_of_another_setting_give_no_number() -> None:
    claim = claims.load("tfla-h100")
    told = tell(claim, gather([results.read(EXCERPT)]))
    assert not any(told.measured.values())
    judged = [one for one in told.shapes if one.setting]
    assert judged
    assert all("262,144 tokens, h16 d128" in one.setting for one in judged)
    assert not any(one.outcome == "measured" for one in told.shapes)
    assert "no rows yet" in "\n".join(text(told, 80))


@pytest.mark.parametrize(
    "field", [{"heads": 8, "kv_heads": 8}, {"head_dim": 64}, {"dtype": "fp16"}, {"batch": 3}, {"seed": 1}]
)
def test_a_row_that_differs_in_anything_is_no_answer(field: dict[str, Any]) -> None:
    claim = claims.load("tfla-h100")
    one = next(one for one in answered(claim) if one.row.case.backend == "sdpa_cudnn")
    assert any(tell(claim, [one]).measured.values())
    other = measured(dataclasses.replace(one.row.case, **field), 1.0)
    assert not any(tell(claim, [other]).measured.values())


def test_rows_of_models_answer_a_table_of_models() -> None:
    """Those of the suites that measure it again: batch and settings are open, all rows in one setting."""
    claim = claims.load("la2-table1")
    rows = [Measured(row=row, run={}, machine="M") for row in rows_of(*TABLE, "models-fast")]
    told = tell(claim, rows)
    assert told.setting == "checkpoint block, compile on"
    for line, pass_name, length, value in numbers(claim):
        at = {one.backend: one for one in told.measured[line.id, pass_name] if one.seq_len == length}
        same = at.pop(line.fields["backend"])
        alike = [
            one.value("tokens_per_s")
            for one in rows
            if (one.row.case.model, one.row.case.backend, one.row.case.seq_len, one.row.case.checkpoint)
            == (line.fields["model"], same.backend, length, "block")
        ]
        assert same.same_kernel
        assert (same.value, same.machine) == (max(alike), "M")
        assert same.ratio == pytest.approx(same.value / value)
        assert at or line.fields["mechanism"] == "softmax", "ours stands beside the authors'"
    outcomes = {one.subject: one.outcome for one in told.shapes}
    assert outcomes["train: TNL-LA2 1B is flat"] == "holds"
    assert outcomes["train: TNL-LA2 0.4B over LLaMA-FA2 0.4B at 92k"] == "measured"
    assert outcomes["train: TNL-LA2 0.4B by lightning_triton over LLaMA-FA2 0.4B at 92k"] == "measured"
    shown = "\n".join(text(told, 200))
    assert "published: 2x A100 80G; here: M, checkpoint block, compile on" in shown
    assert "nothing here computes it" in shown


def kept_on(tmp_path: Path, machine: str, kept: list[Measured], started_at: str) -> results.Results:
    environment = {"device": "cuda", "gpu": machine, "cpu": "a CPU"}
    writer = Writer(tmp_path / machine)
    writer.document("environments", content_id(environment), environment)
    writer.document("runs", "r1", {"environment": content_id(environment)})
    for one in kept:
        writer.append(dataclasses.replace(one.row, started_at=started_at))
    writer.close()
    return results.read(tmp_path / machine)


@pytest.mark.parametrize("order", [1, -1])
def test_machines_are_not_mixed(tmp_path: Path, order: int) -> None:
    """Of two, the one that answers more stands, whichever was measured last; the other is told."""
    claim = claims.load("tfla-h100")
    every = answered(claim)
    slow = answered(claim, lambda line, length: 10.0)
    some = [one for one in slow if one.row.case.backend == "sdpa_cudnn"]
    folders = [
        kept_on(tmp_path, "fast", every, "2026-01-01T00:00:00Z"),
        kept_on(tmp_path, "slow", some, "2026-02-01T00:00:00Z"),
    ]
    rows = gather(folders[::order])
    assert len(rows) == len(every) + len(some)
    told = tell(claim, rows)
    assert (told.machines, told.left_out) == ("fast", "slow")
    assert {one.machine for one in told.shapes} == {"fast"}
    assert told.shapes == tell(claim, gather(folders[:1])).shapes
    assert "left out, since machines differ: rows of slow" in "\n".join(text(told, 80))


def test_a_faster_setting_at_some_lengths_bends_no_line() -> None:
    """Without checkpoints a step is faster, and fits at short lengths alone: no growth with length."""
    claim = claims.load("la2-table1")
    block = [row for row in rows_of(*TABLE) if row.case.model == "tnl-1b"]
    plain = [
        dataclasses.replace(
            row,
            case=dataclasses.replace(row.case, checkpoint="none"),
            times_ms=tuple(time_ms * 0.7 for time_ms in row.times_ms),
        )
        for row in block
        if row.case.seq_len <= 8192
    ]
    told = tell(claim, [Measured(row=row, run={}, machine="M") for row in [*plain, *block]])
    assert told.setting == "checkpoint block, compile on"
    outcomes = {one.subject: one.outcome for one in told.shapes}
    assert outcomes["train: TNL-LA2 1B by lightning_triton is flat"] == "holds"


def test_a_rerun_of_a_table_of_models_is_of_its_settings() -> None:
    """Its cases are those of the suite that measures the table again: they answer it in one setting."""
    claim = claims.load("la2-table1")
    cases = suite_of(claim).cases("cuda")
    kept = {row.case.key for row in rows_of(*TABLE)}
    assert {case.key for case in cases if case.seq_len <= 65536 and case.model != "tnl-3b"} <= kept
    assert {case.tokens for case in cases if case.model == "llama-3b"} == {65536, 81920, 94208}
    assert {(case.checkpoint, case.compile) for case in cases} == {("block", "on")}


@pytest.mark.parametrize("field", [{"body": "common"}, {"dtype": "fp16"}, {"model": "tnl-3b"}])
def test_a_model_that_differs_is_no_answer(field: dict[str, Any]) -> None:
    claim = claims.load("la2-table1")
    (row,) = (one for one in rows_of(*TABLE) if "authors,train,b8,t16384,h16" in one.case.key)
    line = claim.line("la2-1b")
    for fields, count in (({}, 1), (field, 0)):
        made = dataclasses.replace(row, case=dataclasses.replace(row.case, **fields))
        told = tell(claim, [Measured(row=made, run={}, machine="M")])
        assert len(told.measured[line.id, "train"]) == count


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = cli("claims", "list", "--json")
    assert code == 0
    assert [one["name"] for one in json.loads(out)] == claims.names()
    writer = Writer(tmp_path)
    for one in answered(claims.load("authors-kernels")):
        writer.append(one.row)
    writer.close()
    code, out, _ = cli("claims", "show", tmp_path)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "= flash_attn2" in out
    assert "no rows yet" in out
    code, out, _ = cli("claims", "show", tmp_path, "--claim", "authors-kernels", "--json")
    (record,) = json.loads(out)
    assert record["lines"][0]["measured"][0]["ratio"] == pytest.approx(1, rel=1e-3)


def test_a_claim_is_measured_by_the_runner(tmp_path: Path, cli: Cli) -> None:
    code, _, error = cli(
        "claims", "run", "authors-kernels", "--device", "cpu", "--seq", "512", "--pass", "fwd",
        "--budget", "1s", "--backend", "flash_attn2", "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, error
    (row,) = results.read(tmp_path / "out").rows.values()
    assert row.suite == "claim-authors-kernels"
    assert row.verdict in ("unsupported", "unavailable")
    assert (row.case.batch, row.case.heads, row.case.seq_len) == (4, 32, 512)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "--claim", "tfla"), "did you mean tfla-h100"),
        (("run", "la2-table2"), "did you mean la2-table1"),
        (("run", "tfla-h100", "--seq", "3k"), "it has 512, 1k"),
        (("run", "tfla-h100", "--pass", "decode"), "no line of that"),
        (("run", "tfla-h100", "--backend", "softmax_egaer"), "softmax_eager"),
    ],
)
def test_bad_input_is_one_line(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    code, out, error = cli("claims", *arguments)
    assert (code, out) == (2, "")
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_claim_of_models_needs_models(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = tuple(axis for axis in suites.AXES if axis != "model")
    monkeypatch.setattr("lbench.suite.AXES", axes)
    with pytest.raises(UsageError, match="a model"):
        suite_of(claims.load("la2-table1"))


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "speed"},
        {"lengths": [512]},
        {"shape": [{"kind": "round", "line": "a", "pass": "fwd"}]},
        {"shape": [{"kind": "flat", "line": "b", "pass": "fwd"}]},
    ],
)
def test_a_file_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    content = {
        "title": "t", "source": "s", "gpu": "g", "note": "n", "metric": "time_ms", "lengths": [512, 1024],
        "setting": {"dtype": "bf16"}, "line": [{"id": "a", "name": "A", "values": {"fwd": [1.0, "OOM"]}}],
        "shape": [{"kind": "flat", "line": "a", "pass": "fwd"}],
    }  # fmt: skip
    assert parse("x", content).published(parse("x", content).line("a"), "fwd") == {512: 1.0}
    with pytest.raises(ValueError, match=r"claim|line|shape"):
        parse("x", {**content, **change})
