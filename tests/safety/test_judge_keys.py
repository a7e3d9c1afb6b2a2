"""A judge's server: a key goes only where it was named for, no redirect is followed, and every wait has an end."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.unit.feedback_rows import make_store
from tuner_tui.cli.feedback import feedback
from tuner_tui.errors import InputError, TunerError
from tuner_tui.feedback.collections import collection_path, open_collection
from tuner_tui.feedback.judge_server import MOST_REPLY_BYTES, key_for, origin_of, server_judge
from tuner_tui.generation.messages import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "sk-quite-secret"
QUESTION = (Turn("user", "Which one?"),)
VERDICT = json.dumps({"choices": [{"message": {"content": '{"better": "A", "certainty": 90}'}}]}).encode()
Handler = http.server.BaseHTTPRequestHandler


class Server:
    """A real server on an address of this machine that remembers what it was asked."""

    def __init__(self, host: str, answer: Callable[[Handler], None]) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        outer = self

        class OneHandler(Handler):
            def do_POST(self) -> None:
                outer.requests.append(
                    (self.path, {name.lower(): value for name, value in self.headers.items()})
                )
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                try:
                    answer(self)
                except OSError:  # the client left
                    self.close_connection = True

            do_GET = do_CONNECT = do_POST

            def log_message(self, *_: object) -> None:
                return

        self._server = http.server.ThreadingHTTPServer((host, 0), OneHandler)
        self._server.daemon_threads = True
        self.origin = f"http://{host}:{self._server.server_port}"
        self.url = f"{self.origin}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(answer: Callable[[Handler], None], host: str = "127.0.0.1") -> Server:
        servers.append(Server(host, answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def respond(handler: Handler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def agree(handler: Handler) -> None:
    respond(handler, 200, VERDICT)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(serve: Callable[..., Server], status: int) -> None:
    other = serve(agree, "127.0.0.2")
    server = serve(lambda handler: respond(handler, status, Location=f"{other.url}/chat/completions"))
    with pytest.raises(TunerError, match="redirects to another address") as caught:
        server_judge(server.url, "m", KEY)(QUESTION)
    assert server.origin in caught.value.message
    assert other.origin in caught.value.message
    assert server.requests[0][1]["authorization"] == f"Bearer {KEY}"
    assert other.requests == []


@pytest.mark.parametrize(
    "location", ["", "//", "http://[", "http://user:pass@127.0.0.2/", "file:///etc/passwd", "/v2"]
)
def test_a_redirect_to_anything_is_told(serve: Callable[..., Server], location: str) -> None:
    server = serve(lambda handler: respond(handler, 302, Location=location))
    with pytest.raises(TunerError, match="redirects to another address") as caught:
        server_judge(server.url, "m")(QUESTION)
    assert "pass" not in caught.value.message.replace("passwd", "")


def test_a_redirects_answer_is_no_verdict(serve: Callable[..., Server]) -> None:
    other = serve(agree)
    server = serve(lambda handler: respond(handler, 307, Location=other.url))
    make_store(collection_path("evening"), 4).close()
    arguments = ["judge", "evening", "--server", server.url, "--model", "m"]
    done = CliRunner().invoke(feedback, arguments)
    assert isinstance(done.exception, TunerError)
    with open_collection("evening") as store:
        assert store.entries() == []


@pytest.mark.parametrize(
    ("url", "variables", "named", "key"),
    [
        ("https://api.openai.com/v1", {"OPENAI_API_KEY": KEY}, None, KEY),
        ("https://judge.example/v1", {"OPENAI_API_KEY": KEY}, None, None),
        ("http://localhost:11434/v1", {"OPENAI_API_KEY": KEY}, None, None),
        ("http://api.openai.com/v1", {"OPENAI_API_KEY": KEY}, None, None),
        ("https://api.openai.com:8443/v1", {"OPENAI_API_KEY": KEY}, None, None),
        ("https://api.openai.com.evil.example/v1", {"OPENAI_API_KEY": KEY}, None, None),
        (
            "https://mine.example/v1",
            {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://mine.example/other"},
            None,
            KEY,
        ),
        (
            "https://api.openai.com/v1",
            {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://mine.example"},
            None,
            None,
        ),
        ("http://10.0.0.5/v1", {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://10.0.0.5/v1"}, None, None),
        ("https://judge.example/v1", {"MINE": f" {KEY}\n"}, "MINE", KEY),
        ("http://localhost:8000/v1", {"MINE": KEY}, "MINE", KEY),
        ("http://127.9.9.9:8000/v1", {"MINE": KEY}, "MINE", KEY),
        ("http://[::1]:8000/v1", {"MINE": KEY}, "MINE", KEY),
        ("http://10.0.0.5:8000/v1", {}, None, None),
    ],
)
def test_whom_a_key_is_for(url: str, variables: dict[str, str], named: str | None, key: str | None) -> None:
    assert key_for(url, named, variables) == key


@pytest.mark.parametrize(
    ("url", "variables", "words"),
    [
        ("http://10.0.0.5:8000/v1", {"MINE": KEY}, "unencrypted"),
        ("http://127.0.0.1.evil.example/v1", {"MINE": KEY}, "unencrypted"),
        ("http://localhost.evil.example/v1", {"MINE": KEY}, "unencrypted"),
        ("http://2130706433/v1", {"MINE": KEY}, "unencrypted"),
        ("http://[::ffff:127.0.0.1]/v1", {"MINE": KEY}, "unencrypted"),
        ("https://judge.example/v1", {}, "key is missing"),
        ("https://judge.example/v1", {"MINE": "a\nb"}, "cannot be sent"),
        ("https://judge.example/v1", {"MINE": "schlüssel"}, "cannot be sent"),
        ("http://127.0.0.1@evil.example/v1", {"MINE": KEY}, "password"),
        ("https://user:hunter2@judge.example/v1", {"MINE": KEY}, "password"),
        ("ftp://judge.example/v1", {"MINE": KEY}, "address"),
        ("http://", {"MINE": KEY}, "address"),
        ("http://[", {"MINE": KEY}, "address"),
        ("http://host:99999999/v1", {"MINE": KEY}, "address"),
    ],
)
def test_keys_that_are_not_sent(url: str, variables: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        key_for(url, "MINE", variables)
    assert "hunter2" not in caught.value.message
    if variables.get("MINE") == KEY:
        with pytest.raises(InputError):
            server_judge(url, "m", KEY)


def test_a_key_in_the_environment_goes_to_no_other_server(
    serve: Callable[..., Server], monkeypatch: Any
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(agree)
    make_store(collection_path("evening"), 1).close()
    arguments = ["judge", "evening", "--server", server.url, "--model", "m"]
    assert CliRunner().invoke(feedback, arguments, catch_exceptions=False).exit_code == 0
    assert [("authorization" in headers) for _, headers in server.requests] == [False, False]
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    make_store(collection_path("other"), 1).close()
    CliRunner().invoke(feedback, ["judge", "other", *arguments[2:]], catch_exceptions=False)
    assert server.requests[-1][1]["authorization"] == f"Bearer {KEY}"


def test_a_refusal_never_repeats_the_key_and_says_what_to_do(serve: Callable[..., Server]) -> None:
    def refuse(handler: Handler) -> None:
        respond(handler, 401, f"wrong key: {handler.headers.get('Authorization')}\x1b[31m".encode())

    server = serve(refuse)
    with pytest.raises(TunerError, match="401") as caught:
        server_judge(server.url, "m", KEY)(QUESTION)
    assert KEY not in f"{caught.value} {caught.value.hint}"
    assert "\x1b" not in caught.value.message
    with pytest.raises(TunerError) as caught:
        server_judge(server.url, "m")(QUESTION)
    assert "--key-env" in caught.value.hint


def lan_address() -> str | None:
    """An address of this machine that is not its loopback, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if address.startswith("127.") else address


