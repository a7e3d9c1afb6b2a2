"""A turn's content, whether text or parts, taken apart: text, thoughts, tool calls and tool results."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.flags import MASK_FLAGS, TRAIN_FLAGS, marked
from tuner_tui.data.rows.tool_calls import NAME_KEYS, call_of
from tuner_tui.data.rows.unused import pass_over
from tuner_tui.data.rows.written import as_object

_TEXTS = ("text", "input_text", "output_text", "refusal")
_TEXT_KEYS = ("text", "content", "value", "refusal")
_THOUGHT_KEYS = ("thinking", "reasoning", "reasoningText", "text", "content", "summary", "value")
_RESULT_KEYS = ("content", "output", "result", "response")
_RESULT_ID_KEYS = ("tool_use_id", "tool_call_id", "call_id", "toolUseId", "toolCallId", "id")
_THOUGHTS = ("thinking", "reasoning", "reasoning.text", "thought", "summary_text")
CALL_TYPES = ("tool_use", "tool_call", "tool-call", "function_call", "toolUse", "functionCall")
RESULT_TYPES = (
    "tool_result",
    "function_call_output",
    "tool_response",
    "tool-result",
    "toolResult",
    "functionResponse",
    "function_response",
)
_WRAPPED = (
    "toolUse", "functionCall", "function_call", "toolResult", "functionResponse", "function_response",
    "reasoningContent",
)  # fmt: skip
"""Bedrock's and Gemini's parts: an object whose one key says what it is."""
_NOT_SAID = ("type", "signature", "cache_control")
"""Keys of a part that say nothing about the conversation."""
_RESULT_VALUES = ("text", "json", "error-text", "error-json")
"""What the Vercel AI SDK says that a result's `value` is."""
_ENCRYPTED = ("reasoning.encrypted", "redacted_thinking")
"""Thoughts that a service does not show."""
_PASSED_OVER = ("redacted_thinking", "cachePoint", "cache_point")


