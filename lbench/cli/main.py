"""`lbench`: registers the commands; an error meant for a person becomes one line and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

import lbench
from lbench import terminal
from lbench.cli import (
    advise,
    baseline,
    certificate,
    check,
    claims,
    compare,
    crossover,
    doctor,
    export,
    frontier,
    history,
    merge,
    new,
    plot,
    profile,
    report,
    roofline,
    run,
    show,
    table,
    validate,
    verify,
    watch,
)
from lbench.cli import filter as filtering
from lbench.cli import list as listing
from lbench.cli.encoding import use_plain_signs
from lbench.errors import UsageError, WriteFailed

READER_GONE = 141  # 128 + SIGPIPE, as shells say it

COMMANDS: dict[str, Callable[..., Any] | typer.Typer] = {
    "run": run.command,
    "verify": verify.command,
    "frontier": frontier.command,
    "profile": profile.command,
    "roofline": roofline.command,
    "plot": plot.command,
    "table": table.command,
    "show": show.command,
    "watch": watch.command,
    "report": report.command,
    "certificate": certificate.command,
    "export": export.command,
    "validate": validate.command,
    "merge": merge.command,
    "filter": filtering.command,
    "check": check.app,
    "baseline": baseline.app,
    "compare": compare.command,
    "history": history.command,
    "claims": claims.app,
    "crossover": crossover.command,
    "advise": advise.command,
    "list": listing.command,
    "new": new.app,
    "doctor": doctor.command,
}


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"lbench {lbench.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def command_line(arguments: Sequence[str] = ()) -> typer.Typer:
    """The command line, of its commands the one that is asked for: to read all signatures takes 0.1 s."""
    app = typer.Typer(
        help="Benchmark long-context sequence mixers: run a sweep, plot it, tabulate it.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    asked = [name for name in arguments[:1] if name in COMMANDS]
    for name in asked or COMMANDS:
        command = COMMANDS[name]
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line.

    Exit codes: 0 done, 1 a check failed or a row could not be kept, 2 usage, 3 undecided, 130 interrupted,
    141 where the reader of a pipe went away: `lbench check ... | head` is no failed check.
    """
    use_plain_signs()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _run(arguments)
        sys.stdout.flush()
    except (SystemExit, BrokenPipeError) as ended:
        if not _reader_is_gone(ended):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would fail at exit
        sys.exit(READER_GONE)


def _reader_is_gone(ended: BaseException) -> bool:
    """Whether standard output cannot be written any more; Click and Rich exit with 1 then."""
    if isinstance(ended, BrokenPipeError) or isinstance(ended.__context__, BrokenPipeError):
        return True
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False


def _run(arguments: list[str]) -> None:
    try:
        command_line(arguments)(arguments, prog_name="lbench")
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
    except SystemExit as ended:
        if _is_unsaid(ended):
            print("interrupted", file=sys.stderr)
        raise


def _is_unsaid(ended: SystemExit) -> bool:
    """Whether Typer made the exit of a Ctrl-C that no command told of."""
    return ended.__context__ is not None and isinstance(ended.__context__.__cause__, KeyboardInterrupt)


def _say(error: UsageError) -> int:
    terminal.tell(f"lbench: {error}", sys.stderr)
    return 2
