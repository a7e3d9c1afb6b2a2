"""`python -m tuner_tui.sharing.hub_job`: a process that uses the Hub; request on stdin, events on stdout."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

from tuner_tui.errors import InputError, TunerError
from tuner_tui.parent import leave_with_parent
from tuner_tui.sharing.hub_protocol import (
    DownloadRequest,
    Event,
    PushRequest,
    Refused,
    decode_request,
    encode_event,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    """Do the request on stdin; an error is the last event."""
    leave_with_parent()
    events = own_stdout()
    secret: list[str] = []

    def tell(event: Event) -> None:
        line = encode_event(event).decode()
        for token in secret:
            line = line.replace(token, "<token>")
        events.write(line + "\n")
        events.flush()

    try:
        request = decode_request(sys.stdin.buffer.readline())
        secret += filter(None, [_token()])
        tell(_done(request, tell))
    except TunerError as error:
        tell(Refused(title=error.title, message=error.message, hint=error.hint, exit_code=error.exit_code))
        return 1
    except BrokenPipeError:  # the reader is gone
        return 1
    except Exception as error:  # nothing else may end it without a last event
        tell(Refused(title="The Hub's process failed", message=type(error).__name__))
        return 1
    return 0


def own_stdout() -> IO[str]:
    """Reserve stdout for events; libraries print to stderr from now on."""
    sys.stdout.flush()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def _token() -> str | None:
    from huggingface_hub import get_token

    try:
        return get_token()
    except OSError as error:
        raise InputError(
            "Your token cannot be read",
            f"{error.filename or 'the file with it'}: {error.strerror or type(error).__name__}.",
            "Log in again with `hf auth login`, or set HF_TOKEN.",
        ) from None
    except ValueError:  # the error may quote it
        raise InputError(
            "Your token cannot be read", "Its file is not text.", "Log in again with `hf auth login`."
        ) from None


def _done(request: PushRequest | DownloadRequest, tell: Callable[[Event], None]) -> Event:
    """The last event. Raises TunerError for all failures."""
    try:
        return _do(request, tell)
    except (TunerError, BrokenPipeError):
        raise
    except Exception as error:  # OSErrors of a full disk, or any error of a library
        from tuner_tui.sharing.hub_failures import explain
        from tuner_tui.sharing.hub_session import innermost

        what = "pushing" if isinstance(request, PushRequest) else "downloading"
        raise explain(innermost(error), what, request.repo_id) from error


def _do(request: PushRequest | DownloadRequest, tell: Callable[[Event], None]) -> Event:
    match request:
        case PushRequest():
            from tuner_tui.sharing.hub_push import push

            return push(request, tell)
        case DownloadRequest():
            from tuner_tui.sharing.hub_download import download

            return download(request, tell)


if __name__ == "__main__":
    sys.exit(main())
