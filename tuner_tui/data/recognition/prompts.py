"""The prompt of pairs and ranked answers, with what belongs to it, and rows made of it and its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.data.recognition.columns import PROMPTS, TURNS, Columns
from tuner_tui.data.recognition.fields import as_turns, optional_text, side_of
from tuner_tui.data.recognition.side_columns import SideColumns
from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.turns import hh_turns, is_hh, turns_of
from tuner_tui.data.rows.unused import pass_over
from tuner_tui.data.rows.written import as_object

if TYPE_CHECKING:
    from typing import Any

    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.rows.comparison import Side

LAST_RESORTS = (
    "text",
    "article",
    "document",
    "source_text",
    "user_query",
    "input_text",
    "message",
    "original_prompt",
)
"""Columns of prompts where answers have columns of their own."""
_OFTEN_CATEGORIES = ("task",)
"""A prompt only where nothing else is one: UltraInteract's `task` is a kind, beside a `trajectory`."""
_NEMO_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def prompt_column(
    columns: Columns, without: tuple[str | None, ...] = (), *, more: tuple[str, ...] = ()
) -> str | None:
    """The likeliest column of a prompt."""
    names = (name for name in PROMPTS if name not in _OFTEN_CATEGORIES)
    for name in (*names, "history", *TURNS, "trajectory", "info", *more, *_OFTEN_CATEGORIES):
        found = columns.find((name,), "text", "turns", "turn", "object", "texts")
        if found is not None and found not in without:
            return found
    return None


@dataclass(frozen=True)
class Prompt:
    """Where a row's prompt stands, with what belongs to it."""

    name: str | None
    beside: SideColumns
    more: str | None = None
    """A column whose text follows an instruction."""

    @classmethod
    def of(cls, columns: Columns, *without: str | None, also: tuple[str, ...] = ()) -> Prompt:
        """That of a sample of rows; `also` are further names that it may have."""
        name = prompt_column(columns, without, more=also)
        more = columns.find(("input",), "text", "empty") if name and name.lower() == "instruction" else None
        return cls(name, SideColumns.of(columns), more)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.name, self.more, *self.beside.names) if name)

    @property
    def mapping(self) -> dict[str, str]:
        return ({"prompt": f"{{{self.name}}}"} if self.name else {}) | self.beside.mapping

    def row(self, row: Row, answers: Mapping[str, Side]) -> Row:
        """Prompt and named answers alike: where one is turns, all are. Raises RowFault."""
        asked, offered = self._asked(row)
        return self.made(row, asked, answers, offered)

    def made(
        self, row: Row, asked: Side | None, answers: Mapping[str, Side], offered: Row | None = None
    ) -> Row:
        """The same with a prompt that is read already."""
        has_system = self.beside.has_system(row)
        if not has_system and not any(isinstance(part, list) for part in (asked, *answers.values())):
            plain: Row = {**answers} | self.beside.beside_text(row)
            return plain if asked is None else {"prompt": asked} | plain
        sides: Row = {name: as_turns(answer, "assistant") for name, answer in answers.items()}
        beside = (offered or {}) | self.beside.beside(row)
        if asked is None:
            if has_system:
                sides = {side: self.beside.begin(row, turns) for side, turns in sides.items()}
            return sides | beside
        return {"prompt": self.beside.begin(row, as_turns(asked, "user"))} | sides | beside

    def _asked(self, row: Row) -> tuple[Side | None, Row]:
        """The prompt's text or turns, and the tools that OpenAI's format has within it."""
        name = self.name
        if name is None:
            return None, {}
        value = row.get(name)
        if value is None:
            raise RowFault("A field is missing", f"the row has no `{name}`.")
        if isinstance(value, str) and value.lstrip().startswith("{") and "messages" in value:
            written = as_object(value)
            value = written if isinstance(written, dict) and "messages" in written else value
        if isinstance(value, dict) and isinstance(value.get("messages"), list):
            for key in value:
                if key not in ("messages", "tools", "chat_template_kwargs") and value[key] not in (
                    None,
                    [],
                    {},
                    "",
                ):
                    pass_over(f"{name}.{key}")
            within = SideColumns(None, "tools", "chat_template_kwargs").beside(value)
            return turns_of(value["messages"], name), within
        if isinstance(value, dict) and "role" not in value:
            key = next((key for key in ("full_text", "post", "text", "article") if value.get(key)), None)
            for other in value if key else ():
                if other != key and value[other] not in (None, [], {}, ""):
                    pass_over(f"{name}.{other}")
            value = value[key] if key else value
        asked = side_of({name: value}, name)
        if isinstance(asked, list):
            return asked, {}
        if extra := optional_text(row, self.more):
            asked = f"{asked}\n\n{extra}"
        return _spoken(asked, name), {}


def _spoken(text: str, name: str) -> Side:
    """A prompt's text, or the turns that it is written of."""
    if is_hh(text):
        return _open(hh_turns(text, name))
    if "<extra_id_1>" not in text:
        return text
    parts = _NEMO_TURN.split(text)  # HelpSteer2: turns after the first are marked as NeMo marks them
    turns = [{"role": "user", "content": parts[0].strip()}] if parts[0].strip() else []
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return _open([*turns, *({"role": who.lower(), "content": turn_text.strip()} for who, turn_text in pairs)])


def _open(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turns without the assistant's last one where it is still to be said."""
    return turns[:-1] if turns and turns[-1]["role"] == "assistant" and not turns[-1]["content"] else turns
