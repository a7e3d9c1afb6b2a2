"""Messages that are rows of their own, in a tree or one after the other, put together as conversations."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition.columns import ANSWERS, QUESTIONS, TURNS, Columns
from tuner_tui.data.rows.roles import ROLES
from tuner_tui.data.rows.written import ROLE_KEYS
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.files.rows import Found

LOOKED_AT_ROWS = 50
PARENTS = ("parent_id", "parent_message_id", "parent")
IDS = ("message_id", "id", "uuid", "_id")
CONVERSATIONS = (
    "conversation_id", "conv_id", "dialogue_id", "dialog_id", "session_id", "thread_id", "chat_id", "conversation_hash",
)  # fmt: skip
TEXTS = ("content", "text", "value", "message")


_Id = tuple[str, str]
"""A conversation (empty where ids hold for the whole file) and a message's id."""


@dataclass(frozen=True)
class _Messages:
    """How rows hold single messages."""

    own: str | None
    """The column of a row's id."""
    parent: str | None
    """The column of the id of the row that it answers."""
    conversation: str | None
    """The column that rows of one conversation share."""
    speaker: str | None
    """Who speaks; None where a row is a question with its answer."""
    text: str
    answer: str | None = None

    @property
    def used(self) -> set[str]:
        names = (self.own, self.parent, self.conversation, self.speaker, self.text, self.answer)
        return {name for name in names if name}

    def turns(self, row: Row) -> list[Row]:
        """What one row says. The fields of a message that are not known here stay, to be named as not used."""
        if self.speaker is None:
            more = {name: value for name, value in row.items() if name not in self.used}
            asked = {"role": "user", "content": row.get(self.text)}
            return [asked, {**more, "role": "assistant", "content": row.get(str(self.answer))}]
        more = {name: value for name, value in row.items() if name not in self.used}
        return [{**more, "role": row.get(self.speaker), "content": row.get(self.text)}]


def conversations_of_messages(rows: Iterator[Found]) -> Generator[Found, None, None]:
    """The rows as they are; or where each is one message, a row `messages` for each conversation, under its last line.

    Of a tree each path from its root to a last message is a conversation, and a message that is in several of them is
    trained in the first one. Raises InputError for messages of which nothing says how they belong together.
    """
    head: list[Found] = []
    broken: InputError | None = None
    try:
        head.extend(itertools.islice(rows, LOOKED_AT_ROWS))
    except InputError as error:
        broken = error
    how = _messages_in(head)
    if how is None:
        yield from head
        if broken is not None:
            raise broken
        yield from rows
        return
    messages: list[Found] = []
    for found in itertools.chain(head, rows if broken is None else ()):
        if isinstance(found.row, InputError):
            yield found
        else:
            messages.append(found)
    if broken is not None:
        raise broken
    yield from _paths(messages, how) if how.parent else _groups(messages, how)


def _messages_in(head: list[Found]) -> _Messages | None:
    columns = Columns(tuple(found.row for found in head if isinstance(found.row, dict)))
    own = columns.find(IDS, "text", "number")
    parent = columns.find(PARENTS, "text", "number")
    is_tree = own is not None and parent is not None and _is_among(columns, parent, own)
    if columns.find(TURNS, "turns"):
        return None
    speaker = columns.find(ROLE_KEYS, "text")
    text = columns.find(TEXTS, "text", "turns", "texts", "objects")
    if speaker and text and _are_roles(columns.values(speaker)):
        conversation = columns.find(CONVERSATIONS, "text", "number")
        if is_tree:
            return _Messages(own, parent, conversation, speaker, text)
        if conversation:
            return _Messages(None, None, conversation, speaker, text)
        raise InputError(
            "Each row is a single message",
            f"{head[0].file}: rows have `{speaker}` and `{text}`, and nothing says which belong together.",
            'Write each conversation as one row: {"messages": [{"role": ..., "content": ...}, ...]}.',
        )
    asked, answer = columns.find(QUESTIONS, "text"), columns.find(ANSWERS, "text")
    if is_tree and asked and answer and asked != answer:
        return _Messages(own, parent, columns.find(CONVERSATIONS, "text", "number"), None, asked, answer)
    return None


