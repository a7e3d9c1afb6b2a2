"""The columns of a few rows and their value types, looked up by name in any case, with the common names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from tuner_tui.data.files.json_rows import Row
from tuner_tui.data.rows.turns import is_exchange
from tuner_tui.data.rows.written import ROLE_KEYS, as_object, is_known_turn

Kind = Literal[
    "text", "number", "bool", "turns", "turn", "texts", "numbers", "objects", "object", "empty", "other"
]

QUESTIONS = (
    "instruction", "instructions", "question", "query", "prompt", "problem", "request", "user", "human", "input",
    "inputs", "user_message", "user_prompt", "task", "q",
)  # fmt: skip
ANSWERS = (
    "output", "outputs", "response", "answer", "solution", "completion", "assistant", "reply", "target", "targets",
    "bot", "gpt", "model_response", "assistant_message", "answers", "generation", "a",
)  # fmt: skip
CONTEXTS = ("input", "context", "passage")
SYSTEMS = (
    "system", "system_prompt", "system_message", "system_instruction", "system_instructions", "systemprompt",
    "systeminstruction", "sys_prompt",
)  # fmt: skip
TOOLS = (
    "tools",
    "functions",
    "available_tools",
    "tool_definitions",
    "function_definitions",
    "toolconfig",
    "tool_config",
)
TEMPLATE_KWARGS = ("chat_template_kwargs",)
THOUGHT_COLUMNS = (
    "reasoning_content", "reasoning", "thinking", "thought", "thoughts", "chain_of_thought", "cot", "complex_cot",
    "reasoning_trace", "thinking_trajectory", "deepseek_reasoning", "rationale",
)  # fmt: skip
TURNS = (
    "messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns", "chat_messages", "history",
    "contents",
)  # fmt: skip
CHOICE_LISTS = ("choices", "options", "endings", "alternatives", "candidates")
"""Among these a number as an answer is a place, not a text."""
TEXTS = ("text", "content", "document", "body", "article", "code", "story", "raw_content")
LABELS = (
    "label",
    "labels",
    "kto_tag",
    "desirable",
    "is_desirable",
    "thumbs",
    "thumbs_up",
    "is_good",
    "accepted",
    "is_preferred",
    "is_chosen",
    "is_accepted",
)
SCORES = (
    "score",
    "rating",
    "reward",
    "stars",
    "quality",
    "overall_score",
    "overall",
    "helpfulness",
    "feedback",
)
PAIRS = (
    ("chosen", "rejected"), ("chosen_response", "rejected_response"), ("preferred", "dispreferred"),
    ("preferred_output", "non_preferred_output"), ("win", "lose"), ("winner", "loser"), ("better", "worse"),
    ("accepted", "rejected"), ("response_j", "response_k"), ("good", "bad"), ("positive", "negative"),
    ("preferred_response", "rejected_response"), ("output_chosen", "output_rejected"),
    ("chosen_messages", "rejected_messages"), ("chosen_conversations", "rejected_conversations"),
    ("chosen_conversation", "rejected_conversation"), ("chosen_output", "rejected_output"),
    ("chosen_completion", "rejected_completion"), ("chosen_answer", "rejected_answer"),
    ("answer_chosen", "answer_rejected"), ("good_edited_response", "bad_edited_response"),
)  # fmt: skip
RANKED = (
    "responses",
    "completions",
    "answers",
    "outputs",
    "candidates",
    "generations",
    "replies",
    "ranked_answers",
    "summaries",
)
RANKS = ("ranks", "rank", "ranking", "rankings", "order")
LIST_SCORES = ("scores", "score", "ratings", "rewards", "pm_scores", "labels")
PROMPTS = (*QUESTIONS, "post", "title", "context", "prompt_text")


@dataclass(frozen=True)
class Columns:
    """The columns of a sample of rows."""

    rows: tuple[Row, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every column's name, in the order in which they come up."""
        return tuple(dict.fromkeys(str(name) for row in self.rows for name in row))

    @cached_property
    def _by_lower(self) -> dict[str, str]:
        return {
            name.strip().lower().replace(" ", "_").replace("-", "_"): name for name in reversed(self.names)
        }

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """What each column mostly holds."""
        return {name: self._kind(name) for name in self.names}

    def find(self, names: tuple[str, ...], *kinds: Kind) -> str | None:
        """The first of some names that is a column, and holds one of the kinds where such are given."""
        for wanted in names:
            name = self._by_lower.get(wanted)
            if name is not None and (not kinds or self.kinds[name] in kinds):
                return name
        return None

    def context_of(self, asked: str) -> str | None:
        """The column of what a question is about, which goes below the question."""
        found = (self.find((name,), "text", "empty") for name in CONTEXTS)
        return next((name for name in found if name is not None and name != asked), None)

    def values(self, name: str) -> list[Any]:
        """What stands in a column, without what is absent."""
        return [row[name] for row in self.rows if row.get(name) is not None]

    def _kind(self, name: str) -> Kind:
        found = Counter(kind_of(value) for value in self.values(name))
        found.pop("empty", None) if len(found) > 1 else None
        return found.most_common(1)[0][0] if found else "empty"


def kind_of(value: Any) -> Kind:
    """What one value is; JSON or Python written as text counts as what it says where that is turns."""
    match value:
        case None | "" | []:
            return "empty"
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return _kind_of_text(value)
        case dict():
            return "turn" if is_turn(value) else "object"
        case list():
            kinds = {kind_of(each) for each in value[:20]} - {"empty"}
            if kinds == {"turn"}:
                return "turns"
            if kinds == {"text"}:
                return "texts"
            if kinds and kinds <= {"number", "bool"}:
                return "numbers"
            return "objects" if kinds == {"object"} else "other"
    return "other"


def _kind_of_text(value: str) -> Kind:
    decoded = as_object(value)
    if isinstance(decoded, list) and kind_of(decoded) == "turns":
        return "turns"
    return "turn" if is_known_turn(decoded) else "text"


def is_turn(value: dict[str, Any]) -> bool:
    """Whether an object says who speaks, or is an exchange of two."""
    return any(isinstance(value.get(name), str) for name in ROLE_KEYS) or is_exchange(value)
