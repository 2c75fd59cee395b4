"""Files of configurations: which one a name means, by its content, and where it is looked for.

A model from a file is called by the file's own name and the beginning of a digest of what it holds,
`config.json@1a2b3c4d`: a file that was changed is another model, and no folder is part of the name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from lbench.errors import UsageError

FOLDERS = "LBENCH_MODELS"
"""Environment variable of the folders to look in beside the current one; workers inherit it."""
DIGITS = 8


def is_name(text: str) -> bool:
    """Whether it is the name of a model from a file."""
    return bool(re.fullmatch(rf".+\.json@[0-9a-f]{{{DIGITS}}}", text))


def name_of(path: str) -> str:
    """The name of the model in a file, whose folder is looked in from now on."""
    name = f"{Path(path).name}@{_read(Path(path))[1]}"
    folder = os.path.abspath(Path(path).parent)
    os.environ[FOLDERS] = os.pathsep.join([folder, *(one for one in _folders() if one != folder)])
    return name


def find(name: str) -> Path:
    """The file that a name means. UsageError where no folder has one of that name and content."""
    file, _, digest = name.rpartition("@")
    changed = []
    for folder in dict.fromkeys([".", *_folders()]):
        path = Path(folder, file)
        if path.is_file():
            if _holds(path, digest):
                return path
            changed.append(f"; {path} has other content")
    places = ", ".join(["the current folder", *(f"{folder} ({FOLDERS})" for folder in _folders())])
    raise UsageError(
        f"model {name} is a file {file} with content {digest}; none was found in {places}{''.join(changed)}; "
        f"go to its folder, or name that in the environment variable {FOLDERS}"
    )


def read(path: Path) -> dict[str, Any]:
    """The JSON object in a file; UsageError where there is none."""
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """The JSON object in a file and its digest: the same for the same values, however they are laid out."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        plain = json.dumps(config, sort_keys=True, separators=(",", ":"))
    except OSError as error:
        raise UsageError(
            f"model {str(path)!r} cannot be read ({error.strerror}); give a config.json, or a name"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"model {str(path)!r} is no valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise UsageError(f"model {str(path)!r} holds no JSON object")
    return config, hashlib.sha256(plain.encode()).hexdigest()[:DIGITS]


def _folders() -> list[str]:
    return [folder for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]


def _holds(path: Path, digest: str) -> bool:
    try:
        return _read(path)[1] == digest
    except UsageError:
        return False
