"""The protocol of Hub processes: one JSON object per line, never with a token."""

from __future__ import annotations

from typing import Literal

import msgspec

RepoKind = Literal["model", "dataset"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits and retries; seconds."""

    connect: float = 10.0
    answer: float = 30.0
    """For an answer, or for the next bytes of one."""
    commit: float = 60.0
    attempts: int = 4
    """Attempts per operation, including the first."""
    first_wait: float = 1.0
    """Before the second attempt; doubled before each further one."""
    longest_wait: float = 60.0
    """If the Hub asks for a longer pause, the operation fails."""
    silence: float = 200.0
    """A process without output for this long is ended."""


class PushFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file to upload."""

    path: str
    name: str
    """Its path in the repository."""
    size: int
    sha256: str
    git_id: str | None = None
    """The id that git gives its content; for files that may be stored without LFS."""


class PushRequest(msgspec.Struct, frozen=True, kw_only=True, tag="push"):
    """Commit these files to a repository."""

    repo_id: str
    files: tuple[PushFile, ...]
    message: str
    visibility: Literal["private", "public"] | None = None
    """None: private when created; an existing one must be private."""
    branch: str | None = None
    as_pull_request: bool = False
    limits: Limits = Limits()


class DownloadRequest(msgspec.Struct, frozen=True, kw_only=True, tag="download"):
    """Download a repository's files into the Hub's cache."""

    repo_id: str
    kind: RepoKind = "model"
    revision: str | None = None
    spare_bytes: int = 500_000_000
    """Bytes to keep free on the disk."""
    limits: Limits = Limits()


Request = PushRequest | DownloadRequest


class HubEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    """The base of all events."""


class Stepped(HubEvent, frozen=True, kw_only=True, tag="step"):
    """A new operation starts."""

    what: str


class Moved(HubEvent, frozen=True, kw_only=True, tag="moved"):
    """Bytes sent or received so far."""

    done_bytes: int
    total_bytes: int


class Waiting(HubEvent, frozen=True, kw_only=True, tag="waiting"):
    """An attempt failed; the next one starts after a wait."""

    why: str
    seconds: int
    attempt: int
    attempts: int


class Pushed(HubEvent, frozen=True, kw_only=True, tag="pushed"):
    """The repository has the files, as verified."""

    url: str
    commit: str
    is_new_commit: bool
    pull_request: str | None = None
    visibility: str = "private"


class Downloaded(HubEvent, frozen=True, kw_only=True, tag="downloaded"):
    """The files are in the cache, each verified by its hash."""

    folder: str
    files: int
    size_bytes: int


class Refused(HubEvent, frozen=True, kw_only=True, tag="refused"):
    """The request failed."""

    title: str
    message: str = ""
    hint: str = ""
    exit_code: int = 1


Event = Stepped | Moved | Waiting | Pushed | Downloaded | Refused
encode_event = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(Event).decode
decode_request = msgspec.json.Decoder(Request).decode
