"""Text that is JSON, or Python as pandas and str() write it, decoded; and turns told from other text."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import msgspec

from tuner_tui.data.rows.roles import CALL_ROLES, ROLES

LONGEST_PYTHON = 1 << 20
"""Characters of Python text that are parsed; parsing takes some hundred times as much memory."""
ROLE_KEYS = ("role", "from", "speaker", "sender", "author")
CONTENT_KEYS = ("content", "value", "text", "parts", "message")
_TURNS = re.compile(
    r"\s*(?:array\(\s*)?\[\s*\{\s*[\"'](?:role|from|speaker|content|value)[\"']\s*:\s*(?:[\"'\[{]|None|null)"
)
"""How a list of turns begins as JSON or Python."""
_ROWS_OF_ARRAY = re.compile(r"\}\s*\n\s*\{")
"""Between two objects of a NumPy array, which writes no commas; a line end within a string is written as \\n."""


def as_json(value: Any) -> Any:
    """The list or object that a text is JSON of; None for other text, the value itself when it is no text."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not (text.startswith(("[", "{")) and text.endswith(("]", "}"))):
        return None
    try:
        return msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _with_halves(text) if "\\ud" in text.lower() else None


def _with_halves(text: str) -> Any:
    """JSON in which some program truncated an emoji: the half that is left becomes a replacement character."""
    try:
        return _without_halves(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _without_halves(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_halves(each) for each in value]
    if isinstance(value, dict):
        return {_without_halves(name): _without_halves(each) for name, each in value.items()}
    return value


def as_object(value: Any) -> Any:
    """As `as_json`; also the list or object that a text is Python of, such as "[{'role': 'user'}]"."""
    decoded = as_json(value)
    return _as_python(value) if decoded is None and isinstance(value, str) else decoded


def _as_python(value: str) -> Any:
    text = value.strip()
    if not text.startswith(("[", "{", "array(")) or not text.endswith(("]", "}", ")")):
        return None
    if len(text) > LONGEST_PYTHON or ("'" not in text and '"' not in text):
        return None
    try:
        tree = _Arrays().visit(ast.parse(_ROWS_OF_ARRAY.sub("},{", text), mode="eval"))
        found = ast.literal_eval(tree)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, list | dict) and _is_plain(found) else None


class _Arrays(ast.NodeTransformer):
    """Takes `array([...], dtype=object)` for its list, and `nan` for None."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "array" and len(node.args) == 1:
            return self.visit(node.args[0])  # type: ignore[no-any-return]
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(None) if node.id == "nan" else node


def _is_plain(value: Any) -> bool:
    """Whether a value is what JSON can say; an `...` that stands for left-out parts is not."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(each) for name, each in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def written_turns(text: str) -> list[dict[str, Any]] | None:
    """The turns, or the one, that a text is JSON or Python of; None for any other text."""
    start = text.lstrip()[:6]
    if start.startswith("{"):
        one = as_object(text) if any(key in text for key in ROLE_KEYS) else None
        return [one] if isinstance(one, dict) and is_known_turn(one) else None
    if not start.startswith(("[", "array(")):
        return None
    decoded = as_object(text)
    if not isinstance(decoded, list) or not decoded:
        return None
    if all(isinstance(each, str) for each in decoded):
        decoded = [as_object(each) for each in decoded]
    return decoded if all(map(is_known_turn, decoded)) else None


def is_known_turn(value: Any) -> bool:
    """Whether an object is a turn of somebody who is known, with what was said."""
    if not isinstance(value, dict):
        return False
    speaker = next((value[key] for key in ROLE_KEYS if isinstance(value.get(key), str)), None)
    if speaker is None or not (speaker.strip().lower() in ROLES or speaker.strip().lower() in CALL_ROLES):
        return False
    return any(key in value for key in (*CONTENT_KEYS, "tool_calls", "function_call"))


def looks_like_turns(text: str) -> bool:
    """Whether a text begins like a list of turns, whether or not it can be decoded."""
    return text.lstrip()[:1] in ("[", "a") and _TURNS.match(text) is not None
