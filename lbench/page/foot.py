"""The foot of the page: on what machine, with what software and by what protocol rows were measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lbench.report.sources import Source

Facts = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Foot:
    """Facts of one source."""

    label: str
    environments: tuple[Facts, ...]
    protocols: tuple[Facts, ...]
    runs: tuple[tuple[str, ...], ...]
    """id, suite, when, commit, copy bandwidth in GB/s."""
    problems: tuple[str, ...]


def foot(source: Source) -> Foot:
    """What the folder's documents say; runs that no row names are left out."""
    used = {str(run) for run in source.rows["run"]}
    runs = {name: run for name, run in source.results.runs.items() if name in used}
    named = {str(run.get("environment", "")) for run in runs.values()}
    environments = source.results.environments
    return Foot(
        label=source.label,
        environments=tuple(_facts(environments[name]) for name in sorted(named) if name in environments),
        protocols=tuple(_protocols(source, runs)),
        runs=tuple(_run(name, run) for name, run in runs.items()),
        problems=tuple(source.results.problems),
    )


def _protocols(source: Source, runs: Mapping[str, dict[str, Any]]) -> Iterator[Facts]:
    if source.results.protocols:
        yield from (_facts(document) for document in source.results.protocols.values())
        return
    # Rows of schema 1 have no protocol: the stopping rule of their suites is all that is known.
    told = [_facts(run.get("suite", {}).get("stopping", {})) for run in runs.values()]
    yield from (facts for number, facts in enumerate(told) if facts and facts not in told[:number])


def _facts(document: Mapping[str, Any], above: str = "") -> Facts:
    found: Facts = []
    for name, value in document.items():
        if isinstance(value, Mapping):
            found += _facts(value, f"{above}{name} ")
        elif value is not None and value != "":
            found.append((f"{above}{name}", _told(value)))
    return found


def _told(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _run(name: str, run: Mapping[str, Any]) -> tuple[str, ...]:
    bandwidth = run.get("copy_bandwidth_gb_s")
    suite = run.get("suite", {})
    return (
        name,
        str(suite.get("name", "")) if isinstance(suite, Mapping) else "",
        str(run.get("started_at", "")),
        str(run.get("lbench_commit", "")),
        f"{bandwidth:.0f}" if isinstance(bandwidth, (int, float)) else "",
    )
