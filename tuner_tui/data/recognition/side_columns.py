"""Columns beside a conversation that belong to it: system prompt, tools, thoughts, and names for the template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition.columns import SYSTEMS, TEMPLATE_KWARGS, THOUGHT_COLUMNS, TOOLS, Columns
from tuner_tui.data.recognition.fields import MISSING_WORDS, is_missing, optional_text
from tuner_tui.data.rows.content import said
from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.turns import tools_of, turns_of
from tuner_tui.data.rows.unused import pass_over
from tuner_tui.data.rows.written import as_object

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row

Turns = list[dict[str, Any]]
RESERVED = {
    "messages", "conversation", "chat_template", "tokenize", "add_generation_prompt", "continue_final_message",
    "return_dict", "return_tensors", "return_assistant_tokens_mask", "padding", "truncation", "max_length",
    "tokenizer_kwargs", "processor_kwargs",
}  # fmt: skip
"""Names that steer rendering itself, which a row cannot change."""


SWITCHES = frozenset(
    {"", "on", "off", "true", "false", "yes", "no", "none", "auto", "enabled", "disabled", "low", "medium", "high",
     "minimal", "think", "no_think", "/think", "/no_think"}
)  # fmt: skip
"""What a column says that steers whether a model thinks, and is no thought."""


@dataclass(frozen=True)
class SideColumns:
    """Which columns stand beside a conversation; None for those that there are not."""

    system: str | None = None
    tools: str | None = None
    kwargs: str | None = None
    thoughts: str | None = None

    @classmethod
    def of(cls, columns: Columns, *, thoughts: bool = False) -> SideColumns:
        """Those of a sample of rows; thoughts only where one column holds the answer."""
        return cls(
            columns.find(SYSTEMS, "text", "turn", "turns", "object", "objects", "texts", "empty"),
            _tools_column(columns),
            columns.find(TEMPLATE_KWARGS, "text", "object", "turn", "empty"),
            _thoughts_column(columns) if thoughts else None,
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.system, self.tools, self.kwargs, self.thoughts) if name)

    @property
    def mapping(self) -> dict[str, str]:
        """What is made of which column."""
        parts = {
            "system": self.system, "tools": self.tools, "chat_template_kwargs": self.kwargs, "reasoning": self.thoughts
        }  # fmt: skip
        return {part: f"{{{name}}}" for part, name in parts.items() if name}

    def begin(self, row: Row, turns: Turns) -> Turns:
        """Turns with the column's system prompt before them. Raises RowFault."""
        before = system_turns(row.get(self.system), self.system) if self.system else []
        if not before:
            return turns
        if turns and turns[0]["role"] == "system":
            if [said(turn) for turn in before] != [said(turns[0])]:
                pass_over(str(self.system))  # the turn of the conversation itself goes before
            return turns
        return [*before, *turns]

    def has_system(self, row: Row) -> bool:
        """Whether the row's column holds a system prompt."""
        return bool(self.system and system_turns(row.get(self.system), self.system))

    def beside(self, row: Row) -> Row:
        """The fields that a row in plain form has besides its turns. Raises RowFault."""
        found: Row = {}
        if self.tools and (tools := tools_of(row.get(self.tools))):
            found["tools"] = tools
        if self.kwargs and (kwargs := kwargs_of(row.get(self.kwargs), self.kwargs)):
            if offered := kwargs.pop("tools", None):
                found["tools"] = tools_of(offered)
            if kwargs:
                found["chat_template_kwargs"] = kwargs
        return found

    def beside_text(self, row: Row) -> Row:
        """Nothing: text is not rendered by a template, so what stands beside it is not used."""
        for name in (self.tools, self.kwargs):
            if name and row.get(name) not in (None, "", [], {}):
                pass_over(name)
        return {}

    def thought(self, row: Row) -> dict[str, Any]:
        """The thoughts that go with a row's answer."""
        text = optional_text(row, self.thoughts)
        return {"reasoning_content": text} if text else {}


def _thoughts_column(columns: Columns) -> str | None:
    """The column of thoughts; one that says whether or how much to think, such as "on" or "low", is none."""
    name = columns.find(THOUGHT_COLUMNS, "text", "empty")
    values = (
        [value.strip().lower() for value in columns.values(name) if isinstance(value, str)] if name else []
    )
    return None if values and {*values} <= SWITCHES else name


def _tools_column(columns: Columns) -> str | None:
    """The column of tools; text that is no JSON is something else of that name."""
    name = columns.find(TOOLS, "text", "texts", "turn", "turns", "object", "objects", "other", "empty")
    if name is None or columns.kinds[name] not in ("text", "texts"):
        return name
    values = [
        text for value in columns.values(name) for text in (value if isinstance(value, list) else [value])
    ]
    return name if any(isinstance(as_object(text), list | dict) for text in values) else None


def system_turns(value: Any, name: str) -> Turns:
    """A system prompt as no turn or one: text, parts, an object or turns, also as JSON in a text. Raises RowFault."""
    if isinstance(value, str):
        decoded = as_object(value)
        is_written = isinstance(decoded, list) or (isinstance(decoded, dict) and _is_prompt(decoded))
        if not is_written:
            text = "" if value.strip().lower() in MISSING_WORDS else value
            return [{"role": "system", "content": text}] if text.strip() else []
        value = decoded
    if value in (None, [], {}):
        return []
    parts = value if isinstance(value, list) else [value]
    if all(isinstance(part, dict) and ("role" in part or "from" in part) for part in parts):
        turns = turns_of([{**part, "role": "system"} for part in parts], name)
    elif all(isinstance(part, str) for part in parts):
        turns = [{"role": "system", "content": "\n".join(parts)}]
    else:
        turns = turns_of([{"role": "system", "content": value}], name)
    content = "\n\n".join(turn["content"] for turn in turns if turn["content"].strip())
    return [{"role": "system", "content": content}] if content else []


def _is_prompt(value: dict[str, Any]) -> bool:
    """Whether an object that was written as text is a turn or a part of one, rather than JSON to be said."""
    said_in = {"text", "content", "value", "parts"}
    return "role" in value or bool(
        said_in & {*value} and {*value} <= said_in | {"type", "from", "cache_control"}
    )


def kwargs_of(value: Any, name: str) -> dict[str, Any]:
    """What a row hands to the template by name, as TRL reads it; also as JSON or Python in a text. Raises RowFault."""
    if is_missing(value):
        return {}
    decoded = as_object(value)
    if not isinstance(decoded, dict):
        found = "text that is not JSON" if isinstance(value, str) else type(value).__name__
        raise RowFault(
            "Names for the template are not an object",
            f"`{name}` is {found}.",
            'Write an object, such as {"enable_thinking": false}, or leave it out.',
        )
    if reserved := sorted(RESERVED & {*decoded}):
        raise RowFault(
            "A row cannot change how it is rendered",
            f"`{name}` holds {', '.join(reserved)}.",
            "Remove it; data.template sets another chat template.",
        )
    return dict(decoded)
