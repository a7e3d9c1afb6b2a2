"""Requests that an app leaves for a worker: one small file each, gone once it was accepted."""

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
"""For the keeper: the worker may be at what it does for long, or hang."""


class ControlRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, and the id by which its answer is known."""

    id: str
    request: Request


def leave_request(folder: RunFolder, request: Request) -> str:
    """Ask the run's worker for something; gives the id that its RequestAccepted will carry."""
    asked = ControlRequest(id=secrets.token_hex(6), request=request)
    make_folder(folder.control)
    write_atomic(folder.control / f"{asked.id}.json", msgspec.json.encode(asked))
    return asked.id


def take_requests(folder: RunFolder) -> list[ControlRequest]:
    """Read and remove what was asked; files that are no request are removed too."""
    taken = []
    try:
        waiting = sorted(path for path in folder.control.iterdir() if path.suffix == ".json")
    except OSError:
        return []
    for path in waiting:
        try:
            content = guarded.read_bytes(path)
            folder.owned.remove(
                path
            )  # before it is heeded: what cannot be removed would be asked again and again
            taken.append(guarded.decode_json(content, ControlRequest, path))
        except (Unreadable, OSError):  # not JSON, a folder or a pipe, taken by another
            continue
    return taken


def ask_to_end_now(folder: RunFolder) -> None:
    """Ask the run's keeper to end its worker at once, without a checkpoint."""
    make_folder(folder.control)
    write_atomic(folder.control / NOW_FILE, "")


def is_to_end_now(folder: RunFolder) -> bool:
    """Whether the keeper is to end the run's worker at once."""
    return (folder.control / NOW_FILE).exists()


def clear_requests(folder: RunFolder) -> None:
    """Forget all that was asked."""
    take_requests(folder)
    with contextlib.suppress(OSError):
        folder.owned.remove(folder.control / NOW_FILE)


REQUESTS = get_args(Request)