def test_a_judge_on_the_local_network_needs_no_key(serve: Callable[..., Server]) -> None:
    address = lan_address()
    if address is None:
        pytest.skip("this machine has only its loopback")
    server = serve(agree, address)
    assert "better" in server_judge(server.url, "m")(QUESTION).text
    assert "authorization" not in server.requests[0][1]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
def test_loopback_is_asked_without_a_proxy(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    proxy, server = serve(agree), serve(agree)
    monkeypatch.setenv(variable, proxy.origin)
    server_judge(server.url, "m", KEY)(QUESTION)
    assert proxy.requests == []
    assert len(server.requests) == 1


def test_a_proxy_sees_no_key(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve(lambda handler: respond(handler, 502))
    monkeypatch.setenv("HTTPS_PROXY", proxy.origin)
    monkeypatch.setenv("HTTP_PROXY", proxy.origin)
    with pytest.raises(TunerError):
        server_judge("https://judge.invalid/v1", "m", KEY)(QUESTION)
    with pytest.raises(TunerError):
        server_judge("http://judge.invalid/v1", "m")(QUESTION)
    assert len(proxy.requests) == 2
    assert not any(KEY in str(headers) for _, headers in proxy.requests)


def dripping(part: bytes, start: bytes = b"") -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.wfile.write(start)
        for _ in range(400):
            handler.wfile.write(part)
            handler.wfile.flush()
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        dripping(b" ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        dripping(b"1\r\n \r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        dripping(b"x", b"HTTP/1.1 200 OK\r\nX-Long: "),
        dripping(b"HTTP/1.1 100 Continue\r\n\r\n"),
        dripping(b"", b""),
    ],
    ids=["body", "chunks", "header", "continue", "nothing"],
)
def test_a_server_that_drips_ends_at_the_limit(
    serve: Callable[..., Server], answer: Callable[[Handler], None]
) -> None:
    server = serve(answer)
    started = time.monotonic()
    with pytest.raises(TunerError, match="too slow") as caught:
        server_judge(server.url, "m", patience_seconds=0.6)(QUESTION)
    assert time.monotonic() - started < 3
    assert "0.6 s" in caught.value.message
    assert server.url in caught.value.message


def test_a_name_server_that_does_not_answer_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def slow(*arguments: Any, **named: Any) -> Any:
        time.sleep(3)
        return look_up(*arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    started = time.monotonic()
    with pytest.raises(TunerError, match="too slow"):
        server_judge("http://judge.invalid/v1", "m", patience_seconds=0.4)(QUESTION)
    assert time.monotonic() - started < 2


def test_a_reply_without_end_is_bounded(serve: Callable[..., Server]) -> None:
    sent = [0]

    def flood(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(200):
            sent[0] += handler.wfile.write(b"x" * (1 << 20))

    server = serve(flood)
    with pytest.raises(TunerError, match="too long"):
        server_judge(server.url, "m", patience_seconds=20)(QUESTION)
    assert sent[0] < 50 * MOST_REPLY_BYTES


def test_origins() -> None:
    assert str(origin_of("HTTP://LocalHost:80/v1")) == "http://localhost"
    assert str(origin_of("http://[::1]:8000")) == "http://[::1]:8000"


@pytest.mark.parametrize("base", ["ftp://x", "http://", "localhost", "http://a:99999/v1", "https://u:p@x/v1"])
def test_a_base_address_that_is_none_gives_no_key_and_hinders_nothing(base: str) -> None:
    environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": base}
    assert key_for("http://localhost:11434/v1", None, environment) is None
    assert key_for("https://api.openai.com/v1", None, environment) is None


def test_a_judge_that_never_replies_is_an_error_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    path = collection_path("evening")
    path.parent.mkdir(parents=True)
    make_store(path, items=2).close()

    def refuse(handler: Handler) -> None:
        handler.send_error(503, "the model is loading")

    server = Server("127.0.0.1", refuse)
    command = ["judge", "evening", "--server", server.url, "--model", "m"]
    with pytest.raises(TunerError, match="503") as raised:
        CliRunner().invoke(feedback, command, catch_exceptions=False)
    assert raised.value.exit_code == 1
