"""A server's list of a repository's files, checked so that no name leads out of the cache folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tuner_tui.errors import TunerError
from tuner_tui.sharing.hub_failures import AGAIN

_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\\]")
_DRIVE = re.compile(r"[A-Za-z]:")
HINT = "Nothing was written. If HF_ENDPOINT names a mirror, unset it or use another."


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository."""

    name: str
    size: int
    git_id: str | None
    sha256: str | None

    @property
    def etag(self) -> str:
        """The name of its blob in the Hub's cache."""
        content_id = self.sha256 or self.git_id
        assert content_id is not None
        return content_id


def is_inner_name(name: str) -> bool:
    """Whether a relative path stays inside its folder, on every system."""
    try:
        name.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    parts = name.split("/")
    is_plain = not _NOT_IN_NAMES.search(name) and not _DRIVE.match(name)
    return is_plain and not any(part in ("", ".", "..") for part in parts)


def remote_file(repo_id: str, sibling: Any) -> RemoteFile:
    """A file as listed by the Hub's client. Raises TunerError for an invalid name, size or id."""
    name, size = sibling.rfilename, sibling.size
    git_id, sha256 = sibling.blob_id, sibling.lfs.sha256 if sibling.lfs else None
    if size is None or not (git_id or sibling.lfs):
        raise TunerError("The Hub's file list is incomplete", f"It gives no size or hash for {name}.", AGAIN)
    if not isinstance(name, str) or not is_inner_name(name):
        raise _impossible(repo_id, f"names a file {name!r}, which leads out of the cache's folder")
    if type(size) is not int or size < 0:
        raise _impossible(repo_id, f"gives {name} a size of {size!r}")
    content_id, pattern = (sha256, _SHA256) if sibling.lfs else (git_id, _SHA1)
    if not isinstance(content_id, str) or not pattern.fullmatch(content_id):
        raise _impossible(repo_id, f"gives {name} the id {content_id!r}, which is not a hash")
    return RemoteFile(name, size, None if sibling.lfs else content_id, content_id if sibling.lfs else None)


def commit_id(repo_id: str, sha: Any) -> str:
    """A commit's id. Raises TunerError for an invalid one."""
    if not isinstance(sha, str) or not _SHA1.fullmatch(sha):
        raise _impossible(repo_id, f"gives the commit {sha!r}, which is not a hash")
    return sha


def _impossible(repo_id: str, what: str) -> TunerError:
    return TunerError("The Hub's answer is invalid", f"The server {what} ({repo_id}).", HINT)
