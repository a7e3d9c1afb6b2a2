"""The Python code of a model, as IDs of its files: the same for a folder and for the Hub's listing."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.models.hub_errors import explain_hub_error

if TYPE_CHECKING:
    from pathlib import Path

CODE = ("*.py", "config.json", "tokenizer_config.json")
"""Files that decide which code runs: the code itself, and the files that refer to it."""
TIMEOUT_SECONDS = 10.0


def git_blob_id(content: bytes) -> str:
    """Git's ID of a file's content (SHA-1 of "blob SIZE\\0" and the content)."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def code_files(folder: Path) -> dict[str, Path]:
    """The files of a folder that decide which code runs, by their relative names, in order."""
    paths = {path for pattern in CODE for path in folder.rglob(pattern) if path.is_file()}
    return {path.relative_to(folder).as_posix(): path for path in sorted(paths)}


def is_same_code(folder: Path, approved: dict[str, str]) -> bool:
    """Whether all code in a folder has the approved IDs. Raises Unreadable."""
    files = code_files(folder)
    return bool(files) and all(
        approved.get(name) in _ids(guarded.read_bytes(path)) for name, path in files.items()
    )


def code_on_hub(repo_id: str, revision: str | None) -> dict[str, str]:
    """The IDs of a repository's code files by name, from the Hub's listing. Raises TunerError."""
    from huggingface_hub import HfApi

    from tuner_tui.models.hub_client import use_bounded_client

    use_bounded_client()
    try:
        info = HfApi().model_info(repo_id, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
        return {
            file.rfilename: file.lfs.sha256 if file.lfs else str(file.blob_id)
            for file in info.siblings or ()
            if any(fnmatch(PurePosixPath(file.rfilename).name, pattern) for pattern in CODE)
        }
    except Exception as error:  # the client does not catch all errors of invalid responses
        raise explain_hub_error(error, repo_id, revision) from None


def _ids(content: bytes) -> tuple[str, str]:
    """A file's IDs, by git and as an LFS file."""
    return git_blob_id(content), hashlib.sha256(content).hexdigest()
