"""Suites: files, axes and overrides."""

from __future__ import annotations

import json

import pytest

from lbench import suite
from lbench.errors import UsageError
from lbench.suite import Suite


def cases_of(**axes):
    return Suite(name="t", sweeps=({"backend": ["lightning_eager"], **axes},)).cases("cpu")


@pytest.mark.parametrize("name", suite.names())
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_suite_expands(name: str, device: str) -> None:
    loaded = suite.load(name)
    cases = loaded.cases(device)
    assert len({case.key for case in cases}) == len(cases)
    assert loaded.title


def test_axes_multiply() -> None:
    assert len(cases_of(**{"pass": ["fwd", "fwdbwd"], "seq": "1k..8k", "heads": [4, 8]})) == 16


def test_tokens_divide_into_a_batch() -> None:
    assert [(case.batch, case.seq_len) for case in cases_of(tokens="8k", seq="1k..8k")] == [
        (8, 1024),
        (4, 2048),
        (2, 4096),
        (1, 8192),
    ]


def test_a_point_of_two_sweeps_is_one_case() -> None:
    sweeps = ({"backend": "lightning_eager", "seq": "1k,2k", "batch": 1},) * 2
    assert len(Suite(name="t", sweeps=sweeps).cases("cpu")) == 2


def test_batch_takes_the_place_of_tokens() -> None:
    loaded = suite.load("headline").override({"batch": ["2"], "backend": ["lightning_eager"]})
    assert {case.batch for case in loaded.cases("cuda")} == {2}


def test_a_mechanism_takes_the_place_of_backends() -> None:
    loaded = suite.load("quick-cpu").override({"mechanism": ["gla"]})
    assert {case.mechanism for case in loaded.cases("cpu")} == {"gla"}


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"batch": ["2"], "tokens": ["8k"]}, "exclude each other"),
        ({"backend": ["lightning_eager"], "mechanism": ["gla"]}, "exclude each other"),
        ({"tokens": ["5000"]}, "cannot be split"),
        ({"backend": ["lightning_egaer"]}, "did you mean lightning_eager"),
        ({"mechanism": ["softmx"]}, "did you mean softmax"),
        ({"heads": ["many"]}, "no whole number"),
        ({"dtype": ["fp8"]}, "unknown dtype"),
    ],
)
def test_axes_that_cannot_be(axes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        suite.load("quick-cpu").override(axes).cases("cpu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("titel = 'x'", "did you mean title"),
        ("energy = 'no'", "true or false"),
        ("[stopping]\nbudget = 1", "did you mean budget_s"),
        ("[[sweep]]\nlength = '1k'", "unknown key 'length'"),
        ("[[sweep]]\nbatch = 2\ntokens = '8k'", "mine, .*batch and tokens exclude each other"),
        ("[[sweep]]\nbackend = ['gla_eager']\nmechanism = 'gla'", "exclude each other"),
        ("[[sweep", "no valid TOML"),
        ("title = 'empty'", "has no case"),
    ],
)
def test_a_broken_file_is_told(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        suite.load(str(path)).cases("cpu")


# A value that TOML can hold and no field wants.
STRANGE = ["[[]]", "{ x = 1 }", "nan", "-1.5", "1979-05-27"]
FIELDS = [
    *[(f"{name} = {{}}", name, "top level") for name in suite.TOP],
    *[(f"[stopping]\n{name} = {{}}", name, "[stopping]") for name in suite.STOPPING],
    *[(f"[[sweep]]\n{name} = {{}}", name, "[[sweep]]") for name in suite.AXES],
    *[(f"[[sweep]]\n{name} = [{{}}]", name, "[[sweep]]") for name in suite.AXES],
]


@pytest.mark.parametrize("value", STRANGE)
@pytest.mark.parametrize(("line", "name", "where"), FIELDS)
def test_a_field_of_another_type_is_told_with_file_and_place(
    tmp_path, line: str, name: str, where: str, value: str
) -> None:
    if name in ("stopping", "constancy") and value == "{ x = 1 }":
        return  # a table with a key that is none
    path = tmp_path / "mine.toml"
    path.write_text(line.format(value) + "\n")
    with pytest.raises(UsageError) as told:
        suite.load(str(path))
    assert str(told.value).startswith(f"suite mine, {where}: {name} is ")
    assert "; it is " in str(told.value)


@pytest.mark.parametrize(
    "rule", ["rounds = 0", "least = 2.5", "most = true", "budget_s = inf", "target = -1"]
)
def test_a_stopping_rule_that_cannot_be_is_told(tmp_path, rule: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"[stopping]\n{rule}\n[[sweep]]\nbackend = 'lightning_eager'\n")
    with pytest.raises(UsageError, match=f"{rule.split()[0]} is .*; it is a (whole )?number of at least"):
        suite.load(str(path))


SHAPES = "[[sweep]]\nbackend = 'lightning_eager'\nseq = '1k'\n"
BROKEN = [
    *[
        f"{SHAPES}{axis}\n"
        for axis in ("batch = 'x'", "heads = 0", "pass = 'up'", "dtype = 'b'", "body = 'c'")
    ],
    "[[sweep]]\nbackend = 'lightning_eagr'\n",
    "[[sweep]]\nmechanism = 'lightnin'\nseq = '1q'\n",
    "[[sweep]]\nmodel = 'lightnin'\n",
    "[[sweep]]\nmodel = 'tnl-1b'\nheads = 3\n",
    f"{SHAPES}[constancy]\nalpha = 'x'\n",
    f"{SHAPES}[constancy]\nworst_over_best = 0.5\n",
    f"{SHAPES}[constancy]\nbeta = 1\n",
    "l2 = 'x'\n",
]


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("flags", [{}, {"decay": ["alibi"]}])
def test_an_error_of_a_file_names_it(tmp_path, text: str, flags: dict) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as told:
        suite.load(str(path)).override(flags).cases("cpu")
    if not (flags and "model" in text):  # these the flag itself does not fit
        assert str(told.value).startswith("suite mine")


def test_an_error_of_a_flag_names_no_file(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SHAPES)
    with pytest.raises(UsageError) as told:
        suite.load(str(path)).override({"dtype": ["fp8"]}).cases("cpu")
    assert str(told.value).startswith("unknown dtype")


def test_a_file_that_is_no_text_is_told(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe[[sweep]]")
    with pytest.raises(UsageError, match="is no valid TOML"):
        suite.load(str(path))


def test_what_a_run_keeps_of_a_suite_reads_back() -> None:
    for name in suite.names():
        loaded = suite.load(name)
        document = json.loads(json.dumps(loaded.as_dict()))
        assert suite.of_document(document).as_dict() == document


def test_an_unknown_suite_is_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean headline"):
        suite.load("headlin")
    with pytest.raises(UsageError, match="no suite file"):
        suite.load("missing.toml")
