"""`lbench claims`: published tables, measured again at the same shapes."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbench import terminal
from lbench.cli import axes, folders
from lbench.cli.lists import split_names

if TYPE_CHECKING:
    from lbench.claims import Claim
    from lbench.claims.words import Told

app = typer.Typer(
    help="Published tables: list them, measure them again, show them beside kept rows.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List the claims, with their sources and the GPUs they were measured on."""
    from lbench import claims

    every = [claims.load(name) for name in claims.names()]
    if as_json:
        print(json.dumps([_summary(claim) for claim in every], indent=2))
        return
    for claim in every:
        print(f"{claim.name}: {claim.title}")
        values = _summary(claim)["values"]
        counted = f"{values} values of {', '.join(claim.passes)}; {len(claim.shapes)} shapes"
        for text in (claim.source, f"{claim.gpu}; {counted}"):
            print(textwrap.fill(text, terminal.columns(), initial_indent="  ", subsequent_indent="  "))


def _summary(claim: Claim) -> dict[str, Any]:
    return {
        "name": claim.name,
        "title": claim.title,
        "source": claim.source,
        "gpu": claim.gpu,
        "metric": claim.metric,
        "passes": claim.passes,
        "lengths": claim.lengths,
        "values": sum(len(values) for line in claim.lines for values in line.values.values()),
        "shapes": len(claim.shapes),
    }


@app.command("show")
def show_command(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Result folders; none for the published values alone.")
    ] = None,
    claim: Annotated[str | None, typer.Option(help="Only these claims: a,b.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print published and measured values side by side, their ratio, and whether the shape holds here.

    Only rows of a claim's very shapes are set beside its values. Flatness, order and crossover are judged at
    another setting where these have no rows, and say so.
    """
    from lbench import claims
    from lbench.claims.words import tell, text

    names = split_names(claim, "claim") or claims.names()
    chosen = [claims.load(name) for name in names]
    rows = folders.measured(results or [])
    told = [tell(one, rows) for one in chosen]
    if as_json:
        print(json.dumps([_record(one) for one in told], indent=1))
        return
    print("\n\n".join("\n".join(text(one, terminal.columns())) for one in told))


@app.command("run")
def run_command(
    claim: Annotated[str, typer.Argument(help="A claim, as `lbench claims list` shows it.")],
    seq: axes.Seq = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Other backends than the same kernels and ours, each for its mechanism's lines."),
    ] = None,
    pass_names: axes.PassNames = None,
    device: axes.DeviceName = None,
    out: axes.Out = None,
    resume: axes.Resume = False,
    other_environment: axes.OtherEnvironment = False,
    cell_timeout: axes.CellTimeout = None,
    case_budget: axes.CaseBudget = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for the whole sweep, 20m; what will not fit is skipped.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the cases.")] = False,
) -> None:
    """Measure a claim's cases: the same kernels and ours, at the published shapes."""
    from lbench import claims
    from lbench.claims.cases import suite_of
    from lbench.cli.run import limited, seconds_of, start
    from lbench.device import probe
    from lbench.isolation import ProcessWorker
    from lbench.plan import Plan
    from lbench.replay import is_replay

    backends = list(split_names(backend, "backend"))
    passes = list(split_names(pass_names, "pass"))
    chosen = suite_of(claims.load(claim), backends=backends, passes=passes, seq=seq)
    suite = limited(chosen, cell_timeout, case_budget)
    budget_s = seconds_of(budget)
    suite.cases("cpu")  # what is wrong with it shows before a worker starts
    target = folders.Target(out, resume, other_environment)
    make_worker = functools.partial(ProcessWorker, preload=not is_replay(device))
    found = probe(device, make_worker)
    plan = Plan(suite.stopping, found.copy_bandwidth_gb_s, budget_s)
    start(suite, suite.cases(found.kind), found, make_worker, plan, target, dry_run=dry_run)


def _record(told: Told) -> dict[str, Any]:
    """NaN, which JSON has not, becomes null."""
    claim = told.claim

    def plain(fields: dict[str, Any]) -> dict[str, Any]:
        return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in fields.items()}

    return {
        "claim": claim.name,
        "source": claim.source,
        "gpu": claim.gpu,
        "metric": claim.metric,
        "machines": told.machines or None,
        "setting": told.setting or None,
        "left_out": told.left_out or None,
        "lines": [
            {
                "line": line.id,
                "name": line.name,
                "fields": dict(line.fields),
                "pass": pass_name,
                "published": dict(zip(claim.lengths, line.values[pass_name], strict=True)),
                "measured": [plain(dataclasses.asdict(one)) for one in told.measured[line.id, pass_name]],
            }
            for line in claim.lines
            for pass_name in line.values
        ],
        "shapes": [dataclasses.asdict(one) for one in told.shapes],
    }
