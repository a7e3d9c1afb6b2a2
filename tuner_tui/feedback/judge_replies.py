"""What a judge replies, and the verdict in it; a reply without one is said to have none, and why."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner_tui.data.recognition.answer_columns import Answers
from tuner_tui.data.recognition.verdict_words import word_of
from tuner_tui.data.rows.written import as_object
from tuner_tui.errors import TunerError
from tuner_tui.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDES = Answers(("Answer A", "Answer B"), ("a", "b"), "letters")
NUMBERS = Answers(("Answer 1", "Answer 2"), ("1", "2"), "digits")
"""As judges call them that do not keep to the letters."""
VERDICT_KEYS = (
    "better",
    "better_answer",
    "winner",
    "verdict",
    "preferred",
    "preference",
    "choice",
    "best",
    "answer",
)
REASON_KEYS = ("reason", "explanation", "reasoning", "rationale", "justification")
CERTAINTY_KEYS = ("certainty", "confidence")
LIMIT_HINT = "Raise the limit: --max-tokens"
MOST_REASON = 1000
MOST_OBJECTS = 400
"""Braces at which an object is looked for."""
LONGEST_LINE = 300
"""Characters of a line that may be a verdict."""
_TAG = "(?:seed:)?(?:think|thinking|thought|thoughts|reasoning|reflection|analysis)"
_MARKS = (
    (rf"<{_TAG}>", rf"</{_TAG}>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"◁think▷", r"◁/think▷"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|think\|>", r"<\|/think\|>"),
    (r"<unused94>", r"<unused95>"),
    (r"<\|channel>thought", r"<channel\|>"),
    (r"<\|channel\|>\s*(?:analysis|commentary)", r"<\|end\|>"),
)
"""What stands around thoughts within a text, by model family: (before, after)."""
_THOUGHTS = re.compile("|".join(f"{begin}.*?{end}" for begin, end in _MARKS), re.DOTALL | re.IGNORECASE)
_END_OF_THOUGHTS = re.compile("|".join(end for _, end in _MARKS[:-1]), re.IGNORECASE)
_OPEN_THOUGHTS = re.compile("|".join(begin for begin, _ in _MARKS), re.IGNORECASE)
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final\s*<\|message\|>")
_SPECIAL = re.compile(
    r"<\|[a-z_]+\|>|</?(?:s|answer|verdict|decision|judge?ment|winner|better|choice|result|final|final_answer)>",
    re.IGNORECASE,
)
_FIELD = re.compile(
    rf"(?P<quote>(?<!\\)[\"']?)\b(?:{'|'.join(VERDICT_KEYS)})\b(?P=quote)\s*[:=]\s*[\"'*`]*\s*"
    r"(?P<side>(?:answer|response)?\s*[ab]\b|tie\b)[\"'*`]*\s*(?=[,}\]\n]|$)",
    re.IGNORECASE,
)
"""A field of an object that is not quite JSON, or truncated; nothing but the verdict is its value."""
_QUOTED_KEY = re.compile(r"[{,]\s*([\"'])\w+\1\s*:")
_LABEL = re.compile(
    r"^(?:(?:so|thus|therefore|overall|hence),?\s+)?(?:(?:the|my|final|overall)\s+)*"
    r"(?:verdict|decision|judge?ment|choice|winner|conclusion|better answer|better one|better|preference|result|answer)"
    r"\s*(?:is\b|would be\b|[:=\-\u2013])\s*:?\s*",
    re.IGNORECASE,
)
_BECAUSE = re.compile(r"\b(?:because|since|as|due to|for)\b|[,;(]|\s[-\u2013\u2014]\s", re.IGNORECASE)
_OBJECT = re.compile(r"(?<![a-z])\{[^{}]*\}")
"""An object, and not LaTeX's `\\boxed{...}`."""
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
_YET = re.compile(r"\b(?:but|however|although|though|yet|still|whereas|while|except)\b", re.IGNORECASE)
_LETTER = re.compile(r"\b(?:A(?!\s+(?:tie|draw)\b)|B)\b")
_BOTH = re.compile(r"\b(?:answer\s+)?([ab])\s+(?:and|nor)\s+(?:answer\s+)?(?!\1)[ab]\b", re.IGNORECASE)


class JudgeReply(NamedTuple):
    """One reply as the server or the worker gives it."""

    text: str
    thoughts: str = ""
    """What stands beside it as thoughts."""
    is_truncated: bool = False
    """Whether it ends at the limit."""
    refusal: str = ""
    """Why the model or the server would not answer."""


