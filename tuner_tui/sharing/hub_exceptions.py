"""Errors between a Hub process and the Hub, besides those of the Hub's own client."""

from __future__ import annotations


class HubBusy(Exception):
    """A temporary refusal by the Hub; the client's own silent retries do not catch this exception."""

    def __init__(self, status: int, retry_after: float | None) -> None:
        super().__init__(f"status {status}")
        self.status, self.retry_after = status, retry_after


class ConnectionTrouble(Exception):
    """The connection failed or timed out."""

    def __init__(self, name: str, *, is_timeout: bool, is_unsent: bool) -> None:
        super().__init__(name)
        self.is_timeout = is_timeout
        self.is_unsent = is_unsent
        """Whether the request cannot have arrived."""


class WrongContent(Exception):
    """The received data differs from the announced; a retry may succeed."""
