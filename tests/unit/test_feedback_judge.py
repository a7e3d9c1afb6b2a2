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
from tuner_tui.feedback.judge import MOST_UNREADABLE, judge_collection
from tuner_tui.feedback.judge_replies import JudgeReply, UnreadableReply, read_verdict
from tuner_tui.feedback.judge_server import server_judge
from tuner_tui.feedback.records import Proposal
from tuner_tui.feedback.session import Session
from tuner_tui.feedback.statistics import annotator_statistics
from tuner_tui.generation.messages import Turn

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
                reply = outer.reply(body["messages"][0]["content"])  # which may change the status
                self.send_response(outer.status)
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # the asker has run out of patience
                    self.wfile.write(reply)

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
        ('{"better": "A", "certainty": "80%"}', 0, 0.8),
        ('{"reason": "It uses {braces} and }.", "better": "B", "certainty": 60}', 1, 0.6),
        ('{"reason": "A says {\\"better\\": \\"A\\"}.", "better": "B", "certainty": 60}', 1, 0.6),
        ('{"better": "A"} On a second look: {"better": "B", "certainty": 55}', 1, 0.55),
        ('{"reason": "Two\nlines", "better": "Answer A", "certainty": 60}', 0, 0.6),
        ("{'reason': 'it is so', 'better': 'B', 'certainty': 90}", 1, 0.9),
        ('{"reason": "clear", "better": "A", "certa', 0, 0.5),
        ('{"verdict": {"winner": "B", "confidence": 40}}', 1, 0.4),
        ("A", 0, 0.5),
        ("Answer A", 0, 0.5),
        ("**B**", 1, 0.5),
        ("[[B]]", 1, 0.5),
        ("Verdict: **Answer B**", 1, 0.5),
        ("The better answer is A.", 0, 0.5),
        ("Answer B is better because it is shorter than Answer A.", 1, 0.5),
        ("Both are fine, yet one is shorter.\n\nFinal verdict: B", 1, 0.5),
        ("Both answers are equally good.", None, 0.5),
        ('<think>{"better": "A"}? No.</think>\n{"better": "B", "certainty": 70}', 1, 0.7),
        ("So A is it... no.</think>Answer B", 1, 0.5),
        ('<seed:think>{"better": "A"}</seed:think>B', 1, 0.5),
        ('<analysis>{"better": "A"}?</analysis><verdict>B</verdict>', 1, 0.5),
        (
            '<|begin_of_thought|>{"better": "A"}<|end_of_thought|><|begin_of_solution|>B<|end_of_solution|>',
            1,
            0.5,
        ),
        ('<|channel>thought\n{"better": "A"}<channel|>{"better": "B"}', 1, 0.5),
        ("Winner: 2", 1, 0.5),
        ("The better answer is 2.", 1, 0.5),
        ("Answer 1 is better than Answer 2.", 0, 0.5),
        ('{"winner": 2, "certainty": 60}', 1, 0.6),
        ('{"better": ["A"]}', 0, 0.5),
        ("### Final verdict: B", 1, 0.5),
        ("I would choose Answer A because it is short.", 0, 0.5),
        ("A and B are equal.", None, 0.5),
        ('{"reason": "The better answer: A says more", "better": "B", "certainty": 90', 1, 0.5),
        ("<|channel|>analysis<|message|>A?<|end|><|start|>assistant<|channel|>final<|message|>B", 1, 0.5),
    ],
)
def test_verdicts(text: str, better: int | None, certainty: float) -> None:
    verdict = read_verdict(JudgeReply(text))
    assert verdict.better == better
    assert verdict.certainty == pytest.approx(certainty)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (JudgeReply(""), "empty"),
        (JudgeReply("", thoughts="Hm, A is"), "reasoning but no answer"),
        (
            JudgeReply("", thoughts="Hm, A is", is_truncated=True),
            "empty: truncated while thinking; raise the limit",
        ),
        (
            JudgeReply("<think>Hm, Answer A", is_truncated=True),
            "empty: truncated while thinking; raise the limit",
        ),
        (JudgeReply('{"reason": "Answer A is', is_truncated=True), "truncated before the verdict"),
        (JudgeReply('{"better": "C"}'), "neither JSON"),
        (JudgeReply('{"better": "A or B"}'), "neither JSON"),
        (JudgeReply('{"reason": "one sentence", "better": "A" or "B" or "tie"}'), "neither JSON"),
        (JudgeReply('{"better": ["A", "B"]}'), "neither JSON"),
        (JudgeReply('{"better": 0}'), "neither JSON"),
        (JudgeReply("Both answers are wrong, but A is closer."), "neither JSON"),
        (JudgeReply("Both are good and A is better."), "neither JSON"),
        (JudgeReply("A is better, although B is right."), "neither JSON"),
        (JudgeReply("Answer 1: 2"), "neither JSON"),
        (JudgeReply("2"), "neither JSON"),
        (JudgeReply("The answer is 2, because 1 + 1 = 2."), "neither JSON"),
        (JudgeReply('{"answer": 2}'), "neither JSON"),
        (JudgeReply("B is", is_truncated=True), "truncated before the verdict"),
        (JudgeReply("So far A is better.\nBut B", is_truncated=True), "truncated before the verdict"),
        (JudgeReply('<seed:think>{"better": "A"}', is_truncated=True), "truncated while thinking"),
        (JudgeReply('<|begin_of_thought|>{"better": "A"}', is_truncated=True), "truncated while thinking"),
        (
            JudgeReply('<|channel|>analysis<|message|>{"better": "A"}', is_truncated=True),
            "truncated while thinking",
        ),
        (JudgeReply("{" * 5000), "neither JSON"),
        (JudgeReply("Answer A is good. Answer B is good too, in its way."), "neither JSON"),
        (JudgeReply("**Answer A**\nIt is short.\nThe text of B is better by far."), "neither JSON"),
        (JudgeReply("## Answer A\nIt is short."), "neither JSON"),
        (JudgeReply("Answer A is not better."), "neither JSON"),
        (JudgeReply("", refusal="I cannot help with that."), "refused: I cannot"),
    ],
)
def test_replies_without_a_verdict_say_why(reply: JudgeReply, words: str) -> None:
    with pytest.raises(UnreadableReply) as caught:
        read_verdict(reply)
    assert words in caught.value.message
    assert ("--max-tokens" in caught.value.hint) == (reply.is_truncated or bool(reply.thoughts))