class Verdict(NamedTuple):
    """What one reply says; `better` is 0, 1, or None for a tie."""

    better: int | None
    certainty: float
    reason: str


class UnreadableReply(TunerError):
    """A reply without a verdict, which is none: the item stays open."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__("The judge's reply has no verdict", why, hint)


def read_verdict(reply: JudgeReply) -> Verdict:
    """The verdict in a reply: in its last JSON object that has one, else in a line that is nothing but a verdict.

    Raises UnreadableReply that says why there is none.
    """
    text, inline_thoughts = _parted(reply.text)
    verdict = _in_objects(text) or _in_field(text) or _in_lines(text, reply.is_truncated)
    if verdict is None and not text.strip() and not reply.is_truncated:
        # some servers take the whole answer for a thought
        verdict = _in_objects(reply.thoughts) or _in_objects(inline_thoughts)
    if verdict is not None:
        return verdict
    raise _unreadable(reply, text, bool(reply.thoughts.strip() or inline_thoughts.strip()))


def _unreadable(reply: JudgeReply, text: str, has_thoughts: bool) -> UnreadableReply:
    if reply.refusal and not text.strip():
        return UnreadableReply(f"refused: {plain(reply.refusal)[:200]}")
    if text.strip():
        shown = plain(" ".join(text.split()))
        shown = shown if len(shown) <= 120 else f"{shown[:119]}…"
        if reply.is_truncated:
            return UnreadableReply(f"truncated before the verdict: {shown!r}", LIMIT_HINT)
        return UnreadableReply(f"neither JSON with `better` nor a verdict in words: {shown!r}")
    if reply.is_truncated:
        what = (
            "empty: truncated while thinking; raise the limit"
            if has_thoughts
            else "empty: truncated; raise the limit"
        )
        return UnreadableReply(what, LIMIT_HINT)
    if has_thoughts:
        return UnreadableReply(
            "empty: it has reasoning but no answer", "Turn thinking off on the server, or raise --max-tokens"
        )
    return UnreadableReply("empty")


def _parted(text: str) -> tuple[str, str]:
    """(what is said, thoughts that stand within it)."""
    final = _FINAL_CHANNEL.split(text)
    if len(final) > 1:  # gpt-oss, where the server does not part the channels
        return _SPECIAL.sub("", final[-1]), _SPECIAL.sub("", " ".join(final[:-1]))
    thoughts = [match[0] for match in _THOUGHTS.finditer(text)]
    text = _THOUGHTS.sub("", text)
    *before, after = _END_OF_THOUGHTS.split(text)  # the template opened the tag
    thoughts += before
    answer, *unclosed = _OPEN_THOUGHTS.split(after, maxsplit=1)
    return _SPECIAL.sub("", answer), "\n".join([*thoughts, *unclosed])


def _in_objects(text: str) -> Verdict | None:
    verdict = None
    for reply in _objects(text):
        verdict = _of_object(reply) or verdict
    return verdict


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, one after the other; or Python's, where one is written so."""
    decoder = json.JSONDecoder(strict=False)
    place = text.find("{")
    for _ in range(MOST_OBJECTS):
        if place < 0:
            return
        end = place + 1
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            closing = text.find("}", place)
            value = as_object(text[place : closing + 1]) if 0 < closing < place + 4000 else None
        if isinstance(value, dict):
            yield value
        place = text.find("{", end)


def _of_object(reply: dict[str, Any]) -> Verdict | None:
    lower = {str(key).strip().lower(): value for key, value in reply.items()}
    for key in VERDICT_KEYS:
        value = lower.get(key)
        if isinstance(value, dict):
            return _of_object(value)
        if isinstance(value, list) and len(value) == 1:
            [value] = value
        if key != "answer" and str(value).strip() in NUMBERS.marks:
            value = f"Answer {value}"
        if isinstance(value, str) and (side := _side(value)) is not None:
            reason = next((lower[key] for key in REASON_KEYS if isinstance(lower.get(key), str)), "")
            certainty = next((lower[key] for key in CERTAINTY_KEYS if key in lower), None)
            return Verdict(side[0], _certainty(certainty), reason[:MOST_REASON])
    return None


