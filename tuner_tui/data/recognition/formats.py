"""The layouts in which people keep rows: which one a sample of rows has, why, and each row in its shape's plain form.

The plain forms: `messages`; `prompt` and `completion`; `text`; `prompt`, `chosen` and `rejected`; `prompt`,
`completion` and `label`; `prompt`. A prompt or an answer is plain text, or turns; beside turns there may be `tools` and
`chat_template_kwargs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition import preferences, rated
from tuner_tui.data.recognition.columns import (
    ANSWERS,
    CHOICE_LISTS,
    LABELS,
    PROMPTS,
    QUESTIONS,
    SCORES,
    TEXTS,
    TURNS,
    Columns,
)
from tuner_tui.data.recognition.fields import (
    answer_of,
    as_turns,
    earlier_turns,
    is_missing,
    said_of,
    side_of,
    text_of,
    with_context,
)
from tuner_tui.data.recognition.layout import Layout as Layout
from tuner_tui.data.recognition.layout import Shape as Shape
from tuner_tui.data.recognition.side_columns import SideColumns
from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.labels import label_reader
from tuner_tui.data.rows.tool_calls import written_calls
from tuner_tui.data.rows.turns import turns_of
from tuner_tui.data.rows.written import as_object

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row

SURE_ENOUGH = 0.5
"""A detection with less confidence is used only when it is set explicitly."""


def layouts_of(columns: Columns) -> list[Layout]:
    """Every layout that a sample of rows may have, the likeliest first."""
    found = [layout for finder in _FINDERS for layout in finder(columns)]
    return sorted(found, key=lambda layout: -layout.confidence)


# Conversations ---------------------------------------------------------------------------------------------


def _conversations(columns: Columns) -> Iterator[Layout]:
    name = columns.find(TURNS, "turns", "texts") or columns.find(TEXTS, "turns")
    name = name or columns.find(
        ("messages", "conversations"), "objects", "other"
    )  # its reader says what is wrong
    if name is None:
        return
    if any(columns.find(pair[:1]) for pair in (("chosen",), ("rejected",))):
        return
    if name.lower() == "history" and columns.find(QUESTIONS, "text") and columns.find(ANSWERS, "text"):
        return  # the turns before a question
    kind = columns.kinds[name]
    beside = SideColumns.of(columns)
    values = columns.values(name)
    is_sharegpt = kind == "turns" and any("from" in turn for turn in _first_turns(values))
    variant = "ShareGPT conversations" if is_sharegpt else "chat messages"
    reason = f"`{name}` holds turns, each with {'from and value' if is_sharegpt else 'role and content'}"
    confidence = 0.98
    if kind == "texts":
        # `turns` of a benchmark are questions one after the other
        variant, confidence = "turns without roles", 0.4 if name.lower() == "turns" else 0.55
        reason = f"`{name}` is a list of texts, taken as user and assistant in turn"
    if beside.tools is not None and columns.kinds[beside.tools] != "empty":
        variant += " with tools"
    mapping = {"messages": f"{{{name}}}"} | beside.mapping
    used = (name, *beside.names)

    def convert(row: Row) -> Row:
        return {"messages": beside.begin(row, turns_of(row.get(name), name))} | beside.beside(row)

    label = columns.find(LABELS, "bool", "number", "text") or columns.find(SCORES, "number", "bool")
    read_label = label_reader(columns.values(label), label) if label else None
    if label and read_label:

        def convert_rated(row: Row) -> Row:
            plain = convert(row)
            turns = plain.pop("messages")
            return {
                "prompt": turns[:-1],
                "completion": turns[-1:],
                "label": read_label(row.get(label)),
            } | plain

        rated = mapping | {"label": f"{{{label}}}"}
        yield Layout(
            "rated",
            f"rated {variant}",
            0.6,
            f"{reason}, rated by `{label}`",
            rated,
            convert_rated,
            (*used, label),
        )
        confidence = min(confidence, 0.58 if label in LABELS else 0.9)
    if not _has_answers(columns, name):

        def convert_prompts(row: Row) -> Row:
            plain = convert(row)
            return {"prompt": plain.pop("messages")} | plain

        answer = columns.find(ANSWERS, "text", "turn", "turns")
        yield Layout(
            "prompts",
            "conversations that end with a prompt",
            0.9 if answer is None else 0.7,  # below `_turns_and_answer`
            f"{reason}, and none is the assistant's",
            {"prompt": f"{{{name}}}"} | beside.mapping,
            convert_prompts,
            used,
        )
        confidence = 0.3
    yield Layout("messages", variant, confidence, reason, mapping, convert, used)


def _first_turns(values: list[Any]) -> Iterator[dict[str, Any]]:
    for value in values:
        turns = as_object(value) if isinstance(value, str) else value
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
    asked = columns.find(("input", "prompt", *QUESTIONS, *TURNS), "turns")
    answer = columns.find(ANSWERS, "text", "turn", "turns", "number")
    question = asked or columns.find(QUESTIONS, "text")
    if question is None or answer is None or question == answer or columns.find(("completion",), "turns"):
        return
    if asked is None and columns.kinds[answer] not in ("turn", "turns"):
        return
    beside = SideColumns.of(columns, thoughts=True)

    def convert(row: Row) -> Row:
        last = as_turns(side_of(row, answer), "assistant")
        if last[-1]["role"] == "assistant":
            last = [*last[:-1], {**beside.thought(row), **last[-1]}]
        turns = [*as_turns(side_of(row, question), "user"), *last]
        return {"messages": beside.begin(row, turns)} | beside.beside(row)

    mapping = {"messages": f"{{{question}}}", "assistant": f"{{{answer}}}"} | beside.mapping
    confidence = 0.8 if asked is None or not _has_answers(columns, asked) else 0.45
    reason = f"`{question}` holds turns and `{answer}` the answer to them"
    yield Layout(
        "messages",
        "turns and their answer",
        confidence,
        reason,
        mapping,
        convert,
        (question, answer, *beside.names),
    )


# Questions and answers -------------------------------------------------------------------------------------


def _instructions(columns: Columns) -> Iterator[Layout]:
    asked = columns.find(QUESTIONS, "text", "number")
    answer = columns.find(ANSWERS, "text", "texts", "object", "number")
    if asked is None or answer is None or answer == asked:
        return
    more = columns.context_of(asked)
    beside, history = SideColumns.of(columns, thoughts=True), _history_column(columns)
    names = [f"`{name}`" for name in (beside.system, asked, more, beside.thoughts, answer) if name]
    question = f"{{{asked}}}\n\n{{{more}}}" if more else f"{{{asked}}}"
    mapping = {"user": question, "assistant": f"{{{answer}}}"} | beside.mapping
    if history:
        mapping = {"history": f"{{{history}}}"} | mapping

    def convert(row: Row) -> Row:
        extra = beside.beside(row)
        calls = written_calls(row.get(answer), extra.get("tools", ()), answer)
        answered: Row = {"content": "", "tool_calls": calls} if calls else {"content": answer_of(row, answer)}
        turns: list[Row] = [
            {"role": "user", "content": with_context(said_of(row, asked), row, more)},
            {"role": "assistant", **answered, **beside.thought(row)},
        ]
        return {"messages": beside.begin(row, [*earlier_turns(row, history), *turns])} | extra

    lower = (asked.lower(), answer.lower())
    is_plain = lower in (("prompt", "completion"), ("input", "output"))
    confidence = 0.4 if lower == ("prompt", "completion") else 0.75 if is_plain else 0.95
    if columns.kinds[answer] == "number" and columns.find(
        CHOICE_LISTS, "texts", "object", "objects", "other"
    ):
        confidence = 0.3  # the place of a choice
    variant = "Alpaca" if lower == ("instruction", "output") else "question and answer"
    used = tuple(name for name in (asked, more, answer, history, *beside.names) if name)
    yield Layout(
        "instruction", variant, confidence, f"{', '.join(names)} are an exchange", mapping, convert, used
    )


def _history_column(columns: Columns) -> str | None:
    """The column of the turns before a question; of a text column, one that is lists written as text."""
    name = columns.find(("history",), "other", "empty", "turns", "texts", "text")
    if name is None or columns.kinds[name] != "text":
        return name
    values = [value for value in columns.values(name) if value != ""]
    return name if all(isinstance(as_object(value), list) or is_missing(value) for value in values) else None


def _completions(columns: Columns) -> Iterator[Layout]:
    prompt = columns.find(("prompt",), "text", "turns", "turn", "empty")
    completion = columns.find(("completion",), "text", "turns", "turn", "empty", "number")
    if prompt is None or completion is None:
        return
    beside = SideColumns.of(columns)

    def convert(row: Row) -> Row:
        begin, end = side_of(row, prompt), side_of(row, completion)
        if isinstance(begin, str) and isinstance(end, str) and not beside.has_system(row):
            return {"prompt": begin, "completion": end} | beside.beside_text(row)
        begin = beside.begin(row, as_turns(begin, "user"))
        return {"prompt": begin, "completion": as_turns(end, "assistant")} | beside.beside(row)

    mapping = {"prompt": f"{{{prompt}}}", "completion": f"{{{completion}}}"} | beside.mapping
    reason = f"`{prompt}` is continued by `{completion}`"
    used = (prompt, completion, *beside.names)
    yield Layout("prompt_completion", "prompt and completion", 0.97, reason, mapping, convert, used)


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
        (plain,),
    )


def _prompts(columns: Columns) -> Iterator[Layout]:
    name = columns.find(PROMPTS, "text", "turns")
    if name is None:
        return
    asked: str = name
    beside = SideColumns.of(columns)
    has_answer = columns.find(ANSWERS) or columns.find(("chosen", "rejected")) or columns.find(TEXTS)
    confidence = 0.4 if has_answer not in (None, asked) else 0.8

    def convert(row: Row) -> Row:
        prompt = side_of(row, asked)
        if isinstance(prompt, str) and not beside.has_system(row):
            return {"prompt": prompt} | beside.beside_text(row)
        return {"prompt": beside.begin(row, as_turns(prompt, "user"))} | beside.beside(row)

    yield Layout(
        "prompts",
        "prompts alone",
        confidence,
        f"`{asked}` is a prompt, and there is no answer",
        {"prompt": f"{{{asked}}}"} | beside.mapping,
        convert,
        (asked, *beside.names),
    )


_FINDERS: tuple[Callable[[Columns], Iterator[Layout]], ...] = (
    preferences.find,
    rated.find,
    _conversations,
    _turns_and_answer,
    _completions,
    _instructions,
    _texts,
    _prompts,
)
