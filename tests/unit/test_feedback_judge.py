"""A judge model behind a real HTTP server: sound, one-sided, slow, down, or answering rubbish."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.feedback_rows import make_store
from tuner_tui.errors import TunerError
from tuner_tui.feedback.exporting import Filters, export_rows
from tuner_tui.feedback.judge import judge_collection, read_verdict
from tuner_tui.feedback.judge_server import server_judge
from tuner_tui.feedback.session import Session
from tuner_tui.feedback.statistics import annotator_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Server:
    """Replies as it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.reply: Callable[[str], bytes] = lambda _: b""
        self.status = 200
        self.seconds = 0.0
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                outer.keys.append(self.headers.get("Authorization"))
                time.sleep(outer.seconds)
                self.send_response(outer.status)
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # the asker has run out of patience
                    self.wfile.write(outer.reply(body["messages"][0]["content"]))

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def completion(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def prefers_longer(asked: str) -> bytes:
    first, _, rest = asked.partition("Answer A:\n")[2].partition("\n\nAnswer B:\n")
    second = rest.partition("\n\nWhich")[0]
    better = "A" if len(first) > len(second) else "B"
    return completion(f'I think: {{"reason": "longer", "better": "{better}", "certainty": 80}}')


def test_proposals_are_saved_and_count_as_no_annotation(server: Server, tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 3)
    server.reply = prefers_longer
    report = judge_collection(store, server_judge(server.url, "m", "secret"), "judge m", "Be longer.")
    assert (report.proposed, report.undecided, report.failed) == (3, 0, 0)
    assert len(server.asked) == 6  # both orders
    assert set(server.keys) == {"Bearer secret"}
    assert "Be longer." in server.asked[0]["messages"][0]["content"]
    assert store.annotation_count() == 0
    proposals = [entry for entry in store.entries() if entry.proposal is not None]
    assert {entry.annotator_kind for entry in proposals} == {"ai"}
    assert [each.proposal.certainty for each in proposals if each.proposal] == [0.8] * 3
    assert (
        judge_collection(store, server_judge(server.url, "m"), "judge m", "x").proposed == 0
    )  # nothing is left

    session = Session(store, "me", seed=1)
    for number in range(2):
        shown = session.next()
        assert shown is not None
        assert shown.proposal is not None
        assert shown.proposal.proposal is not None
        places = [answer.id for answer in shown.answers]
        chosen = places.index(shown.proposal.proposal.choice or 0)
        session.choose(shown, chosen if number == 0 else 1 - chosen)
    seen = annotator_statistics(store.items(), store.entries())
    assert (seen.proposals, seen.accepted, seen.overruled) == (3, 1, 1)
    assert len(export_rows(store, "pairs", Filters())) == 2
    rows = export_rows(store, "pairs", Filters(with_ai=True))
    assert [row.columns["rater_kind"] for row in rows].count("ai") == 1
    assert [row.columns["ai_proposed"] for row in rows] == [True] * 3


def test_a_judge_that_likes_the_first_place_proposes_nothing(server: Server, tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 2)
    server.reply = lambda _: completion('{"better": "A", "certainty": 100}')
    report = judge_collection(store, server_judge(server.url, "m"), "m", "x")
    assert (report.proposed, report.undecided) == (0, 2)
    assert export_rows(store, "pairs", Filters(with_ai=True)) == []


def test_the_least_sure_come_first(server: Server, tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 3)
    certainties = iter((90, 90, 20, 20, 60, 60))
    server.reply = lambda asked: prefers_longer(asked).replace(b"80", str(next(certainties)).encode())
    judge_collection(store, server_judge(server.url, "m"), "m", "x")
    session = Session(store, "me", is_uncertain_first=True)
    order = []
    while shown := session.next():
        order.append(shown.item.id)
        session.choose(shown, 0)
    assert order == [2, 3, 1]


@pytest.mark.parametrize("rubbish", [b"", b"<html>", b"[]", b'{"choices": []}', b"\xff\xfe"])
def test_a_server_that_answers_rubbish(server: Server, tmp_path: Path, rubbish: bytes) -> None:
    store = make_store(tmp_path / "a.sqlite3", 5)
    server.reply = lambda _: rubbish
    with pytest.raises(TunerError, match="cannot be read"):
        judge_collection(store, server_judge(server.url, "m"), "m", "x")
    assert store.entries() == []


def test_servers_that_refuse_are_slow_or_down(server: Server, tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 5)
    server.status = 401
    with pytest.raises(TunerError, match="401"):
        judge_collection(store, server_judge(server.url, "m"), "m", "x")
    server.seconds = 1.0
    with pytest.raises(TunerError, match="too slow"):
        judge_collection(store, server_judge(server.url, "m", patience_seconds=0.1), "m", "x")
    with pytest.raises(TunerError, match="cannot be reached"):
        judge_collection(store, server_judge("http://127.0.0.1:9/v1", "m"), "m", "x")
    with pytest.raises(TunerError, match="address"):
        server_judge("localhost", "m")


@pytest.mark.parametrize(
    ("text", "better", "certainty"),
    [
        ('{"better": "A", "certainty": 70}', 0, 0.7),
        ('Well.\n```json\n{"reason": "x", "better": "b"}\n```', 1, 0.5),
        ('{"better": "tie", "certainty": 10}', None, 0.1),
        ('{"better": "A", "certainty": 1e999}', 0, 0.5),
        ('{"better": "A", "certainty": 900}', 0, 1.0),
        ('{"better": "C"}', None, 0.0),
        ("A", None, 0.0),
        ("{" * 5000, None, 0.0),
        ("", None, 0.0),
    ],
)
def test_verdicts(text: str, better: int | None, certainty: float) -> None:
    verdict = read_verdict(text)
    assert verdict.better == better
    assert verdict.certainty == pytest.approx(certainty)