def _is_among(columns: Columns, parent: str, own: str) -> bool:
    """Whether what rows say of their parents are ids of rows."""
    ids = {str(value) for value in columns.values(own)}
    return any(str(value) in ids for value in columns.values(parent))


def _are_roles(values: list[Any]) -> bool:
    known = sum(str(value).strip().lower() in ROLES for value in values)
    return known > len(values) / 2


def _paths(messages: list[Found], how: _Messages) -> Iterator[Found]:
    """Each path from a root to a message that nobody answers, and the errors of messages that are on none."""
    how = how if _ids_repeat(messages, how) else replace(how, conversation=None)
    by_id: dict[_Id, Found] = {}
    for found in messages:
        own = _id(found, how, how.own)
        if own is None:
            continue
        first = by_id.setdefault(own, found)
        if first.row != found.row:
            yield _wrong(
                found,
                "Two messages have the same id",
                f"`{how.own}` is {own[1]!r}, as in line {first.number}.",
                "Give each message an id of its own; where ids hold within a conversation, name it in a column "
                "`conversation_id`.",
            )
    answered = {parent for found in messages if (parent := _id(found, how, how.parent)) is not None}
    placed: set[_Id] = set()
    trained: set[_Id] = set()
    for found in messages:
        own = _id(found, how, how.own)
        if own is not None and (own in answered or by_id[own] is not found):
            continue  # somebody answers it, or its id was met before
        path: list[Found] = []
        ids: dict[_Id, None] = {}
        fault: Found | None = None
        place: Found | None = found
        while place is not None and fault is None:
            path.append(place)
            if (at := _id(place, how, how.own)) is not None:
                ids[at] = None
            above = _id(place, how, how.parent)
            place = by_id.get(above) if above is not None else None
            if above in ids:
                fault = _circle(found, how, above[1])
            elif place is None and above is not None:
                fault = _wrong(
                    found,
                    "A message answers one that is missing",
                    f"`{how.parent}` is {above[1]!r}, and no row has that `{how.own}`.",
                )
        placed.update(ids)
        if fault is not None:
            yield fault
            continue
        turns: list[Row] = []
        for each in reversed(path):
            path_turns = how.turns(each.row)  # type: ignore[arg-type]
            if _id(each, how, how.own) in trained:
                path_turns = [{**turn, "weight": 0} for turn in path_turns]
            turns += path_turns
        trained.update(ids)
        yield found._replace(row={"messages": turns})
    for own, found in by_id.items():
        if own not in placed:  # it is answered, and no last message leads to it
            yield _circle(found, how, own[1])


def _ids_repeat(messages: list[Found], how: _Messages) -> bool:
    """Whether ids hold within a conversation only: some are those of several."""
    whose: dict[str, str] = {}
    for found in messages:
        own = _id(found, how, how.own)
        if own is not None and whose.setdefault(own[1], own[0]) != own[0]:
            return True
    return False


def _circle(found: Found, how: _Messages, number: str) -> Found:
    return _wrong(
        found,
        "Messages answer each other in a circle",
        f"following `{how.parent}` from {number!r} leads back to it.",
    )


def _wrong(found: Found, title: str, message: str, hint: str = "") -> Found:
    return found._replace(row=InputError(title, f"{found.file}:{found.number}: {message}", hint))


def _id(found: Found, how: _Messages, column: str | None) -> _Id | None:
    """The id in a column, with the conversation that it is of; None where there is none."""
    row: Any = found.row
    if not column or row.get(column) in (None, ""):
        return None
    return (str(row.get(how.conversation)) if how.conversation else "", str(row[column]))


def _groups(messages: list[Found], how: _Messages) -> Iterator[Found]:
    groups: dict[str, list[Found]] = {}
    for found in messages:
        row: Any = found.row
        groups.setdefault(str(row.get(how.conversation)), []).append(found)
    for group in groups.values():
        turns = [turn for found in group for turn in how.turns(found.row)]  # type: ignore[arg-type]
        yield group[-1]._replace(row={"messages": turns})
