"""Open WebUI's feedback: thumbs on an answer, with the chat that it stands in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tuner_tui.data.rows.faults import NothingPreferred, RowFault
from tuner_tui.data.rows.turns import turns_of

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row

_THOUGHTS = re.compile(
    r'\s*<details\s+type="(reasoning|code_interpreter)"[^>]*>(.*?)</details>\s*', re.DOTALL
)
_SUMMARY = re.compile(r"<summary>.*?</summary>", re.DOTALL)


def is_feedback(row: Row) -> bool:
    """Whether a row is one thumb of Open WebUI's."""
    data, meta = row.get("data"), row.get("meta")
    return isinstance(data, dict) and "rating" in data and isinstance(meta, dict) and "message_id" in meta


def rated_of_feedback(row: Row) -> Row:
    """A thumb as prompt, completion and label. Raises RowFault."""
    data, meta = row["data"], row["meta"]
    messages = _messages(row)
    answer = messages.get(str(meta["message_id"]))
    if answer is None:
        raise RowFault(
            "The answer is missing", "`snapshot.chat` does not hold the message that `meta.message_id` names."
        )
    rating = _rating(data.get("rating"))
    path = _path(messages, answer)
    plain: Row = {
        "prompt": turns_of([_turn(each) for each in path], "snapshot.chat"),
        "completion": turns_of([_turn(answer)], "snapshot.chat"),
        "label": rating > 0,
    }
    model = data.get("model_id") or meta.get("model_id") or answer.get("model")
    details = {f"data.{name}": value for name, value in data.items() if name not in ("rating", "model_id")}
    return plain | ({"completion_model": model} if isinstance(model, str) else {}) | details


def _rating(value: Any) -> float:
    """1 or -1: a thumb up or down. Raises RowFault."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if value in (None, "", 0, "0"):
        raise NothingPreferred("not annotated", f"`data.rating` is {value!r}.")
    if number not in (1, -1):
        raise RowFault("Unknown rating", f"`data.rating` is {value!r}; expected 1 or -1.")
    return number


def _messages(row: Row) -> dict[str, Row]:
    """The chat's messages by id. Raises RowFault where the export holds none."""
    chat = ((row.get("snapshot") or {}).get("chat") or {}).get("chat") or {}
    history = (chat.get("history") or {}).get("messages") or {}
    if not history:
        history = {str(each.get("id")): each for each in chat.get("messages") or []}
    if not history:
        raise RowFault(
            "The chat is missing",
            "`snapshot.chat` is absent, so neither prompt nor answer is in the file.",
            "Export it as an administrator: Admin Panel, Evaluations, Feedbacks, Export.",
        )
    return {str(name): each for name, each in history.items() if isinstance(each, dict)}


def _path(messages: dict[str, Row], answer: Row) -> list[Row]:
    """The messages before an answer, from the first on. Raises RowFault for a circle or none."""
    path: list[Row] = []
    above = answer.get("parentId")
    while above is not None and (message := messages.get(str(above))) is not None:
        if any(message is each for each in path):
            raise RowFault("Messages answer each other in a circle", "`snapshot.chat` has no first message.")
        path.insert(0, message)
        above = message.get("parentId")
    if not path:
        raise RowFault("The prompt is missing", "no message stands before the rated one in `snapshot.chat`.")
    return path


def _turn(message: Row) -> Row:
    """A message as a turn, its thoughts apart from its text."""
    content = message.get("content")
    turn: Row = {"role": message.get("role"), "content": content}
    if isinstance(content, str) and (blocks := _THOUGHTS.findall(content)):
        thoughts = [_SUMMARY.sub("", text) for kind, text in blocks if kind == "reasoning"]
        turn["content"] = _THOUGHTS.sub("", content)
        lines = "\n\n".join(thoughts).strip().splitlines()
        if lines:
            turn["reasoning_content"] = "\n".join(
                line.removeprefix("> ").removeprefix(">") for line in lines
            ).strip()
    return turn
