"""Which models may run their own Python code: the user's decisions on this machine, stored beside the settings.

`model.trust_remote_code = true` in a run.toml is not enough: the file may come from someone else.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.files import make_folder, write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.models.model_code import code_files, is_same_code
from tuner_tui.models.untrusted_code import UntrustedCode


class Approval(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model whose code is allowed."""

    model: str
    revision: str | None = None
    code: dict[str, str] = {}
    """For a repository that is not on this machine yet: the IDs of its code files, by name."""


def trust(location: str, revision: str | None, code: dict[str, str] | None = None) -> None:
    """Allow a model's current code; a folder whose code changes must be allowed again.

    `code` is that of a repository that is not downloaded yet (model_code.code_on_hub): what comes is allowed where it
    is that. Raises OSError or Unreadable.
    """
    mark = _mark(location, revision)
    make_folder(mark.parent)
    approval = Approval(model=location, revision=revision, code=code or {})
    write_atomic(mark, msgspec.json.encode(approval))


def is_trusted(location: str, revision: str | None) -> bool:
    """Whether a model's code is allowed: a folder by path and content, a repository by name and revision."""
    try:
        return _mark(location, revision).is_file() or _is_approved_download(Path(location), revision)
    except (OSError, Unreadable):
        return False


def require_trusted(wanted: bool, model: str, location: str, revision: str | None) -> bool:
    """The value of `trust_remote_code`. Raises UntrustedCode if it is wanted but not allowed."""
    if wanted and not is_trusted(location, revision):
        raise UntrustedCode(model, location, revision)
    return wanted


def _is_approved_download(folder: Path, revision: str | None) -> bool:
    """Whether a folder is a downloaded repository whose code was allowed before the download."""
    snapshots = folder.parent
    kind, *name = snapshots.parent.name.split("--")
    if snapshots.name != "snapshots" or kind != "models" or not name:
        return False
    mark = _mark("/".join(name), revision)
    return mark.is_file() and is_same_code(folder, guarded.read_json(mark, Approval).code)


def _mark(location: str, revision: str | None) -> Path:
    digest = hashlib.sha256()
    folder = Path(location)
    if folder.is_dir():
        folder = folder.resolve()
        parts = [str(folder).encode()]
        for path in code_files(folder).values():
            parts += [str(path.relative_to(folder)).encode(), guarded.read_bytes(path)]
    else:
        parts = [location.encode(), (revision or "").encode()]
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return paths.config_dir() / "trusted-code" / f"{digest.hexdigest()}.json"
