"""The layouts in which people keep rows: which one a sample of rows has, why, and each row in its shape's plain form.

The plain forms: `messages` (and `tools`); `prompt` and `completion`; `text`; `prompt`, `chosen` and `rejected`;
`prompt`, `completion` and `label`; `prompt`. A prompt or an answer is plain text, or turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tuner_tui.data.files.json_rows import Row
from tuner_tui.data.recognition import preferences
from tuner_tui.data.recognition.columns import (
    ANSWERS,
    CONTEXTS,
    LABELS,
    PROMPTS,
    QUESTIONS,
    SCORES,
    SYSTEMS,
    TEXTS,
    TURNS,
    Columns,
)
from tuner_tui.data.rows.labels import label_reader
from tuner_tui.data.rows.turns import RowFault, tools_of, turns_of

Shape = Literal["messages", "instruction", "prompt_completion", "text", "preference", "rated", "prompts"]
Convert = Callable[[Row], Row]

SURE_ENOUGH = 0.5
"""A detection with less confidence is used only when it is set explicitly."""


@dataclass(frozen=True)
class Layout:
    """What rows were recognised as."""

    shape: Shape
    variant: str
    """A short name, such as "ShareGPT conversations"."""
    confidence: float
    """From 0 to 1: how much speaks for it."""
    reason: str
    mapping: dict[str, str]
    """What is made of which columns: template lines by part, such as {"completion": "{answer}"}."""
    convert: Convert = field(repr=False, compare=False)
    """A row in the shape's plain form. Raises RowFault."""


def layouts_of(columns: Columns) -> list[Layout]:
    """Every layout that a sample of rows may have, the likeliest first."""
    found = [layout for finder in _FINDERS for layout in finder(columns)]
    return sorted(found, key=lambda layout: -layout.confidence)


def text_of(row: Row, name: str) -> str:
    """A field that must be text. Raises RowFault."""
    value = row.get(name)
    if not isinstance(value, str):
        told = "it is missing" if name not in row else f"it is {type(value).__name__}"
        raise RowFault("A field is not text", f"`{name}` must be text, but {told}.")
    return value


def answer_of(row: Row, name: str) -> str:
    """An answer's text; also the first of several, and SQuAD's `answers`. Raises RowFault."""
    value = row.get(name)
    if isinstance(value, dict):
        value = value.get("text", value.get("value"))
    if isinstance(value, list) and value and isinstance(value[0], str):
        return value[0]
    return text_of({name: value} if name in row else row, name)


def side_of(row: Row, name: str) -> str | list[dict[str, Any]]:
    """A prompt or an answer: text, or turns. Raises RowFault."""
    value = row.get(name)
    return turns_of(value, name) if isinstance(value, list | dict) else text_of(row, name)


# Conversations ---------------------------------------------------------------------------------------------


def _conversations(columns: Columns) -> Iterator[Layout]:
    name = columns.find(TURNS, "turns", "texts")
    if name is None:
        return
    if any(columns.find(pair[:1]) for pair in (("chosen",), ("rejected",))):
        return
    kind = columns.kinds[name]
    system, tools = columns.find(SYSTEMS, "text"), columns.find(("tools", "functions"))
    values = columns.values(name)
    is_sharegpt = kind == "turns" and any("from" in turn for turn in _first_turns(values))
    variant = "ShareGPT conversations" if is_sharegpt else "chat messages"
    reason = f"`{name}` holds turns, each with {'from and value' if is_sharegpt else 'role and content'}"
    confidence = 0.98
    if kind == "texts":
        variant, confidence = "turns without roles", 0.55
        reason = f"`{name}` is a list of texts, taken as user and assistant in turn"
    if tools is not None:
        variant += " with tools"
    mapping = {"messages": f"{{{name}}}"}
    mapping |= {"system": f"{{{system}}}"} if system else {}
    mapping |= {"tools": f"{{{tools}}}"} if tools else {}

    def convert(row: Row) -> Row:
        turns = turns_of(row.get(name), name)
        if (
            system
            and isinstance(row.get(system), str)
            and row[system].strip()
            and turns[0]["role"] != "system"
        ):
            turns.insert(0, {"role": "system", "content": row[system]})
        found: Row = {"messages": turns}
        if tools and (offered := tools_of(row.get(tools))):
            found["tools"] = offered
        return found

    label = columns.find(LABELS, "bool", "number", "text") or columns.find(SCORES, "number", "bool")
    read_label = label_reader(columns.values(label), label) if label else None
    if label and read_label:

        def convert_rated(row: Row) -> Row:
            turns = convert(row)["messages"]
            return {"prompt": turns[:-1], "completion": turns[-1:], "label": read_label(row.get(label))}

        rated = mapping | {"label": f"{{{label}}}"}
        yield Layout("rated", f"rated {variant}", 0.6, f"{reason}, rated by `{label}`", rated, convert_rated)
        confidence = min(confidence, 0.58 if label in LABELS else 0.9)
    if not _has_answers(columns, name):
        yield Layout(
            "prompts",
            "conversations that end with a prompt",
            0.9,
            f"{reason}, and none is the assistant's",
            {"prompt": f"{{{name}}}"},
            lambda row: {"prompt": convert(row)["messages"]},
        )
        confidence = 0.3
    yield Layout("messages", variant, confidence, reason, mapping, convert)


