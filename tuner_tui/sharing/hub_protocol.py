"""What a Hub process is asked and what it tells, one JSON object a line; a token is never part of it."""

from __future__ import annotations

from typing import Literal

import msgspec

RepoKind = Literal["model", "dataset"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long the Hub may take, and how often it is asked again; seconds."""

    connect: float = 10.0
    answer: float = 30.0
    """For an answer, or for the next bytes of one."""
    commit: float = 60.0
    attempts: int = 4
    """Of one operation, the first one included."""
    first_wait: float = 1.0
    """Before the second attempt; doubled before each further one."""
    longest_wait: float = 60.0
    """A Hub that asks for a longer pause is taken at its word, and we leave."""
    silence: float = 200.0
    """A process that says nothing for so long is ended."""


class PushFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file that goes."""

    path: str
    name: str
    """In the repository."""
    size: int
    sha256: str
    git_id: str | None = None
    """The id that git gives its content; for files that may be stored without LFS."""


class PushRequest(msgspec.Struct, frozen=True, kw_only=True, tag="push"):
    """Make a repository hold these files, in one commit."""

    repo_id: str
    files: tuple[PushFile, ...]
    message: str
    visibility: Literal["private", "public"] | None = None
    """None: private when it is made, as it is when it is there and private."""
    branch: str | None = None
    as_pull_request: bool = False
    limits: Limits = Limits()


class DownloadRequest(msgspec.Struct, frozen=True, kw_only=True, tag="download"):
    """Bring a repository's files into the Hub's cache."""

    repo_id: str
    kind: RepoKind = "model"
    revision: str | None = None
    spare_bytes: int = 500_000_000
    """What must stay free on the disk."""
    limits: Limits = Limits()


Request = PushRequest | DownloadRequest


class HubEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    """What all events have in common."""


class Stepped(HubEvent, frozen=True, kw_only=True, tag="step"):
    """Something else is done from now on."""

    what: str


class Moved(HubEvent, frozen=True, kw_only=True, tag="moved"):
    """Bytes sent or received so far."""

    done_bytes: int
    total_bytes: int


class Waiting(HubEvent, frozen=True, kw_only=True, tag="waiting"):
    """An attempt failed; the next one comes in so many seconds."""

    why: str
    seconds: int
    attempt: int
    attempts: int


class Pushed(HubEvent, frozen=True, kw_only=True, tag="pushed"):
    """The repository holds the files, as read back from it."""

    url: str
    commit: str
    is_new_commit: bool
    pull_request: str | None = None
    visibility: str = "private"


class Downloaded(HubEvent, frozen=True, kw_only=True, tag="downloaded"):
    """The files are in the cache, each with the hash that the Hub told."""

    folder: str
    files: int
    size_bytes: int


class Refused(HubEvent, frozen=True, kw_only=True, tag="refused"):
    """It could not be done."""

    title: str
    message: str = ""
    hint: str = ""
    exit_code: int = 1


Event = Stepped | Moved | Waiting | Pushed | Downloaded | Refused
encode_event = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(Event).decode
decode_request = msgspec.json.Decoder(Request).decode
