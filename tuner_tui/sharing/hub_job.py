"""`python -m tuner_tui.sharing.hub_job`: one process that talks to the Hub; request on stdin, events on stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tuner_tui.errors import TunerError
from tuner_tui.sharing.hub_protocol import (
    DownloadRequest,
    Event,
    PushRequest,
    Refused,
    decode_request,
    encode_event,
)


def main() -> int:
    """Do what stdin asks."""
    request = decode_request(sys.stdin.buffer.readline())
    from huggingface_hub import get_token

    token = get_token()

    def tell(event: Event) -> None:
        line = encode_event(event).decode()
        sys.stdout.write((line.replace(token, "<token>") if token else line) + "\n")
        sys.stdout.flush()

    try:
        tell(_do(request, tell))
    except TunerError as error:
        tell(Refused(title=error.title, message=error.message, hint=error.hint, exit_code=error.exit_code))
        return 1
    return 0


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
