"""What goes wrong between a Hub process and the Hub, apart from what the Hub's own client raises."""

from __future__ import annotations


class HubBusy(Exception):
    """The Hub answered that it cannot now; the client's own silent retries do not know this exception."""

    def __init__(self, status: int, retry_after: float | None) -> None:
        super().__init__(f"status {status}")
        self.status, self.retry_after = status, retry_after


class ConnectionTrouble(Exception):
    """The connection failed or an answer took too long."""

    def __init__(self, name: str, *, is_timeout: bool, is_unsent: bool) -> None:
        super().__init__(name)
        self.is_timeout = is_timeout
        self.is_unsent = is_unsent
        """Whether nothing of the request can have arrived."""


class WrongContent(Exception):
    """What was received is not what was announced; asked again, it may be right."""