def reply_with(message: dict[str, Any], finish: str = "stop") -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "A? No."}]},
    {"type": "text", "text": '{"better": '},
    {"type": "text", "text": '"B", "certainty": 70}'},
]


@pytest.mark.parametrize(
    ("message", "finish", "expected"),
    [
        ({"content": "Answer B", "reasoning_content": "A? No."}, "stop", JudgeReply("Answer B", "A? No.")),
        ({"content": None, "reasoning": "A?"}, "length", JudgeReply("", "A?", is_truncated=True)),
        ({"content": "", "thinking": "A?"}, "stop", JudgeReply("", "A?")),
        ({"content": PARTS}, "stop", JudgeReply('{"better": "B", "certainty": 70}', "A? No.")),
        ({"content": None, "refusal": "No."}, "stop", JudgeReply("", refusal="No.")),
        ({"content": None}, "content_filter", JudgeReply("", refusal="the server filtered the reply")),
        ({"role": "assistant"}, "stop", JudgeReply("")),
    ],
)
def test_what_servers_put_beside_the_text(
    server: Server, message: dict[str, Any], finish: str, expected: JudgeReply
) -> None:
    server.reply = lambda _: reply_with(message, finish)
    assert server_judge(server.url, "m")((Turn("user", "Which?"),)) == expected


def test_a_verdict_that_a_server_takes_for_a_thought(server: Server, tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 1)
    server.reply = lambda asked: reply_with(
        {
            "content": None,
            "reasoning_content": json.loads(prefers_longer(asked))["choices"][0]["message"]["content"],
        }
    )
    assert judge_collection(store, server_judge(server.url, "m"), "m", "x").proposed == 1