def _first_turns(values: list[Any]) -> Iterator[dict[str, Any]]:
    from tuner_tui.data.recognition.columns import as_json

    for value in values:
        turns = as_json(value) if isinstance(value, str) else value
        yield from (
            turn for turn in (turns if isinstance(turns, list) else [turns])[:1] if isinstance(turn, dict)
        )


def _has_answers(columns: Columns, name: str) -> bool:
    for value in columns.values(name):
        try:
            if any(turn["role"] == "assistant" for turn in turns_of(value, name)):
                return True
        except RowFault:
            return True  # its own complaint comes when it is read
    return False


def _turns_and_answer(columns: Columns) -> Iterator[Layout]:
    """A conversation in one column, the answer to it in another."""
    asked = columns.find(("input", "prompt", *TURNS), "turns")
    answer = columns.find(ANSWERS, "text", "turn", "turns")
    if asked is None or answer is None or asked == answer or columns.find(("completion",), "turns"):
        return

    def convert(row: Row) -> Row:
        value = row.get(answer)
        last = (
            [{"role": "assistant", "content": value}] if isinstance(value, str) else turns_of(value, answer)
        )
        return {"messages": [*turns_of(row.get(asked), asked), *last]}

    mapping = {"messages": f"{{{asked}}}", "assistant": f"{{{answer}}}"}
    confidence = 0.8 if not _has_answers(columns, asked) else 0.45
    reason = f"`{asked}` holds turns and `{answer}` the answer to them"
    yield Layout("messages", "turns and their answer", confidence, reason, mapping, convert)


# Questions and answers -------------------------------------------------------------------------------------


def _instructions(columns: Columns) -> Iterator[Layout]:
    asked = columns.find(QUESTIONS, "text")
    answer = columns.find(ANSWERS, "text", "texts", "object")
    if asked is None or answer is None or answer == asked:
        return
    more = next(
        (name for name in CONTEXTS if (found := columns.find((name,), "text", "empty")) and found != asked),
        None,
    )
    more = columns.find((more,)) if more else None
    system, history = columns.find(SYSTEMS, "text"), columns.find(("history",), "other", "empty")
    names = [f"`{name}`" for name in (system, asked, more, answer) if name]
    question = f"{{{asked}}}\n\n{{{more}}}" if more else f"{{{asked}}}"
    mapping = {"user": question, "assistant": f"{{{answer}}}"}
    mapping |= {"system": f"{{{system}}}"} if system else {}

    def convert(row: Row) -> Row:
        said = text_of(row, asked)
        extra = row.get(more) if more else None
        if isinstance(extra, str) and extra.strip():
            said = f"{said}\n\n{extra}"
        turns = [{"role": "user", "content": said}, {"role": "assistant", "content": answer_of(row, answer)}]
        earlier = row.get(history) if history else None
        for pair in reversed(earlier or []):
            turns[:0] = turns_of(pair, "history")
        if system and isinstance(row.get(system), str) and row[system].strip():
            turns.insert(0, {"role": "system", "content": row[system]})
        return {"messages": turns}

    lower = (asked.lower(), answer.lower())
    is_plain = lower in (("prompt", "completion"), ("input", "output"))
    confidence = 0.4 if lower == ("prompt", "completion") else 0.75 if is_plain else 0.95
    variant = "Alpaca" if lower == ("instruction", "output") else "question and answer"
    yield Layout("instruction", variant, confidence, f"{', '.join(names)} are an exchange", mapping, convert)


