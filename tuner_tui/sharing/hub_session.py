"""The Hub's client with time limits and without silent retries: failures surface, and retries are ours.

Used inside a Hub process only (see hub_job.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
from httpx2._utils import get_environment_proxies
from huggingface_hub import set_client_factory
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils._http import hf_request_event_hook

from tuner_tui.errors import InputError, TunerError
from tuner_tui.models.hub_client import UNCOMPRESSED, bound_answer, withhold_token
from tuner_tui.sharing.hub_exceptions import ConnectionTrouble, HubBusy, WrongContent
from tuner_tui.sharing.hub_failures import explain, status_of
from tuner_tui.sharing.hub_protocol import Event, Moved, Waiting

if TYPE_CHECKING:
    from tuner_tui.sharing.hub_protocol import Limits

Tell = Callable[[Event], None]
Answer = TypeVar("Answer")
RETRIED = (408, 409, 412, 425, 429, 500, 502, 503, 504)
WAIT_HEADERS = ("retry-after", "ratelimit", "ratelimit-policy")
REPORT_EVERY_BYTES = 256 << 10
BEAT_SECONDS = 5.0
LOOPBACK = ("all://localhost", "all://127.0.0.1", "all://[::1]")
"""Addresses of this machine, which bypass proxies."""


def _trouble_of(error: httpx2.TransportError) -> ConnectionTrouble:
    return ConnectionTrouble(
        type(error).__name__,
        is_timeout=isinstance(error, httpx2.TimeoutException),
        is_unsent=isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)),
    )


class _Counted(httpx2.SyncByteStream):
    """A request's body that reports the bytes sent."""

    def __init__(self, inner: Any, sent: Callable[[int], None]) -> None:
        self._inner, self._sent = inner, sent

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._inner:
            yield piece
            self._sent(len(piece))

    def close(self) -> None:
        if hasattr(self._inner, "close"):
            self._inner.close()


class Transport(httpx2.HTTPTransport):
    """Turns temporary refusals and broken connections into exceptions that only we retry."""

    def __init__(self, limits: Limits, sent: Callable[[int], None], proxy: str | None = None) -> None:
        super().__init__(proxy=proxy)
        self._limits, self._sent = limits, sent

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        is_commit = "/commit/" in request.url.path
        limits = self._limits
        request.extensions["timeout"] = {
            "connect": limits.connect,
            "read": limits.commit if is_commit else limits.answer,
            "write": limits.answer,
            "pool": limits.connect,
        }
        if request.method == "PUT":
            request.stream = _Counted(request.stream, self._sent)
        try:
            response = super().handle_request(request)
        except httpx2.TransportError as error:
            raise _trouble_of(error) from error
        response.stream = _Guarded(response.stream)
        if response.status_code in RETRIED and response.status_code not in (409, 412):
            wait = retry_after(response.headers)
            response.close()
            raise HubBusy(response.status_code, wait)
        for name in WAIT_HEADERS:
            response.headers.pop(name, None)
        return response


