"""The Hub's token goes nowhere where it could be read on the way: over plain http only to this machine."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory

from tests.hub_double import TOKEN
from tuner_tui.errors import InputError, TunerError
from tuner_tui.hardware.environment import worker_environment
from tuner_tui.hosts import NO_TOKEN_VARIABLE, insecure_hub
from tuner_tui.models import hub_client
from tuner_tui.models.listing import search_hub
from tuner_tui.sharing import hub as hub_process
from tuner_tui.sharing.hub_protocol import DownloadRequest, Event, Limits, PushRequest, Stepped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADDRESS = "http://hub.example:8080"
QUICK = Limits(connect=2.0, answer=20.0, attempts=1, first_wait=0.05, longest_wait=2.0, silence=60.0)


class Wire(ThreadingHTTPServer):
    """A proxy that stands for the network: it sees each request, and refuses it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Refusal)
        self.seen: list[tuple[str, str | None]] = []
        """Address and credentials."""


class Refusal(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        wire = self.server
        assert isinstance(wire, Wire)
        wire.seen.append((self.path, self.headers["Authorization"]))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_HEAD = do_PUT = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """The Hub is another machine over plain http, and a token is there."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN_PATH", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = Wire()
    for name, value in {
        "HF_HOME": str(tmp_path / "hf"),
        "TUNER_TUI_HOME": str(tmp_path / "home"),
        "HF_TOKEN": TOKEN,
        "HF_ENDPOINT": ADDRESS,
        "HTTP_PROXY": f"http://127.0.0.1:{server.server_port}",
        "http_proxy": f"http://127.0.0.1:{server.server_port}",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", ADDRESS)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_download_over_plain_http_asks_without_the_token_and_says_so(wire: Wire) -> None:
    told: list[Event] = []
    with pytest.raises(TunerError) as refused:
        hub_process.download(DownloadRequest(repo_id="owner/base", limits=QUICK), told.append)
    assert wire.seen
    assert [credentials for _, credentials in wire.seen if credentials] == []
    assert f"your token is not sent to {ADDRESS}" in " ".join(
        event.what for event in told if isinstance(event, Stepped)
    )
    assert f"Your token was not sent: HF_ENDPOINT is {ADDRESS}" in refused.value.hint


def test_a_push_over_plain_http_is_refused_before_anything_is_sent(wire: Wire) -> None:
    request = PushRequest(repo_id="tester/adapter", files=(), message="adapter", limits=QUICK)
    with pytest.raises(TunerError, match="not sent over plain http") as refused:
        hub_process.push(request, lambda event: None)
    assert refused.value.exit_code == InputError("", "").exit_code
    assert wire.seen == []


def test_a_search_over_plain_http_asks_without_the_token(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_client, "_is_set", False)
    set_client_factory(default_client_factory)
    try:
        with pytest.raises(TunerError, match="cannot be searched"):
            search_hub("llama")
    finally:
        set_client_factory(default_client_factory)
    assert [credentials for _, credentials in wire.seen] == [None]


def test_libraries_in_a_worker_send_no_token_over_plain_http(wire: Wire) -> None:
    assert worker_environment(1)[NO_TOKEN_VARIABLE] == "1"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("", ""),
        ("https://hub.example", ""),
        ("http://localhost:9000", ""),
        ("http://127.0.0.1:9000", ""),
        ("http://[::1]:9000", ""),
        ("http://me:secret@hub.example:80/path", "http://hub.example:80"),
        ("http://192.168.1.5", "http://192.168.1.5"),
        ("http://localhost.example", "http://localhost.example"),
    ],
)
def test_only_this_machine_is_told_secrets_over_plain_http(
    address: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert insecure_hub() == shown
