"""Requests from the app to a worker: one small file each, removed once accepted."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, get_args

import msgspec

from tuner_tui import guarded
from tuner_tui.files import make_folder, write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.runs.events import Request

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder

NOW_FILE = "now"
"""A request to the keeper, because the worker may be busy for long, or hang."""


class ControlRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request, with the ID that its answer carries."""

    id: str
    request: Request


def leave_request(folder: RunFolder, request: Request) -> str:
    """Send a request to the run's worker; returns the ID that its RequestAccepted will carry."""
    left = ControlRequest(id=secrets.token_hex(6), request=request)
    make_folder(folder.control)
    write_atomic(folder.control / f"{left.id}.json", msgspec.json.encode(left))

    return left.id


def take_requests(folder: RunFolder) -> list[ControlRequest]:
    """Read and remove all requests; invalid files are removed too."""
    requests = []
    try:
        waiting = sorted(path for path in folder.control.iterdir() if path.suffix == ".json")
    except OSError:
        return []
    for path in waiting:
        try:
            content = guarded.read_bytes(path)
            folder.owned.remove(
                path
            )  # before it is carried out: a request that cannot be removed would be repeated
            requests.append(guarded.decode_json(content, ControlRequest, path))
        except (Unreadable, OSError):  # not JSON, a folder or a pipe, or taken by another process
            continue
    return requests


def ask_to_end_now(folder: RunFolder) -> None:
    """Request that the keeper kills the run's worker at once, without a checkpoint."""
    make_folder(folder.control)
    write_atomic(folder.control / NOW_FILE, "")


def is_to_end_now(folder: RunFolder) -> bool:
    """Whether the keeper is requested to kill the run's worker at once."""
    return (folder.control / NOW_FILE).exists()


def clear_requests(folder: RunFolder) -> None:
    """Remove all requests."""
    take_requests(folder)
    with contextlib.suppress(OSError):
        folder.owned.remove(folder.control / NOW_FILE)


REQUESTS = get_args(Request)
