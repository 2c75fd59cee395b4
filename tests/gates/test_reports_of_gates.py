"""A gate's report as CI systems read it: Markdown, JUnit, GitHub's annotations."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbench.errors import UsageError
from lbench.gates import output
from lbench.gates.junit import junit_xml
from lbench.gates.markdown import markdown_comment
from lbench.gates.verdict import EXIT_CODES, Finding, Report

STATES = {"same": "pass", "faster": "pass", "slower": "fail", "undecided": "undecided"}


def report(*states: str, reason: str = "1.05 times") -> Report:
    findings = tuple(
        Finding(subject=f"case_{number},fwd", state=state, outcome=STATES[state], reason=reason)  # type: ignore[arg-type]
        for number, state in enumerate(states)
    )
    return Report(gate="regression", rule="the rule", findings=findings, notes=("a note",))


@given(states=st.lists(st.sampled_from(sorted(STATES)), max_size=8))
def test_one_failure_fails_and_nothing_found_is_no_pass(states: list[str]) -> None:
    outcomes = {STATES[state] for state in states}
    expected = "fail" if "fail" in outcomes else "undecided" if outcomes != {"pass"} else "pass"
    made = report(*states)
    assert made.outcome == expected
    assert made.exit_code == EXIT_CODES[made.outcome]


def test_the_comment_has_the_verdict_first_then_what_moved_and_folds_the_rest() -> None:
    text = markdown_comment(report("same", "slower", "faster", "same"))
    assert text.startswith("### ❌ lbench regression: fail")
    shown, folded = text.split("<details>")
    assert shown.index("slower |") < shown.index("faster |")
    assert "same |" not in shown
    assert folded.count("same |") == 2
    assert "2 others" in folded
    assert "a note" in shown
    assert "the rule" in folded


def test_the_comment_cannot_be_broken_by_a_reason() -> None:
    text = markdown_comment(report("slower", reason="a | b\n<b>`x`</b>\n\n# no heading"))
    (line,) = [line for line in text.splitlines() if "slower |" in line]
    assert line.replace("\\|", "").count("|") == 4
    assert "<b>" not in text
    assert "\n# no" not in text


def test_junit_has_a_case_a_finding_and_undecided_is_an_error() -> None:
    suite = ElementTree.fromstring(junit_xml(report("same", "slower", "undecided", reason="<&>")))
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
    }
    assert [[child.tag for child in case] for case in suite] == [["system-out"], ["failure"], ["error"]]
    assert suite[1][0].get("message") == "slower: <&>"


@given(reason=st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30))
def test_junit_can_always_be_parsed(reason: str) -> None:
    ElementTree.fromstring(junit_xml(report("slower", reason=reason)))


def test_annotations_are_one_line_each_and_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    output.announce(report("same", "slower", "undecided", reason="50 %\nworse"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "::error title=regression%3A case_1%2Cfwd::slower: 50 %25%0Aworse",
        "::warning title=regression%3A case_2%2Cfwd::undecided: 50 %25%0Aworse",
    ]
    assert (tmp_path / "summary.md").read_text().startswith("### ❌")


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        output.write(report("same"), tmp_path / "no" / "comment.md", None)
    output.write(report("same"), tmp_path / "comment.md", tmp_path / "junit.xml")
    assert (tmp_path / "comment.md").read_text().startswith("### ✅")


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_are_wrapped_where_a_width_is_known_and_whole_for_other_programs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if terminal:
        monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    reason = "a long reason " * 12
    output.show(report("slower", "same", reason=reason.strip()), as_json=False)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert (max(map(len, lines)) <= 60) == terminal
    assert " ".join(" ".join(lines).split()).count(reason.strip()) == 2
    starts = [line.split()[0] for line in lines[1:] if line[9:10] != " "]
    assert starts == ["slower", "same", "note", "rule"]
