"""Which models may run Python code of their own: what the person said on this machine, kept beside the settings.

`model.trust_remote_code = true` in a run.toml is only a wish: the file may have come from somebody else.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.errors import InputError
from tuner_tui.files import make_folder, write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.text import shell_command

CODE = ("*.py", "config.json", "tokenizer_config.json")
"""What decides which code runs: the files themselves, and those that name it."""


class UntrustedCode(InputError):
    """A run asks for a model's own code, and nobody on this machine has allowed it yet."""

    def __init__(self, model: str, location: str, revision: str | None) -> None:
        options = ["--revision", revision] if revision and not Path(location).exists() else []
        super().__init__(
            "This model wants to run code of its own",
            f"model.trust_remote_code is true: {model} would run the Python files that it brings, with your rights.",
            f"If you trust its author: {shell_command('models trust', model, options=options)}",
        )
        self.model, self.location, self.revision = model, location, revision


def trust(location: str, revision: str | None) -> None:
    """Allow the code that a model has now; a folder whose code changes is asked about again.

    Raises OSError or Unreadable.
    """
    mark = _mark(location, revision)
    make_folder(mark.parent)
    write_atomic(mark, json.dumps({"model": location, "revision": revision}).encode())


def is_trusted(location: str, revision: str | None) -> bool:
    """Whether the person allowed a model's code: a folder by path and content, a repository by name and revision."""
    try:
        return _mark(location, revision).is_file()
    except (OSError, Unreadable):
        return False


def require_trusted(wanted: bool, model: str, location: str, revision: str | None) -> bool:
    """What `trust_remote_code` is to be. Raises UntrustedCode where it is wanted and was not allowed."""
    if wanted and not is_trusted(location, revision):
        raise UntrustedCode(model, location, revision)
    return wanted


def _mark(location: str, revision: str | None) -> Path:
    digest = hashlib.sha256()
    folder = Path(location)
    if folder.is_dir():
        folder = folder.resolve()
        parts = [str(folder).encode()]
        for path in sorted({path for pattern in CODE for path in folder.rglob(pattern) if path.is_file()}):
            parts += [str(path.relative_to(folder)).encode(), guarded.read_bytes(path)]
    else:
        parts = [location.encode(), (revision or "").encode()]
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return paths.config_dir() / "trusted-code" / f"{digest.hexdigest()}.json"
