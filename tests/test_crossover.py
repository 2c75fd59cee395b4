"""`lbench crossover`: it finds the crossing it was given, covers the truth, and says where there is none."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import make_row

from lbench import crossover, models
from lbench.crossover import Crossover
from lbench.crossover.words import sentence, told
from lbench.results import Row, Writer

Cli = Callable[..., tuple[int, str, str]]
LENGTHS = (1024, 2048, 4096, 8192, 16384)
EXCERPT = Path(__file__).parent / "gates" / "h100"
A, B = "lightning_eager", "softmax_eager"


def row_of(
    backend: str, length: int, time_ms: float, generator: np.random.Generator, **fields: object
) -> Row:
    """Five rounds of ten samples; rounds differ by a tenth of a percent, samples by half a percent."""
    noise = fields.pop("noise", 0.001)
    mechanism = backend.removesuffix("_eager")
    row = make_row(backend=backend, mechanism=mechanism, seq_len=length, batch=LENGTHS[-1] // length)
    drift = np.repeat(generator.normal(0, noise, 5), 10)
    times = time_ms * np.exp(drift + generator.normal(0, 0.005, 50))
    return dataclasses.replace(row, times_ms=tuple(times), rounds=tuple(range(0, 50, 10)), **fields)


def sides(at: float, slope: float = 1.0, seed: int = 0, **fields: object) -> list[Row]:
    """A flat backend and one that is `slope` steeper and as fast at length `at`."""
    generator = np.random.default_rng(seed)
    return [
        row_of(name, length, (length / at) ** power, generator, **fields)
        for name, power in ((A, 0.0), (B, slope))
        for length in LENGTHS
    ]


def only(rows: list[Row], one: str = A, other: str = B) -> Crossover:
    (found,) = [answer for answer in crossover.find(rows, one, other) if answer.setting["held"] != "batch 1"]
    return found


@given(at=st.floats(1300, 13000), slope=st.floats(0.5, 2), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_it_finds_the_length_it_was_given(at: float, slope: float, seed: int) -> None:
    found = only(sides(at, slope, seed))
    assert found.length == pytest.approx(at, rel=0.01)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.length <= found.high


@given(factor=st.floats(0.01, 100), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_unit_of_time_changes_nothing(factor: float, seed: int) -> None:
    rows = sides(3000, seed=seed)
    scaled = [dataclasses.replace(row, times_ms=tuple(factor * t for t in row.times_ms)) for row in rows]
    assert only(scaled).length == pytest.approx(only(rows).length)


def test_the_interval_covers_the_truth() -> None:
    found = [only(sides(3000, seed=seed, noise=0.01)) for seed in range(60)]
    assert all(answer.state in ("crossover", "at most") for answer in found)
    covered = sum((answer.low or 0) <= 3000 <= (answer.high or math.inf) for answer in found)
    assert covered >= 52
    widths = [(answer.high or math.inf) / (answer.low or 1) for answer in found]
    assert float(np.median(widths)) < 1.1


def test_a_range_without_crossing_says_so() -> None:
    ahead, behind = only(sides(100)), only(sides(100_000))
    assert (ahead.state, behind.state) == ("ahead", "behind")
    assert ahead.length is behind.length is None
    assert "ahead of" in sentence(ahead)
    assert "does not beat" in sentence(behind)
    assert only(sides(3000), B, A).state == "behind"
    assert "alone" in sentence(only(sides(3000), B, A))


def test_mechanisms_that_differ_are_both_named() -> None:
    across = only(sides(3000))
    named = "two mechanisms: lightning_eager computes lightning, softmax_eager computes softmax"
    assert named in " ".join(line.strip() for line in told(across, "a card", 200))
    alike = [
        dataclasses.replace(row, case=dataclasses.replace(row.case, mechanism="x")) for row in sides(3000)
    ]
    assert not any("mechanism" in line for line in told(only(alike), "a card", 200))


def test_what_cannot_be_told_is_not_told() -> None:
    equal = only(sides(3000, slope=0.0))
    assert equal.state == "untold"
    assert "cannot be told" in sentence(equal)
    near = only(sides(1024, noise=0.002))
    assert near.state == "at most"
    assert near.low is None or near.low < 1100
    assert near.untold == (1024,)


def test_samples_that_took_turns_cancel_their_drift() -> None:
    """Rounds that slow both down by up to 30 % leave a paired crossing sharp."""
    shared = np.repeat(np.random.default_rng(1).uniform(1.0, 1.3, 5), 10)
    rows = [dataclasses.replace(row, times_ms=tuple(np.array(row.times_ms) * shared)) for row in sides(3000)]
    paired = only(rows)
    apart = only([dataclasses.replace(row, run=row.case.backend) for row in rows])
    assert (paired.apart, apart.apart) == ((), LENGTHS)
    assert (paired.high or 0) / (paired.low or 1) < 1.02
    assert (apart.high or math.inf) / (apart.low or 1) > 1.1


def test_a_length_that_one_cannot_do_is_named() -> None:
    rows = sides(3000)
    rows[-1] = make_row("out_of_memory", backend=B, mechanism="softmax", seq_len=LENGTHS[-1], batch=1)
    found = only(rows)
    assert found.missing == {LENGTHS[-1]: f"{B} out_of_memory"}
    assert any("out_of_memory at 16k" in line for line in told(found, "a card", 200))
    assert found.length == pytest.approx(3000, rel=0.01)


def test_recorded_rows(cli: Cli) -> None:
    code, out, _ = cli("crossover", "lightning_triton", "flash_attn3", EXCERPT, "--pass", "fwd", "--json")
    assert code == 0
    found = {answer["setting"]["held"]: answer for answer in json.loads(out)}
    assert found["constant tokens"]["state"] == "ahead"
    assert found["batch 1"]["low"] is None, "flash_attn3's first samples at 1k were disturbed"
    assert 1024 < found["batch 1"]["length"] < found["batch 1"]["high"] < 4096
    code, out, _ = cli("crossover", "lightning_authors", "flash_attn2", EXCERPT, "--pass", "fwd", "--json")
    (answer,) = (one for one in json.loads(out) if one["setting"]["held"] == "batch 1")
    assert code == 0
    assert 4096 <= answer["low"] < answer["length"] < answer["high"] < 16384
    code, out, _ = cli("crossover", "lightning_authors", "flash_attn2", EXCERPT)
    assert code == 0
    assert "lightning_authors beats flash_attn2 from" in out
    assert "not measured in turns" in out


def test_the_text_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = cli("crossover", "lightning_authors", "flash_attn2", EXCERPT)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((A, A), "compared with itself"),
        ((A, "softmx_eager"), "softmax_eager"),
        ((A, B, "--pass", "fwd,forward"), "did you mean fwd"),
        ((A, B, "--pass", "bwd"), "no row of pass bwd"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    writer = Writer(tmp_path)
    for row in sides(3000):
        writer.append(row)
    writer.close()
    names, options = arguments[:2], arguments[2:]
    code, out, error = cli("crossover", *names, tmp_path, *options)
    assert (code, out) == (2, "")
    assert said in error
    assert len(error.splitlines()) == 1


def models_rows() -> list[Row]:
    """tnl-1b is flat, llama-1b as fast at 4k; each with a second, slower backend."""
    generator = np.random.default_rng(1)
    rows = []
    for name, backend, power, slower in (
        ("tnl-1b", "lightning_triton", 0.0, 1.0),
        ("tnl-1b", "lightning_authors", 0.0, 1.7),
        ("llama-1b", "sdpa_cudnn", 1.0, 1.3),
        ("llama-1b", "flash_attn2", 1.0, 1.0),
        ("llama3-1b", "flash_attn2", 1.0, 1.0),
    ):
        mechanism = models.load(name).mechanism
        case = models.fields_of(name, backend, mechanism, "native", "", "cuda")
        for length in LENGTHS:
            time_ms = 100 * slower * (length / 4096) ** power
            made = row_of(A, length, time_ms, generator)
            fields = {"seq_len": length, "batch": LENGTHS[-1] // length, "checkpoint": "block"}
            rows.append(dataclasses.replace(made, case=dataclasses.replace(case, **fields)))
    return rows


def test_models_are_compared_by_their_fastest_backends() -> None:
    """Their heads may differ: llama3-1b has twice as many as tnl-1b."""
    for other, backend in (("llama-1b", "flash_attn2"), ("llama3-1b", "flash_attn2")):
        found = only(models_rows(), "tnl-1b", other)
        assert (found.one, found.other) == ("lightning_triton in tnl-1b", f"{backend} in {other}")
        assert found.length == pytest.approx(4096, rel=0.02)
    assert told(found, "M", 100)[0] == "train, 16,384 tokens, bf16 cuda, checkpoint block, M"
    narrow, wide = ("\n".join(told(found, "M", width)) for width in (80, 120))
    assert "lightning_triton in tnl-1b  flash" in wide
    assert max(map(len, narrow.splitlines())) <= 80
    assert "tnl-1b" in narrow.splitlines()[-len(found.points) - 1]


def test_a_backend_in_a_model_is_a_name_too() -> None:
    found = only(models_rows(), "lightning_authors in tnl-1b", "llama-1b")
    assert found.length == pytest.approx(1.7 * 4096, rel=0.02)
    within = only(models_rows(), "lightning_triton in tnl-1b", "lightning_authors in tnl-1b")
    assert within.state == "ahead"


def hybrid_rows() -> list[Row]:
    """models_rows, and a hybrid that is five times as slow with one attention as with the other."""
    generator = np.random.default_rng(2)
    rows = models_rows()
    for attention, slower in (("sdpa_flash", 1.0), ("sdpa_math", 5.0)):
        case = models.fields_of("minimax-1b", "lightning_triton", "lightning", "native", attention, "cuda")
        for length in LENGTHS:
            made = row_of(A, length, 100 * slower, generator)
            fields = {"seq_len": length, "batch": LENGTHS[-1] // length, "checkpoint": "block"}
            rows.append(dataclasses.replace(made, case=dataclasses.replace(case, **fields)))
    return rows


@pytest.mark.parametrize("order", [1, -1])
def test_attentions_of_a_hybrid_are_sides_of_their_own(order: int) -> None:
    rows, who = hybrid_rows()[::order], "lightning_triton in minimax-1b"
    for name in ("minimax-1b", who, f"{who} with sdpa_flash"):
        found = only(rows, name, "llama-1b")
        assert found.one == f"{who} with sdpa_flash"
        assert found.length == pytest.approx(4096, rel=0.02)
    slow = only(rows, f"{who} with sdpa_math", "llama-1b")
    assert slow.one == f"{who} with sdpa_math"
    assert slow.state == "behind"
    alone = only([row for row in rows if row.case.attention != "sdpa_math"], who, "llama-1b")
    assert alone.one == who
    within = only(rows, f"{who} with sdpa_flash", f"{who} with sdpa_math")
    assert within.state == "ahead"
    for answer in (slow, within):
        assert max(map(len, told(answer, "M", 80))) <= 80


@pytest.mark.parametrize("order", [1, -1])
def test_bodies_are_compared_with_their_like(order: int) -> None:
    """In the common body ours is ten times as slow: both answers stand, and say which body they are of."""
    native = models_rows()
    common = [
        dataclasses.replace(
            row,
            case=dataclasses.replace(row.case, body="common"),
            times_ms=tuple((10 if row.case.model == "tnl-1b" else 1) * time for time in row.times_ms),
        )
        for row in native
    ]
    answers = crossover.find((native + common)[::order], "tnl-1b", "llama-1b")
    found = {one.setting["body"]: one for one in answers if one.setting["held"] != "batch 1"}
    assert found["native"].length == pytest.approx(4096, rel=0.02)
    assert found["common"].state == "behind"
    assert ["body common" in told(found[body], "M", 100)[0] for body in ("native", "common")] == [False, True]
    unlike = [row for row in native + common if (row.case.model == "tnl-1b") == (row.case.body == "native")]
    assert not crossover.find(unlike, "tnl-1b", "llama-1b")


def test_the_command_line_knows_models(tmp_path: Path, cli: Cli) -> None:
    writer = Writer(tmp_path)
    for row in models_rows():
        writer.append(row)
    writer.close()
    code, out, error = cli("crossover", "tnl-1b", "llama-1b", "--pass", "train", tmp_path)
    assert code == 0, error
    assert "lightning_triton in tnl-1b beats flash_attn2 in llama-1b from" in " ".join(out.split())
    code, _, error = cli("crossover", "tnl-1b", "lama-1b", tmp_path)
    assert (code, "did you mean" in error) == (2, True)
    assert cli("crossover", "tnl-1b", "llama-1b", "--pass", "trian", tmp_path)[0] == 2


def keep_few(folder: Path, count: int) -> None:
    """Rows of both sides with so many samples, which took no turns."""
    writer = Writer(folder)
    for row in sides(3000):
        writer.append(dataclasses.replace(row, times_ms=row.times_ms[:count], rounds=()))
    writer.close()


def test_single_samples_are_told(tmp_path: Path, cli: Cli) -> None:
    keep_few(tmp_path, 1)
    code, _, error = cli("crossover", A, B, tmp_path)
    assert code == 2
    assert "both have two samples or more at two lengths or more" in " ".join(error.split())


def test_few_samples_tell_no_crossover_and_json_has_no_nan(tmp_path: Path, cli: Cli) -> None:
    keep_few(tmp_path, 2)
    code, out, _ = cli("crossover", A, B, tmp_path)
    assert code == 0
    assert "could see nothing: too few samples" in " ".join(out.split())
    assert "nan" not in out
    text = cli("crossover", A, B, tmp_path, "--json")[1]
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert {answer["state"] for answer in found} == {"untold"}
    assert {point["ratio"]["low"] for answer in found for point in answer["points"]} == {None}