def _in_field(text: str) -> Verdict | None:
    """The verdict of an object that is truncated or not quite JSON."""
    if "{" not in text:
        return None
    is_quoted = _QUOTED_KEY.search(text) is not None  # then a key without quotes stands within a value
    sides = {
        side
        for match in _FIELD.finditer(text)
        if (match["quote"] or not is_quoted) and (side := _side(match["side"])) is not None
    }
    return Verdict(sides.pop()[0], _certainty(None), "") if len(sides) == 1 else None


def _in_lines(text: str, is_truncated: bool) -> Verdict | None:
    """The verdict of the last line that is called one, else of the last sentence, else of lines that are nothing else.

    A heading is no verdict, and a line before others only where these do not speak of the other answer. Of a truncated
    text, whose last line is not at its end, only lines that are called verdicts are.
    """
    text = _OBJECT.sub("", text)
    lines = [line.strip().strip("> -") for line in text.splitlines() if line.strip()]
    if is_truncated:
        lines = lines[:-1]
    called = [
        side
        for line in (each.strip("#*_` ") for each in lines)
        if _LABEL.match(line) and (side := _side(line)) is not None
    ]
    if called or is_truncated:
        return Verdict(called[-1][0], _certainty(None), "") if called else None
    is_heading = [line.startswith("#") or line.endswith((":", ":**")) for line in lines]
    spoken = [
        None if heading else _side(line, is_whole=True)
        for line, heading in zip(lines, is_heading, strict=True)
    ]
    sides = {side for side in spoken if side is not None}
    last = [part for part in _SENTENCES.split(text.strip()) if part.strip("*_` ")][-1:]
    side = _side(last[0]) if last and not (is_heading and is_heading[-1]) else None
    if side is None and len(sides) == 1:
        [side] = sides
        other = {0: "B", 1: "A"}.get(-1 if side[0] is None else side[0])
        beside = "\n".join(line for line, each in zip(lines, spoken, strict=True) if each is None)
        if other is not None and re.search(rf"\b{other}\b", beside):
            return None
    if side is None or (sides and sides != {side}):
        return None
    return Verdict(side[0], _certainty(None), "")


def _side(text: str, *, is_whole: bool = False) -> tuple[int | None] | None:
    """(0,), (1,) or (None,) for a tie; None where a text is no verdict. Else than whole it may go on with a reason."""
    spoken = text.strip().strip("*_`\"' ").replace("**", "").replace("__", "")
    if not spoken or len(spoken) > LONGEST_LINE:
        return None
    boxed = re.search(r"\\boxed\{(?:\\text\{)?([^{}]*)\}", spoken)
    spoken = boxed[1] if boxed else spoken
    label = _LABEL.match(spoken)
    is_verdict = (
        label is not None
        and re.search(r"better|verdict|judg|choice|winner|prefer", label[0].lower()) is not None
    )
    spoken = _LABEL.sub("", spoken, count=1).strip().strip("*_`\"' ")
    spoken = _BOTH.sub("both", spoken)
    for part in (spoken,) if is_whole else (spoken, _BECAUSE.split(spoken)[0]):
        if part.strip("#. ").isdigit() and not is_verdict:
            return None  # a number alone may be what was asked for
        word = word_of(part, SIDES) if part.strip() else None
        if word is not None and word.kind == "number" and not _LETTER.search(part):
            word = word_of(part, NUMBERS) if _is_one_number(part) else None
        if word is None or word.kind not in ("choice", "tie", "both bad"):
            continue
        side = word.place if word.kind == "choice" else None
        return None if _is_taken_back(side, spoken, spoken[len(part) :]) else (side,)
    return None


def _is_one_number(text: str) -> bool:
    """Whether a text names one answer by its number, or compares two: "Winner: 2", "2 > 1"; and not "Answer 1: 2"."""
    numbers = re.findall(r"\d+", text)
    return len(numbers) == 1 or (
        len(numbers) == 2 and re.search(r"[<>=]|\b(?:than|over|beats)\b", text) is not None
    )


def _is_taken_back(side: int | None, spoken: str, rest: str) -> bool:
    """Whether what is said beside a verdict prefers another answer: "Both are good, but A is better"."""
    if side is None:
        return "=" not in spoken and _LETTER.search(spoken) is not None
    yet = _YET.search(rest)
    other = "BA"[side]
    return yet is not None and re.search(rf"\b{other}\b", rest[yet.end() :]) is not None


def _certainty(value: object) -> float:
    if isinstance(value, str):
        try:
            value = float(value.strip().rstrip("%"))
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0.5
    return min(1.0, max(0.0, value / 100))