@dataclass
class Content:
    """What a turn says, by kind."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    """Turns of the role tool."""
    marks: list[bool | None] = field(default_factory=list)
    """Whether each text, thought and call is marked as trained; None where it is not marked."""

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def is_untrained(self, role: str, where: str) -> bool:
        """Whether the whole turn is marked as not to be trained.

        Raises RowFault where only a part of an answer is; of another turn such a mark is named as not used.
        """
        if role != "assistant" and {*self.marks} not in (set(), {None}, {False}):
            _pass_over(where, "weight" if False in self.marks else f"weight (of {role} turns)")
            return False
        if False in self.marks and set(self.marks) != {False}:
            raise RowFault(
                "A part of a turn is marked as not trained",
                f"{where}: some parts of `content` are marked so, and others are not.",
                "A turn is trained as a whole or not at all: split it, or remove the marks.",
            )
        return False in self.marks


def content_of(content: Any, role: str, where: str) -> Content:
    """Content taken apart. Raises RowFault for what is no text, such as images."""
    found = Content()
    if isinstance(content, str) and (written := _written_parts(content)) is not None:
        content = written
    if isinstance(content, str):
        found.texts.append(content)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        found.texts.append(str(content))
    elif role == "tool" and content is None:
        found.texts.append("")
    elif role == "tool" and not _is_parts(content):
        found.texts.append(json.dumps(content, ensure_ascii=False))  # a result is any object
    elif isinstance(content, dict):
        inner = content.get("parts")
        _take_all(inner if isinstance(inner, list) else [content], found, where)
    elif isinstance(content, list) and (content or role == "tool"):
        _take_all(content, found, where)
    else:
        raise RowFault("A turn's content is not text", f"{where}: `content` is {_kind(content)}.")
    return found


def _written_parts(content: str) -> list[dict[str, Any]] | None:
    """The parts, each a text, that a content is JSON or Python of; None for any other text."""
    if not content.startswith("[{") or "type" not in content:
        return None
    parts = as_object(content)
    is_text = isinstance(parts, list) and all(
        isinstance(part, dict) and part.get("type") in _TEXTS and {*_given(part)} <= {"type", "text"}
        for part in parts
    )
    return parts if is_text else None


def _is_parts(content: Any) -> bool:
    if isinstance(content, dict) and isinstance(content.get("parts"), list):
        return True
    parts = content if isinstance(content, list) else [content]
    return all(
        isinstance(part, str)
        or (
            isinstance(part, dict)
            and (
                part.get("type") in (*_TEXTS, *RESULT_TYPES)
                or {*_given(part)} in ({"text"}, *({each} for each in _WRAPPED))
            )
        )
        for part in parts
    )


def _take_all(parts: list[Any], found: Content, where: str) -> None:
    for part in parts:
        if isinstance(part, str):
            found.texts.append(part)
        elif isinstance(part, dict):
            _take(_given(part), found, where)
        elif part is not None:
            raise RowFault("A turn's content is not text", f"{where}: a part is {type(part).__name__}.")


def _given(part: dict[str, Any]) -> dict[str, Any]:
    """A part without what says nothing, such as keys that Parquet adds."""
    return {key: value for key, value in part.items() if value is not None}


def _take(part: dict[str, Any], found: Content, where: str) -> None:
    is_trained, unread = marked(part)
    for key in unread:
        _pass_over(where, key)
    part = {key: value for key, value in part.items() if key not in (*TRAIN_FLAGS, *MASK_FLAGS)}
    kind = part.get("type")
    wrapped = next((key for key in _WRAPPED if isinstance(part.get(key), dict)), None)
    if kind is None and wrapped:
        kind, part = wrapped, part[wrapped]
    if kind in CALL_TYPES:
        inner = next(
            (part[key] for key in ("tool_call", "value", "content") if part.get(key) is not None), part
        )
        found.calls.append(call_of(inner if isinstance(inner, str | dict) else part, where))
        found.marks.append(is_trained)
    elif kind in RESULT_TYPES:
        result = _result(part, where)
        found.results.append({**result, "weight": 0} if is_trained is False else result)
    elif kind in _THOUGHTS or kind == "reasoningContent" or part.get("thought") is True:
        found.thoughts.append(thought_of(part, where))
        found.marks.append(is_trained)
        used = (*_THOUGHT_KEYS, "thought")
        _pass_over_others(part, used, where)
    elif kind in _PASSED_OVER or next(iter(part), None) in _PASSED_OVER:
        _pass_over(where, str(kind or next(iter(part))))
    elif kind is None or kind in _TEXTS:
        named = next((key for key in _TEXT_KEYS if isinstance(part.get(key), str)), None)
        if named is None:
            raise RowFault(
                "A turn's content is not text",
                f"{where}: a part has {', '.join(map(repr, part)) or 'nothing'}, and only text is trained.",
            )
        found.texts.append(part[named])
        found.marks.append(is_trained)
        _pass_over_others(part, (named,), where)
    else:
        raise RowFault(
            "A turn's content is not text", f"{where}: `content` holds {kind!r}, and only text is trained."
        )


def thought_of(value: Any, where: str) -> str:
    """Thoughts as text, whichever way they are wrapped. Raises RowFault."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(thought_of(each, where) for each in value)
    if isinstance(value, dict) and value.get("type") in _ENCRYPTED:
        pass_over(f"{where.partition('[')[0]}[].{value['type']}")
        return ""
    if isinstance(value, dict):
        given = [key for key in _THOUGHT_KEYS if value.get(key) is not None]
        filled = [key for key in given if value[key] not in ("", [], {})]
        for key in filled[1:]:
            if value[key] != value[filled[0]]:
                pass_over(f"{where.partition('[')[0]}[].reasoning.{key}")
        if given:
            return thought_of(value[(filled or given)[0]], where)
    raise RowFault("Reasoning is not text", f"{where}: it is {_kind(value)}.")


def _result(part: dict[str, Any], where: str) -> dict[str, Any]:
    """A tool's result as a turn of its own."""
    content = next((part[key] for key in _RESULT_KEYS if part.get(key) is not None), "")
    if isinstance(content, dict) and {*content} == {"type", "value"} and content["type"] in _RESULT_VALUES:
        content = content["value"]
    if isinstance(content, list) and all(isinstance(each, dict) and "json" in each for each in content):
        content = content[0]["json"] if len(content) == 1 else [each["json"] for each in content]
    turn = {"role": "tool", "content": content_of(content, "tool", where).text}
    number = next((part[key] for key in _RESULT_ID_KEYS if part.get(key)), None)
    if number is not None:
        turn["tool_call_id"] = str(number)
    if (name := next((part[key] for key in NAME_KEYS if isinstance(part.get(key), str)), None)) is not None:
        turn["name"] = name
    _pass_over_others(part, (*_RESULT_KEYS, *_RESULT_ID_KEYS, *NAME_KEYS), where)
    return turn


def _pass_over_others(part: dict[str, Any], used: tuple[str, ...], where: str) -> None:
    """Say which keys of a part are not used; one that says nothing, or that all is well, is not worth a word."""
    for key, value in part.items():
        if key not in (*used, *_NOT_SAID) and value not in (None, "", [], {}, False):
            _pass_over(where, key)


def _pass_over(where: str, key: str) -> None:
    pass_over(f"{where.partition('[')[0]}[].content[].{key}")


def _kind(value: Any) -> str:
    return "empty" if value in ([], {}) else "null" if value is None else type(value).__name__