def test_an_unreadable_reply_leaves_its_item_to_the_next_judge(server: Server, tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 3)
    server.reply = lambda asked: (
        reply_with({"content": None, "reasoning_content": "Hm."}, "length")
        if "Question 1?" in asked
        else prefers_longer(asked)
    )
    report = judge_collection(store, server_judge(server.url, "m"), "m", "x")
    assert (report.proposed, report.undecided, report.unreadable) == (2, 0, 1)
    assert "truncated while thinking" in report.last_unreadable
    assert "1 not read and left open" in report.words
    assert {entry.item for entry in store.entries()} == {1, 3}
    server.reply = prefers_longer
    again = judge_collection(store, server_judge(server.url, "m"), "another", "x")
    assert (again.proposed, again.unreadable) == (1, 0)


def test_what_earlier_versions_could_not_read_is_judged_again(server: Server, tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 1)
    ids = tuple(answer.id for answer in store.item(1).answers)
    reasons = ("the reply could not be read", "the reply could not be read")
    store.propose(
        1,
        Proposal(
            judge="m", principles="x", answers=(ids[0], ids[1]), preferred=(None, None), reasons=reasons
        ),
    )
    server.reply = prefers_longer
    assert judge_collection(store, server_judge(server.url, "m"), "m", "x").proposed == 1


def test_a_judge_that_is_never_readable_ends(server: Server, tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 20)
    server.reply = lambda _: completion("I would rather not say.")
    with pytest.raises(UnreadableReply, match="rather not say"):
        judge_collection(store, server_judge(server.url, "m"), "m", "x")
    assert len(server.asked) == MOST_UNREADABLE
    assert store.entries() == []


def test_ties_are_told_from_orders_that_disagree(server: Server, tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 2)
    server.reply = lambda asked: completion(
        '{"better": "tie"}' if "Question 0?" in asked else '{"better": "A"}'
    )
    report = judge_collection(store, server_judge(server.url, "m"), "m", "x")
    assert (report.ties, report.undecided, report.unreadable) == (1, 1, 0)


def picky(body: dict[str, Any]) -> tuple[int, bytes]:
    """A server of newer models."""
    if "max_tokens" in body:
        said = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead."
        )
    elif "temperature" in body:
        said = (
            "Unsupported value: 'temperature' does not support 0 with this model. "
            "Only the default (1) value is supported."
        )
    else:
        return 200, completion('{"better": "A", "certainty": 90}')
    return 400, json.dumps({"error": {"message": said}}).encode()


def test_settings_that_a_newer_model_does_not_take_are_changed_once(server: Server) -> None:
    def reply(_: str) -> bytes:
        server.status, body = picky(server.asked[-1])
        return body

    server.reply = reply
    ask = server_judge(server.url, "m", max_tokens=777)
    assert "better" in ask((Turn("user", "Which?"),)).text
    assert "better" in ask((Turn("user", "Which?"),)).text
    kept = [{*body} - {"model", "messages"} for body in server.asked]
    assert kept == [
        {"max_tokens", "temperature"}, {"max_completion_tokens", "temperature"}, {"max_completion_tokens"},
        {"max_completion_tokens"},
    ]  # fmt: skip
    assert server.asked[-1]["max_completion_tokens"] == 777


def test_a_server_with_little_room_gets_a_lower_limit(server: Server) -> None:
    def reply(_: str) -> bytes:
        has_room = server.asked[-1]["max_tokens"] <= 300
        server.status = 200 if has_room else 400
        return completion("A") if has_room else b"This model's maximum context length is 1024 tokens."

    server.reply = reply
    assert server_judge(server.url, "m")((Turn("user", "Which?"),)).text == "A"
    with pytest.raises(TunerError, match="maximum context length"):  # what was asked for is not changed
        server_judge(server.url, "m", max_tokens=900)((Turn("user", "Which?"),))
