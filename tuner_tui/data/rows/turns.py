"""Turns of a conversation in one form, whatever dialect they came in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tuner_tui.data.recognition.columns import EXCHANGES, as_json, is_exchange
from tuner_tui.data.rows.roles import ROLES

_HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant|System): ?")
_HH_ROLES = {"Human": "user", "Assistant": "assistant", "System": "system"}
_PLAIN_ROLES = ("system", "user", "assistant", "tool")
_KEPT = ("name", "tool_call_id", "reasoning_content", "weight")


class RowFault(ValueError):
    """What is wrong with a row; its reader adds file and line."""

    def __init__(self, title: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.title, self.message, self.hint = title, message, hint


def turns_of(value: Any, name: str) -> list[dict[str, Any]]:
    """Turns as `role` and `content`, with tool calls and the like where there are any. Raises RowFault.

    Takes OpenAI's and ShareGPT's dialects, either as JSON in a text, and a list of texts that user and assistant say
    in turn.
    """
    turns = as_json(value) if isinstance(value, str) else value
    if isinstance(turns, dict):
        turns = [turns]
    if not isinstance(turns, list) or not turns:
        raise RowFault("A row has no turns", f"`{name}` must be a list of turns.")
    if isinstance(turns[0], str) and all(isinstance(turn, str) for turn in turns):
        return [
            {"role": ("user", "assistant")[place % 2], "content": turn} for place, turn in enumerate(turns)
        ]
    if isinstance(turns[0], dict) and is_exchange(turns[0]) and all(map(_is_exchange, turns)):
        turns = [turn for exchange in turns for turn in _both(exchange)]
    return [_plain_turn(turn) or _turn(turn, f"{name}[{place}]") for place, turn in enumerate(turns)]


def _plain_turn(turn: Any) -> dict[str, Any] | None:
    """A turn of the commonest dialect, which needs no more than a look."""
    if type(turn) is dict and len(turn) == 2 and type(turn.get("content")) is str:
        return turn if turn.get("role") in _PLAIN_ROLES else None
    return None


def _is_exchange(turn: Any) -> bool:
    return isinstance(turn, dict) and is_exchange(turn)


def _both(exchange: dict[str, Any]) -> Iterator[dict[str, Any]]:
    asked, answer = next(pair for pair in EXCHANGES if pair[0] in exchange and pair[1] in exchange)
    yield {"role": "user", "content": exchange[asked]}
    yield {"role": "assistant", "content": exchange[answer]}


def _turn(turn: Any, where: str) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise RowFault("A turn is not an object", f"{where} must have `role` and `content`.")
    said = next((turn[key] for key in ("role", "from", "speaker") if turn.get(key) is not None), None)
    content = next((turn[key] for key in ("content", "value", "text") if turn.get(key) is not None), None)
    if said == "function_call":  # ShareGPT's way to write a call
        call = as_json(content)
        if isinstance(call, dict | list):
            return {"role": "assistant", "content": "", "tool_calls": _calls(call)}
        said = "assistant"
    role = ROLES.get(said.strip().lower()) if isinstance(said, str) else None
    if role is None:
        raise RowFault("Unknown role", f"{where}: {said!r}; known: {', '.join(ROLES)}.")
    calls = turn.get("tool_calls") or ([turn["function_call"]] if turn.get("function_call") else None)
    if content is None and (calls or turn.get("reasoning_content")):
        content = ""
    found: dict[str, Any] = {"role": role, "content": _content(content, where)}
    if calls:
        found["tool_calls"] = _calls(calls)
    found |= {key: turn[key] for key in _KEPT if turn.get(key) is not None}
    if "thinking" in turn and isinstance(turn["thinking"], str):
        found.setdefault("reasoning_content", turn["thinking"])
    return found


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):  # parts, as in newer dialects
        kinds = [part.get("type", "text") if isinstance(part, dict) else "text" for part in content]
        if other := next((kind for kind in kinds if kind not in ("text", "input_text", "output_text")), None):
            raise RowFault(
                "A turn's content is not text",
                f"{where}: `content` holds {other!r}, and only text is trained.",
            )
        texts = [part.get("text") if isinstance(part, dict) else part for part in content]
        whole = [text for text in texts if isinstance(text, str)]
        if whole and len(whole) == len(texts):
            return "".join(whole)
    raise RowFault("A turn's content is not text", f"{where}: `content` is {type(content).__name__}.")


def _calls(calls: Any) -> list[dict[str, Any]]:
    """Tool calls as templates take them: with arguments as an object, not as JSON in a text."""
    decoded = as_json(calls) if isinstance(calls, str) else calls
    found = []
    for call in decoded if isinstance(decoded, list) else [decoded]:
        inner = call.get("function", call) if isinstance(call, dict) else {}
        inner = inner if isinstance(inner, dict) else {"name": str(inner)}
        arguments = inner.get("arguments", inner.get("parameters", {}))
        decoded_arguments = as_json(arguments)
        function = {
            "name": str(inner.get("name", "")),
            "arguments": arguments if decoded_arguments is None else decoded_arguments,
        }
        found.append({"type": "function", "function": function} | _identity(call))
    return found


def _identity(call: Any) -> dict[str, Any]:
    return {"id": call["id"]} if isinstance(call, dict) and isinstance(call.get("id"), str) else {}


def tools_of(value: Any) -> list[Any]:
    """The tools that a conversation may call; empty when there are none. Raises RowFault."""
    tools = as_json(value) if isinstance(value, str) else value
    if value in (None, "", []):
        return []
    if isinstance(tools, dict):
        tools = [tools]
    if not isinstance(tools, list):
        raise RowFault("The tools are not a list", f"`tools` is {type(value).__name__}.")
    return [
        {"type": "function", "function": tool} if isinstance(tool, dict) and "function" not in tool else tool
        for tool in tools
    ]


def is_hh(text: Any) -> bool:
    """Whether a text is a dialogue of "Human:" and "Assistant:" paragraphs."""
    return isinstance(text, str) and text.lstrip().startswith("Human:") and "\n\nAssistant:" in text


def hh_turns(text: str, name: str) -> list[dict[str, Any]]:
    """The turns of such a dialogue. Raises RowFault."""
    parts = _HH_TURN.split(text.strip())
    if len(parts) < 3 or parts[0].strip():
        raise RowFault("A dialogue cannot be read", f"`{name}` does not begin with Human: or Assistant:.")
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": _HH_ROLES[who], "content": said.strip()} for who, said in pairs]
