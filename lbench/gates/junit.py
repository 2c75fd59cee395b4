"""A gate's report as JUnit XML: a test case a finding; undecided is an error, not a failure."""

from __future__ import annotations

from xml.etree import ElementTree

from lbench.gates.verdict import Report

TAGS = {"fail": "failure", "undecided": "error"}


def junit_xml(report: Report) -> str:
    """One test suite, named by the gate."""
    counts = {
        tag: sum(finding.outcome == outcome for finding in report.findings) for outcome, tag in TAGS.items()
    }
    suite = ElementTree.Element(
        "testsuite",
        name=f"lbench check {report.gate}",
        tests=str(len(report.findings)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
    )
    for finding in report.findings:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"lbench.{report.gate}", name=finding.subject
        )
        if tag := TAGS.get(finding.outcome):
            told = ElementTree.SubElement(case, tag, message=f"{finding.state}: {finding.reason}")
            told.text = report.rule
        else:
            ElementTree.SubElement(case, "system-out").text = f"{finding.state}: {finding.reason}"
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"
