"""`lbench`: registers the commands; an error meant for a person becomes one line and exit code 2."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import lbench
from lbench.cli import (
    baseline,
    certificate,
    check,
    compare,
    doctor,
    export,
    frontier,
    history,
    merge,
    plot,
    report,
    run,
    show,
    table,
    validate,
    verify,
)
from lbench.cli import filter as filtering
from lbench.cli import list as listing
from lbench.errors import UsageError, WriteFailed

app = typer.Typer(
    help="Benchmark long-context sequence mixers: run a sweep, plot it, tabulate it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.command)
app.command("verify")(verify.command)
app.command("frontier")(frontier.command)
app.command("plot")(plot.command)
app.command("table")(table.command)
app.command("show")(show.command)
app.command("report")(report.command)
app.command("certificate")(certificate.command)
app.command("export")(export.command)
app.command("validate")(validate.command)
app.command("merge")(merge.command)
app.command("filter")(filtering.command)
app.add_typer(check.app, name="check")
app.add_typer(baseline.app, name="baseline")
app.command("compare")(compare.command)
app.command("history")(history.command)
app.command("list")(listing.command)
app.command("doctor")(doctor.command)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"lbench {lbench.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line.

    Exit codes: 0 done, 1 a check failed or a row could not be kept, 2 usage, 3 undecided, 130 interrupted.
    """
    try:
        app(arguments)
    except UsageError as error:
        sys.exit(_say(error))
    except WriteFailed as error:
        if error.line:
            print(error.line)
        print(f"lbench: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _say(error: UsageError) -> int:
    print(f"lbench: {error}", file=sys.stderr)
    return 2
