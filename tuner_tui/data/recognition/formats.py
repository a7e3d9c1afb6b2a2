"""The layouts in which people keep rows: which one a sample of rows has, why, and each row in its shape's plain form.

The plain forms: `messages`; `prompt` and `completion`; `text`; `prompt`, `chosen` and `rejected`; `prompt`,
`completion` and `label`; `prompt`. A prompt or an answer is plain text, or turns; beside turns there may be `tools` and
`chat_template_kwargs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tuner_tui.data.files.json_rows import Row
from tuner_tui.data.recognition import preferences
from tuner_tui.data.recognition.columns import (
    ANSWERS,
    CHOICE_LISTS,
    CONTEXTS,
    LABELS,
    PROMPTS,
    QUESTIONS,
    SCORES,
    TEXTS,
    TURNS,
    Columns,
)
from tuner_tui.data.recognition.fields import answer_of, as_turns, optional_text, said_of, side_of, text_of
from tuner_tui.data.recognition.side_columns import SideColumns
from tuner_tui.data.recognition.verdicts import number_of
from tuner_tui.data.rows.comparison import Comparison
from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.labels import LabelReader, label_reader
from tuner_tui.data.rows.turns import turns_of
from tuner_tui.data.rows.written import as_object

if TYPE_CHECKING:
    from tuner_tui.data.recognition.findings import Finding

Shape = Literal["messages", "instruction", "prompt_completion", "text", "preference", "rated", "prompts"]
Convert = Callable[[Row], Row]

HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
HELPSTEER_SCALE = (0.0, 4.0)
"""https://huggingface.co/datasets/nvidia/HelpSteer2: each attribute is 0 to 4, whatever the first rows have."""
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
    used: tuple[str, ...] = ()
    """The columns that it is made of; the others are not used."""
    compare: Callable[[Row], Comparison] | None = field(default=None, repr=False, compare=False)
    """A row with every verdict that it holds, where that is more than the plain form. Raises RowFault."""
    problem: RowFault | None = None
    """Why no row can be read, such as a scale whose direction is stated nowhere."""


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

        yield Layout(
            "prompts",
            "conversations that end with a prompt",
            0.9,
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
    more = next(
        (name for name in CONTEXTS if (found := columns.find((name,), "text", "empty")) and found != asked),
        None,
    )
    more = columns.find((more,)) if more else None
    beside, history = (
        SideColumns.of(columns, thoughts=True),
        columns.find(("history",), "other", "empty", "turns", "texts"),
    )
    names = [f"`{name}`" for name in (beside.system, asked, more, beside.thoughts, answer) if name]
    question = f"{{{asked}}}\n\n{{{more}}}" if more else f"{{{asked}}}"
    mapping = {"user": question, "assistant": f"{{{answer}}}"} | beside.mapping

    def convert(row: Row) -> Row:
        said = said_of(row, asked)
        if extra := optional_text(row, more):
            said = f"{said}\n\n{extra}"
        turns = [
            {"role": "user", "content": said},
            {"role": "assistant", "content": answer_of(row, answer), **beside.thought(row)},
        ]
        return {"messages": beside.begin(row, [*_earlier(row, history), *turns])} | beside.beside(row)

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


def _earlier(row: Row, history: str | None) -> list[dict[str, Any]]:
    """The turns before a question: pairs of texts, or turns."""
    earlier = row.get(history) if history else None
    if history is None or not earlier:
        return []
    if isinstance(earlier, list) and all(isinstance(pair, list) for pair in earlier):
        return [turn for pair in earlier for turn in turns_of(pair, history)]
    return turns_of(earlier, history)


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


def _rated(columns: Columns) -> Iterator[Layout]:
    prompt = columns.find(QUESTIONS, "text", "turns", "turn")
    answer = columns.find(("completion", "response", *ANSWERS), "text", "turns", "turn")
    label = columns.find(LABELS, "bool", "number", "text")
    score = columns.find(SCORES, "number", "bool") or _written_numbers(columns, SCORES)
    chosen = label or score
    if answer is None or chosen is None or prompt == answer:
        return
    is_helpsteer = all(columns.find((name,), "number", "text") for name in HELPSTEER)
    read_label = label_reader(columns.values(chosen), chosen, HELPSTEER_SCALE if is_helpsteer else None)
    if read_label is None:
        return

    beside = SideColumns.of(columns)

    def convert(row: Row) -> Row:
        asked, end = side_of(row, prompt) if prompt else None, side_of(row, answer)
        label = {"label": read_label(row.get(chosen))}
        if not isinstance(asked, list) and isinstance(end, str) and not beside.has_system(row):
            return (
                ({} if asked is None else {"prompt": asked})
                | {"completion": end}
                | label
                | beside.beside_text(row)
            )
        begin = beside.begin(row, as_turns(asked, "user") if asked is not None else [])
        plain = {"completion": as_turns(end, "assistant")} | label | beside.beside(row)
        return ({"prompt": begin} if begin else {}) | plain

    mapping = {"prompt": f"{{{prompt}}}"} if prompt else {}
    mapping |= {"completion": f"{{{answer}}}", "label": f"{{{chosen}}}{read_label.rule}"} | beside.mapping
    is_named = answer.lower() in ("completion", "response", "generation")
    confidence = (0.98 if label else 0.96) if is_named else 0.6 if label else 0.5
    if prompt is None and columns.kinds[answer] != "turns":
        confidence = 0.4
    reason = f"`{answer}` is one answer, rated by `{chosen}`{read_label.rule}"
    used = tuple(name for name in (prompt, answer, chosen, *beside.names) if name)
    compare = _scored(convert, read_label, chosen, columns.values(chosen))
    yield Layout("rated", "rated answers", confidence, reason, mapping, convert, used, compare)


def _written_numbers(columns: Columns, names: tuple[str, ...]) -> str | None:
    """The column of one of some names whose texts are numbers, as a CSV file has them."""
    name = columns.find(names, "text")
    return name if name and all(number_of(value) is not None for value in columns.values(name)) else None


def _scored(
    convert: Convert, read_label: LabelReader, name: str, values: list[Any]
) -> Callable[[Row], Comparison] | None:
    """Rows whose scores are whole, and 1 to 5 or 0 to 4, with the score itself; None for other labels."""
    ends = (int(read_label.least), int(read_label.most)) if math.isfinite(read_label.least) else ()
    if ends not in ((1, 5), (0, 4)) or not all(float(value).is_integer() for value in values):
        return None

    def compare(row: Row) -> Comparison:
        plain = convert(row)
        score = float(row[name]) + (ends == (0, 4))
        if not score.is_integer():
            raise RowFault("A score is no whole number", f"`{name}` is {row[name]!r}.")
        return Comparison(plain.get("prompt"), (plain["completion"],), scores=(int(score),))

    return compare


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


def _pairs(columns: Columns) -> Iterator[Layout]:
    yield from map(layout_of_pairs, preferences.find(columns))


def layout_of_pairs(found: Finding) -> Layout:
    """A way to make pairs as a layout."""
    return Layout(
        "preference",
        found.variant,
        found.confidence,
        found.reason,
        found.mapping,
        found.convert,
        found.used,
        found.compare,
        found.problem,
    )


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
