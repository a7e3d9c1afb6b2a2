"""The Hub's HTTP client with limits on each response: bytes, seconds, and no compression, which could hide both."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx2

from tuner_tui.hosts import keeps_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_ANSWER_BYTES = 100 << 20
"""Far more than the listing of a repository with 100,000 files needs."""
LONGEST_ANSWER_SECONDS = 180.0
UNCOMPRESSED = {"Accept-Encoding": "identity"}
BOUNDED_BY_CALLER = {"tuner_tui_bounded_by_caller": True}
"""Extensions of a request whose response body is limited by its reader."""
_is_set = False


class OversizedAnswer(Exception):
    """A response is too large, too slow, or compressed although no compression was accepted."""


class _Bounded(httpx2.SyncByteStream):
    """A response body that raises once it is too large or too slow."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        size, end = 0, time.monotonic() + LONGEST_ANSWER_SECONDS
        for piece in self._inner:
            size += len(piece)
            if size > LARGEST_ANSWER_BYTES:
                raise OversizedAnswer(
                    f"more than {LARGEST_ANSWER_BYTES >> 20} MiB came instead of a response"
                )
            if time.monotonic() > end:
                raise OversizedAnswer(f"a response took more than {LONGEST_ANSWER_SECONDS:.0f} s")
            yield piece

    def close(self) -> None:
        self._inner.close()


def bound_answer(response: httpx2.Response) -> None:
    """Limit the body of a response before it is read; for a client's `event_hooks`. Raises OversizedAnswer."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        response.close()
        raise OversizedAnswer(f"the response is compressed ({encoding}), which was not requested")
    is_counted = response.request.extensions.get("tuner_tui_bounded_by_caller") and response.is_success
    if not is_counted:
        response.stream = _Bounded(response.stream)


def withhold_token(request: httpx2.Request) -> None:
    """Remove the token where it could be read in transit, also after a redirect; for a client's `event_hooks`."""
    if not keeps_secrets(request.url.scheme, request.url.host):
        request.headers.pop("authorization", None)


def use_bounded_client() -> None:
    """Make `huggingface_hub` use a client with limits in this process."""
    global _is_set
    if not _is_set:
        from huggingface_hub import set_client_factory

        set_client_factory(_client)
        _is_set = True


def _client() -> httpx2.Client:
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    client.headers.update(UNCOMPRESSED)
    hooks = client.event_hooks
    client.event_hooks = {"request": [*hooks["request"], withhold_token], "response": [bound_answer]}
    return client
