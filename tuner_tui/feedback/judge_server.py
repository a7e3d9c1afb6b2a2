"""A judge behind an OpenAI-compatible server: which server gets the key, and requests with a time limit."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner_tui.errors import InputError, TunerError
from tuner_tui.feedback.judge_replies import JudgeReply
from tuner_tui.hosts import is_loopback, is_this_machine, keeps_secrets
from tuner_tui.text import plain, size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx2

    from tuner_tui.generation.messages import Turn

KEY_VARIABLE = "OPENAI_API_KEY"
BASE_VARIABLE = "OPENAI_BASE_URL"
OPENAI = "https://api.openai.com"
MAX_TOKENS = 2048
"""The limit of a reply, thoughts included; a model that does not think stops long before."""
LEAST_TOKENS = 300
"""The limit where a server has no room for more; enough for a model that does not think."""
PATIENCE_SECONDS = 120.0
"""For one reply, from the DNS lookup to the last byte."""
MOST_REPLY_BYTES = 1 << 20
MOST_DETAIL = 300
MOST_REFUSAL = 1 << 14
_HOST = re.compile(r"[\w.:-]+")


class Origin(NamedTuple):
    """The server that a request goes to."""

    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether that is this machine itself."""
        return is_loopback(self.host)

    @property
    def keeps_secrets(self) -> bool:
        """Whether a key that is sent there can be read by nobody on the way."""
        return keeps_secrets(self.scheme, self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_usual = self.port == {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{host}" + ("" if is_usual else f":{self.port}")


def origin_of(url: str) -> Origin:
    """Scheme, host and port of a server's address. Raises InputError, which never repeats a password."""
    import httpx2

    try:
        parsed = httpx2.URL(url.strip())
        host, port = parsed.host, parsed.port
    except (httpx2.InvalidURL, ValueError):
        parsed, host, port = httpx2.URL(), "", None
    if parsed.userinfo:
        raise InputError(
            "The server's address holds a password",
            f"{parsed.scheme}://...@{host}: it would be stored with every proposal.",
            "Remove it, and name the environment variable with the server's key: --key-env VARIABLE",
        )
    is_possible = _HOST.fullmatch(host) is not None and (port is None or 0 < port < 1 << 16)
    if parsed.scheme not in ("http", "https") or not is_possible:
        raise InputError(
            "Not a server's address",
            f"{plain(url)!r}: expected http://... or https://...",
            "For example http://localhost:11434/v1",
        )
    return Origin(parsed.scheme, host.lower(), port or {"http": 80, "https": 443}[parsed.scheme])


def _is_at(base: str, origin: Origin) -> bool:
    """Whether OPENAI_BASE_URL is at a server; one that is no address is at none."""
    try:
        return origin_of(base) == origin
    except InputError:
        return False


def key_for(url: str, variable: str | None, environment: Mapping[str, str]) -> str | None:
    """The key for a server, None when there is none.

    `variable` is the one that the person named together with this server; without it only OPENAI_API_KEY is used, and
    only for OpenAI's own server or the one in OPENAI_BASE_URL. Raises InputError for a variable that is not set or
    cannot be a key, and for a key that would be sent unencrypted.
    """
    origin = origin_of(url)
    if variable is None:
        key = environment.get(KEY_VARIABLE, "").strip()
        base = environment.get(BASE_VARIABLE, "").strip() or OPENAI
        if not key or not origin.keeps_secrets or not _is_at(base, origin):
            return None
        return _checked(key, KEY_VARIABLE)
    key = environment.get(variable, "").strip()
    if not key:
        raise InputError(
            "The key is missing",
            f"The environment variable {plain(variable)} is not set.",
            "Set it, or omit --key-env: many servers need no key.",
        )
    _refuse_unencrypted(origin)
    return _checked(key, variable)


def server_judge(
    url: str,
    model: str,
    key: str | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
    max_tokens: int | None = None,
) -> Callable[[tuple[Turn, ...]], JudgeReply]:
    """A judge at `url`, which usually ends in /v1; `key` is sent only to that server. Raises InputError.

    A setting that the model does not take (newer ones want `max_completion_tokens`, and no temperature) is changed once
    the server says so.
    """
    origin = origin_of(url)
    if key:
        _refuse_unencrypted(origin)
    address = url.strip().rstrip("/") + "/chat/completions"
    settings: dict[str, Any] = {"temperature": 0, "max_tokens": max_tokens or MAX_TOKENS}

    def ask(turns: tuple[Turn, ...]) -> JudgeReply:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        while True:
            body = {"model": model, "messages": messages, **settings}
            try:
                return reply_of(_posted(address, origin, body, key, patience_seconds), address)
            except RefusedSetting as error:
                if not _adapted(settings, error.reply, is_limit_asked=max_tokens is not None):
                    raise

    return ask


def _adapted(settings: dict[str, Any], reply: str, *, is_limit_asked: bool) -> bool:
    """Whether a refusal names a setting that could be changed, and was; each can be once."""
    if "max_tokens" in settings and "max_completion_tokens" in reply:
        settings["max_completion_tokens"] = settings.pop("max_tokens")
        return True
    if "temperature" in settings and "temperature" in reply:
        del settings["temperature"]
        return True
    limit = next(name for name in ("max_tokens", "max_completion_tokens") if name in settings)
    if settings[limit] > LEAST_TOKENS and not is_limit_asked and ("context" in reply or limit in reply):
        settings[limit] = LEAST_TOKENS
        return True
    return False


class RefusedSetting(TunerError):
    """The server refuses a request for what stands in it."""

    def __init__(self, title: str, message: str, hint: str, reply: str) -> None:
        super().__init__(title, message, hint)
        self.reply = reply
        """What it says, in full."""


def _refuse_unencrypted(origin: Origin) -> None:
    if not origin.keeps_secrets:
        raise InputError(
            "The key would be sent unencrypted",
            f"{origin} is another machine, and http:// can be read in transit.",
            "Use https://, or give no key: servers on the local network rarely need one.",
        )


def _checked(key: str, variable: str) -> str:
    if not key.isascii() or not key.isprintable():
        raise InputError(
            "The key cannot be sent",
            f"{plain(variable)} has characters that a key cannot have.",
            "Copy it again.",
        )
    return key


def _posted(address: str, origin: Origin, body: dict[str, Any], key: str | None, seconds: float) -> bytes:
    """The reply's body. Raises TunerError."""
    import httpx2

    loop = (
        asyncio.new_event_loop()
    )  # not asyncio.run, which would wait for a name server that does not answer
    try:
        return loop.run_until_complete(_post(address, origin, body, key, seconds))
    except (TimeoutError, httpx2.TimeoutException) as error:
        raise TunerError(
            "The judge is too slow",
            f"{address}: no complete reply in {seconds:g} s.",
            "Use a smaller model, or check whether the server is busy.",
        ) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ImportError, ValueError) as error:
        reason = plain(str(error)) or type(error).__name__
        raise TunerError(
            "The judge cannot be reached",
            f"{address}: {_without(key, reason)[:MOST_DETAIL]}.",
            "Check that the server is running, its address, and HTTP_PROXY if set.",
        ) from error
    finally:
        loop.close()


async def _post(address: str, origin: Origin, body: dict[str, Any], key: str | None, seconds: float) -> bytes:
    import httpx2

    headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
    async with asyncio.timeout(seconds):
        client = httpx2.AsyncClient(
            follow_redirects=False,
            trust_env=not is_this_machine(origin.host),
            timeout=httpx2.Timeout(seconds),
        )
        async with client, client.stream("POST", address, json=body, headers=headers) as reply:
            if reply.is_redirect or 300 <= reply.status_code < 400:
                raise _redirected(reply, origin)
            content = await _limited(reply, address)
    if reply.status_code != 200:
        raise _refused(reply.status_code, address, content, key)
    return content


async def _limited(reply: httpx2.Response, address: str) -> bytes:
    content = bytearray()
    async for part in reply.aiter_raw():
        content += part
        if len(content) > MOST_REPLY_BYTES:
            raise TunerError(
                "The judge's reply is too long",
                f"{address}: more than {size(MOST_REPLY_BYTES)}.",
                "Is it an OpenAI-compatible server?",
            )
    return bytes(content)


def _redirected(reply: httpx2.Response, origin: Origin) -> TunerError:
    target = reply.headers.get("location", "")
    try:
        where = str(origin_of(str(reply.url.join(target))))
    except (InputError, ValueError):
        where = "an unreadable address"
    return TunerError(
        "The judge's server redirects to another address",
        f"{origin} answers with a redirect ({reply.status_code}) to {where}. It was not followed: prompts, answers "
        "and a key go only to the server that you named.",
        "If you trust that address, give it as --server.",
    )


def _refused(status: int, address: str, content: bytes, key: str | None) -> TunerError:
    detail = plain(_without(key, content[: MOST_DETAIL * 4].decode("utf-8", "replace")))[:MOST_DETAIL]
    hint = ""
    if status in (401, 403):
        hint = (
            "Check the key."
            if key
            else "No key was sent. Name the environment variable with this server's key: --key-env VARIABLE"
        )
    elif status == 404:
        hint = "Does the address end in /v1, and does the server have that model?"
    elif status == 429 or status >= 500:
        hint = "The server is busy or failing; try again later."
    title, message = "The judge's server refuses the request", f"{address}: {status}. {detail}".strip()
    if status in (400, 422):
        return RefusedSetting(title, message, hint, content[:MOST_REFUSAL].decode("utf-8", "replace"))
    return TunerError(title, message, hint)


def _without(key: str | None, text: str) -> str:
    return text.replace(key, "(the key)") if key else text


def reply_of(reply: bytes, address: str) -> JudgeReply:
    """A chat completion as a reply: text, thoughts beside it, and whether it was truncated. Raises TunerError."""
    try:
        choice: Any = json.loads(reply)["choices"][0]
        message = choice["message"]
        content, reason = message.get("content"), choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise TunerError(
            "The judge's reply cannot be read",
            f"{address}: expected a chat completion, got {plain(repr(reply[:200]))}.",
            "Is it an OpenAI-compatible server, and does the address end in /v1?",
        ) from error
    text, thoughts = _parts(content)
    beside = [
        _all_text(message.get(name))
        for name in ("reasoning_content", "reasoning", "thinking", "reasoning_details")
    ]
    refusal = message.get("refusal")
    if not isinstance(refusal, str):
        refusal = "the server filtered the reply" if reason == "content_filter" else ""
    return JudgeReply(
        text,
        thoughts or next(filter(None, beside), ""),
        reason in ("length", "max_tokens", "MAX_TOKENS"),
        refusal,
    )


def _parts(content: Any) -> tuple[str, str]:
    """(text, thoughts) of a message's content, which is text or a list of parts."""
    if isinstance(content, str):
        return content, ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        is_thought = isinstance(part, dict) and str(part.get("type")) in (
            "thinking",
            "reasoning",
            "thought",
            "summary_text",
        )
        (thoughts if is_thought else texts).append(_all_text(part))
    return "".join(texts), "\n".join(thoughts)


def _all_text(value: Any, depth: int = 0) -> str:
    """Every text in a part, however it is wrapped."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth < 8:
        return "".join(_all_text(each, depth + 1) for each in value)
    if isinstance(value, dict) and depth < 8:
        named = (value.get(key) for key in ("text", "thinking", "reasoning", "summary", "content", "refusal"))
        return next((text for each in named if (text := _all_text(each, depth + 1))), "")
    return ""