class _Guarded(httpx2.SyncByteStream):
    """A response body that raises our exception when the connection breaks."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._inner
        except httpx2.TransportError as error:
            raise _trouble_of(error) from error

    def close(self) -> None:
        self._inner.close()


def retry_after(headers: Any) -> float | None:
    """The wait in seconds of a Retry-After header, a number or a date; None without a usable one."""
    header = headers.get("retry-after")
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


class HubSession:
    """Sends requests to the Hub, with retries, and reports every wait."""

    def __init__(self, limits: Limits, tell: Tell, repo_id: str) -> None:
        self.limits, self.tell, self.repo_id = limits, tell, repo_id
        self._sent = self._told = 0
        self._beat = time.monotonic()
        self.total_bytes = 0
        set_client_factory(self.client)

    def client(self) -> httpx2.Client:
        """A client with our limits and the environment's proxies; huggingface_hub's headers contain the token.

        Raises InputError for a proxy that cannot be used.
        """
        return httpx2.Client(
            transport=Transport(self.limits, self._count),
            mounts=self._proxies(),
            event_hooks={"request": [hf_request_event_hook, withhold_token], "response": [bound_answer]},
            headers=UNCOMPRESSED,
            follow_redirects=True,
            timeout=httpx2.Timeout(self.limits.answer),
        )

    def _proxies(self) -> dict[str, Transport | None]:
        """Transports by address; a client with explicit transports ignores proxy variables."""
        try:
            transports: dict[str, Transport | None] = {
                pattern: None if proxy is None else Transport(self.limits, self._count, proxy)
                for pattern, proxy in get_environment_proxies().items()
            }
        except (ValueError, ImportError, httpx2.InvalidURL):  # the address may contain a password
            raise InputError(
                "The proxy cannot be used",
                "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY is not the address of an HTTP proxy.",
                "Use http://host:port (for socks5:// install socksio), or unset the variable.",
            ) from None
        return transports | dict.fromkeys(LOOPBACK) if transports else {}

    def ask(self, what: str, question: Callable[[], Answer], *, retried: Iterable[int] = ()) -> Answer:
        """The response to an idempotent request. Raises TunerError when there is none within the limits."""
        for attempt in range(1, self.limits.attempts + 1):
            try:
                return question()
            except TunerError:
                raise
            except Exception as error:  # any error of client and parsers: distinguished below
                trouble = innermost(error)
                if not self.may_pass(trouble, retried) or attempt == self.limits.attempts:
                    raise explain(trouble, what, self.repo_id, attempt) from error
                self.wait(trouble, what, attempt)
        raise AssertionError("unreachable")

    def may_pass(self, error: BaseException, retried: Iterable[int] = ()) -> bool:
        """Whether a retry may help."""
        if isinstance(error, (HubBusy, ConnectionTrouble)):
            return not (isinstance(error, HubBusy) and (error.retry_after or 0) > self.limits.longest_wait)
        if isinstance(error, WrongContent):
            return True
        if isinstance(error, OfflineModeIsEnabled):
            return False
        status = status_of(error)
        if status is not None:
            return status in RETRIED or status in retried
        # an invalid response: a flipped byte, or a page of a proxy
        return isinstance(error, (ValueError, KeyError, TypeError, AttributeError, httpx2.HTTPError))

    def wait(self, error: BaseException, what: str, attempt: int) -> None:
        """Wait before the next attempt, reporting a countdown."""
        requested_wait = getattr(error, "retry_after", None)
        seconds = self.limits.first_wait * 2 ** (attempt - 1) if requested_wait is None else requested_wait
        until = time.monotonic() + min(seconds, self.limits.longest_wait)
        why = explain(error, what, self.repo_id, attempt).title
        while (left := until - time.monotonic()) > 0:
            self.tell(
                Waiting(
                    why=why, seconds=round(left + 0.5), attempt=attempt + 1, attempts=self.limits.attempts
                )
            )
            time.sleep(min(1.0, left))

    def still_at(self, done_bytes: int, total_bytes: int) -> None:
        """Report every few seconds during work without traffic, such as hashing a large file."""
        if time.monotonic() - self._beat >= BEAT_SECONDS:
            self._beat = time.monotonic()
            self.tell(Moved(done_bytes=done_bytes, total_bytes=total_bytes))

    def begin_sending(self, total_bytes: int) -> None:
        """Count the bytes sent from now on."""
        self._sent = self._told = 0
        self.total_bytes = total_bytes

    def _count(self, sent: int) -> None:
        self._sent += sent
        if self.total_bytes and self._sent - self._told >= REPORT_EVERY_BYTES:
            self._told = self._sent
            self.tell(Moved(done_bytes=min(self._sent, self.total_bytes), total_bytes=self.total_bytes))


def innermost(error: BaseException) -> BaseException:
    """The cause of a wrapped error: the Hub's client hides causes in RuntimeError."""
    cause = error
    while isinstance(cause, (RuntimeError, HfHubHTTPError)) or type(cause) is Exception:
        inner = cause.__cause__ or cause.__context__
        if isinstance(cause, HfHubHTTPError) or inner is None:
            return cause
        cause = inner
    return cause