def _completions(columns: Columns) -> Iterator[Layout]:
    prompt = columns.find(("prompt",), "text", "turns", "empty")
    completion = columns.find(("completion",), "text", "turns", "turn", "empty")
    if prompt is None or completion is None:
        return

    def convert(row: Row) -> Row:
        begin, end = side_of(row, prompt), side_of(row, completion)
        if isinstance(begin, list) and isinstance(end, str):
            end = [{"role": "assistant", "content": end}]
        if isinstance(begin, str) and isinstance(end, list):
            begin = [{"role": "user", "content": begin}]
        return {"prompt": begin, "completion": end}

    mapping = {"prompt": f"{{{prompt}}}", "completion": f"{{{completion}}}"}
    reason = f"`{prompt}` is continued by `{completion}`"
    yield Layout("prompt_completion", "prompt and completion", 0.97, reason, mapping, convert)


def _rated(columns: Columns) -> Iterator[Layout]:
    prompt = columns.find(QUESTIONS, "text", "turns")
    answer = columns.find(("completion", "response", *ANSWERS), "text", "turns", "turn")
    label = columns.find(LABELS, "bool", "number", "text")
    score = columns.find(SCORES, "number", "bool")
    chosen = label or score
    if answer is None or chosen is None or prompt == answer:
        return
    read_label = label_reader(columns.values(chosen), chosen)
    if read_label is None:
        return

    def convert(row: Row) -> Row:
        found: Row = {"completion": side_of(row, answer), "label": read_label(row.get(chosen))}
        return ({"prompt": side_of(row, prompt)} if prompt else {}) | found

    mapping = {"prompt": f"{{{prompt}}}"} if prompt else {}
    mapping |= {"completion": f"{{{answer}}}", "label": f"{{{chosen}}}{read_label.rule}"}
    is_named = answer.lower() in ("completion", "response", "generation")
    confidence = (0.98 if label else 0.96) if is_named else 0.6 if label else 0.5
    if prompt is None and columns.kinds[answer] != "turns":
        confidence = 0.4
    reason = f"`{answer}` is one answer, rated by `{chosen}`{read_label.rule}"
    yield Layout("rated", "rated answers", confidence, reason, mapping, convert)


def _texts(columns: Columns) -> Iterator[Layout]:
    name = columns.find(TEXTS, "text", "empty")
    confidence = 0.9 if name == "text" else 0.7
    reason = f"`{name}` is plain text"
    if name is None:
        name = columns.find(("text",))
        confidence = 0.5
        reason = "there is a column `text`"
    if name is None:
        return
    plain: str = name
    yield Layout(
        "text",
        "plain text",
        confidence,
        reason,
        {"text": f"{{{plain}}}"},
        lambda row: {"text": text_of(row, plain)},
    )


def _prompts(columns: Columns) -> Iterator[Layout]:
    name = columns.find(PROMPTS, "text", "turns")
    if name is None:
        return
    asked: str = name
    has_answer = columns.find(ANSWERS) or columns.find(("chosen", "rejected")) or columns.find(TEXTS)
    confidence = 0.4 if has_answer not in (None, asked) else 0.8
    yield Layout(
        "prompts",
        "prompts alone",
        confidence,
        f"`{asked}` is a prompt, and there is no answer",
        {"prompt": f"{{{asked}}}"},
        lambda row: {"prompt": side_of(row, asked)},
    )


def _pairs(columns: Columns) -> Iterator[Layout]:
    for variant, confidence, reason, mapping, convert in preferences.find(columns):
        yield Layout("preference", variant, confidence, reason, mapping, convert)


_FINDERS: tuple[Callable[[Columns], Iterator[Layout]], ...] = (
    _pairs,
    _rated,
    _conversations,
    _turns_and_answer,
    _completions,
    _instructions,
    _texts,
    _prompts,
)
