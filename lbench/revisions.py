"""Two git revisions of the code under test, each in a worktree of its own, measured in turn.

The harness is this lbench for both. Processes alternate as A B, B A, A B ..., so that drift hits both alike.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbench.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A commit, checked out beside the working tree."""

    name: str
    """As given."""
    commit: str
    folder: Path

    def environment(self, paths: Sequence[str]) -> dict[str, str]:
        """What a process needs to import this revision's code, and lbench from where it is now."""
        here = [str(self.folder / path) for path in paths]
        own = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*here, *own]),
            # Else the worktree itself, which is where the process runs, would come first.
            "PYTHONSAFEPATH": "1",
            "LBENCH_CODE_COMMIT": self.commit[:12],
        }


@contextlib.contextmanager
def checked_out(
    names: Sequence[str],
    paths: Sequence[str],
    build: str,
    say: Callable[[str], None],
    own_harness: bool = False,
) -> Iterator[list[Revision]]:
    """Worktrees of the revisions, built; they are removed at the end. UsageError where one cannot be made.

    With `own_harness` each may bring its own lbench: then that is under test too.
    """
    top = Path(_git("rev-parse", "--show-toplevel"))
    commits = [_git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}") for name in names]
    with tempfile.TemporaryDirectory(prefix="lbench-revisions-") as place:
        made = [
            Revision(name=name, commit=commit, folder=Path(place) / f"{index}-{commit[:12]}")
            for index, (name, commit) in enumerate(zip(names, commits, strict=True))
        ]
        try:
            for one in made:
                _git("worktree", "add", "--detach", "--quiet", str(one.folder), one.commit, at=top)
                _check(one, paths, own_harness)
                if build:
                    say(f"{one.name} ({one.commit[:12]}): {build}")
                    _build(one, paths, build)
            yield made
        finally:
            for one in made:
                with contextlib.suppress(UsageError):
                    _git("worktree", "remove", "--force", str(one.folder), at=top)


def order(revisions: Sequence[Revision], processes: int) -> Iterator[tuple[int, Revision]]:
    """Whose turn it is: every other round runs backwards."""
    for number in range(processes):
        for one in revisions if number % 2 == 0 else reversed(revisions):
            yield number, one


def measure(one: Revision, paths: Sequence[str], arguments: Sequence[str]) -> None:
    """One process: `lbench run ARGUMENTS` in the worktree. UsageError where it did not end well."""
    command = [sys.executable, "-m", "lbench", "run", *arguments]
    done = subprocess.run(
        command, cwd=one.folder, env=one.environment(paths), check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise UsageError(f"{one.name}: lbench run {shlex.join(arguments)} failed\n{_tail(done.stderr)}")


def _check(one: Revision, paths: Sequence[str], own_harness: bool) -> None:
    for path in paths:
        folder = one.folder / path
        if not folder.is_dir():
            raise UsageError(f"--path {path}: {one.name} has no such folder")
        if not own_harness and (folder / "lbench" / "__init__.py").is_file():
            raise UsageError(
                f"--path {path} holds lbench itself, and both revisions are to be measured by the same; name "
                f"the code under test alone, as --path kernels, or add --own-harness"
            )


def _build(one: Revision, paths: Sequence[str], build: str) -> None:
    done = subprocess.run(
        build,
        shell=True,
        cwd=one.folder,
        env=one.environment(paths),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise UsageError(f"{one.name}: --build {build!r} ended with {done.returncode}\n{_tail(done.stdout)}")


def _git(*arguments: str, at: Path | None = None) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=at, check=False, capture_output=True, text=True)
    except OSError as error:
        raise UsageError(f"git cannot be run: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.strip() or f"{arguments[-1].removesuffix('^{commit}')} is no revision"
        raise UsageError(f"git {arguments[0]}: {said}")
    return done.stdout.strip()


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-8:])
