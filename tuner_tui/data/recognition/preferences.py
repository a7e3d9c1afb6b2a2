"""Recognising pairs and ranked answers: chosen and rejected under many names, dialogues, choices, and scored lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tuner_tui.data.files.json_rows import Row
from tuner_tui.data.recognition.columns import (
    LIST_SCORES,
    PAIRS,
    PROMPTS,
    RANKED,
    RANKS,
    THOUGHT_COLUMNS,
    TURNS,
    Columns,
    Kind,
)
from tuner_tui.data.recognition.fields import as_turns, optional_text, side_of, text_of
from tuner_tui.data.recognition.side_columns import SideColumns
from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.turns import hh_turns, is_hh, turns_of
from tuner_tui.data.rows.unused import pass_over
from tuner_tui.data.rows.written import as_json

Side = str | list[dict[str, Any]]

Finding = tuple[str, float, str, dict[str, str], Callable[[Row], Row], tuple[str, ...]]
"""Variant, confidence, reason, mapping, converter to `prompt`, `chosen`, `rejected`, and the columns that it uses."""

CHOICES = (
    ("response_0", "response_1"), ("response_a", "response_b"), ("output_1", "output_2"), ("answer_a", "answer_b"),
    ("response1", "response2"), ("response_1", "response_2"), ("human_ref_a", "human_ref_b"),
    ("completion_a", "completion_b"), ("answer_0", "answer_1"), ("output_a", "output_b"), ("answer1", "answer2"),
    ("answer_1", "answer_2"), ("output1", "output2"), ("completion_1", "completion_2"), ("text_a", "text_b"),
    ("conversation_a", "conversation_b"), ("messages_a", "messages_b"), ("generation_1", "generation_2"),
)  # fmt: skip
VERDICTS = (
    "better_response_id", "safer_response_id", "winner", "preference", "preferred", "choice", "label", "labels",
    "better", "overall_preference", "chosen", "preference_strength", "comparison", "preference.responses", "verdict",
)  # fmt: skip


_PREFIXES = (
    "model_", "response_", "assistant_", "output_", "answer_", "completion_", "generation_", "conversation_",
    "response", "answer", "output", "completion",
)  # fmt: skip


def find(columns: Columns) -> Iterator[Finding]:
    """Every way in which a sample of rows may hold pairs."""
    yield from _named_sides(columns)
    yield from _choices(columns)
    yield from _ranked(columns)


def _prompt(columns: Columns, *without: str | None) -> str | None:
    for name in (*PROMPTS, "history", *TURNS, "info"):
        found = columns.find((name,), "text", "turns", "turn", "object", "texts")
        if found is not None and found not in without:
            return found
    return None


@dataclass(frozen=True)
class _Prompt:
    """Where a row's prompt stands, with what belongs to it."""

    name: str | None
    beside: SideColumns
    more: str | None = None
    """A column whose text follows an instruction."""

    @classmethod
    def of(cls, columns: Columns, *without: str | None) -> _Prompt:
        name = _prompt(columns, *without)
        more = columns.find(("input",), "text", "empty") if name and name.lower() == "instruction" else None
        return cls(name, SideColumns.of(columns), more)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.name, self.more, *self.beside.names) if name)

    @property
    def mapping(self) -> dict[str, str]:
        return ({"prompt": f"{{{self.name}}}"} if self.name else {}) | self.beside.mapping

    def pair(self, row: Row, chosen: Side, rejected: Side) -> Row:
        """Prompt and both sides alike: where one is turns, all are. Raises RowFault."""
        asked, offered = self._asked(row)
        has_system = self.beside.has_system(row)
        if not has_system and not any(isinstance(part, list) for part in (asked, chosen, rejected)):
            plain: Row = {"chosen": chosen, "rejected": rejected} | self.beside.beside_text(row)
            return plain if asked is None else {"prompt": asked} | plain
        sides: Row = {"chosen": as_turns(chosen, "assistant"), "rejected": as_turns(rejected, "assistant")}
        beside = offered | self.beside.beside(row)
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
        return (_open_dialogue(asked, name) if is_hh(asked) else asked), {}


def _open_dialogue(text: str, name: str) -> list[dict[str, Any]]:
    """A dialogue that awaits its last answer."""
    turns = hh_turns(text, name)
    return turns[:-1] if turns[-1]["role"] == "assistant" and not turns[-1]["content"] else turns


def _named_sides(columns: Columns) -> Iterator[Finding]:
    kinds: tuple[Kind, ...] = ("text", "turns", "turn", "object")
    numbers = [columns.find((side,), "number") for side in PAIRS[0]]
    pair: tuple[str, str] | None = None
    if numbers[0] and numbers[1] and _prompt(columns):
        pair = (numbers[0], numbers[1])
    pair = pair or next(
        (
            (good, bad)
            for left, right in PAIRS
            if (good := columns.find((left,), *kinds)) and (bad := columns.find((right,), *kinds))
        ),
        None,
    )
    if pair is None:
        return
    chosen, rejected = pair
    asked = _Prompt.of(columns, chosen, rejected)
    prompt = asked.name
    mapping = {"chosen": f"{{{chosen}}}", "rejected": f"{{{rejected}}}"} | asked.mapping
    mapping = ({"prompt": mapping.pop("prompt")} if prompt else {}) | mapping
    thoughts = {side: _side_thoughts(columns, side) for side in pair}
    used = (chosen, rejected, *asked.names, *(name for name in thoughts.values() if name))
    sample = [value for value in columns.values(chosen) if isinstance(value, str)]
    if prompt is None and sample and sum(map(is_hh, sample)) > len(sample) / 2:

        def convert_dialogues(row: Row) -> Row:
            sides = [hh_turns(text_of(row, name), name) for name in (chosen, rejected)]
            return asked.pair(row, sides[0], sides[1])

        reason = f"`{chosen}` and `{rejected}` are dialogues of Human: and Assistant:"
        yield "HH dialogues", 0.97, reason, mapping, convert_dialogues, used
        return

    def convert(row: Row) -> Row:
        sides = [_thinking(side_of(row, side), row, thoughts[side]) for side in (chosen, rejected)]
        return asked.pair(row, sides[0], sides[1])

    is_turns = columns.kinds[chosen] in ("turns", "turn")
    variant = "pairs of turns" if is_turns else "pairs of texts"
    told = f" to `{prompt}`" if prompt else ""
    confidence = 0.98 if (chosen, rejected) == ("chosen", "rejected") else 0.85
    if prompt is None:
        variant += " without a prompt"
        confidence = 0.97 if is_turns else 0.55
    reason = f"`{chosen}` is preferred over `{rejected}` as an answer{told}"
    yield variant, confidence, reason, mapping, convert, used


def _side_thoughts(columns: Columns, side: str) -> str | None:
    """The column with the thoughts of one side, such as chosen_reasoning."""
    names = (f"{side.lower()}_{kind}" for kind in THOUGHT_COLUMNS)
    others = (f"{kind}_{side.lower()}" for kind in THOUGHT_COLUMNS)
    return columns.find((*names, *others), "text", "empty")


def _thinking(side: Side, row: Row, thoughts: str | None) -> Side:
    text = optional_text(row, thoughts)
    if not text:
        return side
    turns = as_turns(side, "assistant")
    return [*turns[:-1], {"reasoning_content": text, **turns[-1]}]


def _choices(columns: Columns) -> Iterator[Finding]:
    kinds: tuple[Kind, ...] = ("text", "turns", "turn", "texts")
    pair = next(
        (
            (one, two)
            for left, right in CHOICES
            if (one := columns.find((left,), *kinds)) and (two := columns.find((right,), *kinds))
        ),
        None,
    )
    if pair is None:
        return
    one, two = pair
    flags = [columns.find((name,)) for name in ("winner_model_a", "winner_model_b")]
    verdict = flags[0] or columns.find(VERDICTS, "number", "text", "bool", "texts")
    asked = _Prompt.of(columns, one, two, verdict)
    scores = _score_columns(columns, one, two)
    if verdict is None and scores is None:
        return
    values = {_bare(value) for value in columns.values(verdict)} if verdict else set()
    reader = _Verdict(
        one.lower(),
        counts_from_one=values <= {"1", "2", "3"} and "2" in values,
        is_flag=one.lower() == "human_ref_a" or bool(flags[0]),
        is_scale=any(value.startswith("-") for value in values)
        or (verdict or "").lower() in ("preference_strength", "overall_preference"),
    )

    def first_wins(row: Row) -> bool | None:
        if verdict is None and scores is not None:
            left, right = (_number(row.get(name)) for name in scores)
            return None if left is None or right is None or left == right else left > right
        if verdict is None or (flags[1] and row.get(verdict) == row.get(flags[1])):
            return None
        return reader.first_wins(row.get(verdict))

    told = verdict or " and ".join(scores or ())

    def convert(row: Row) -> Row:
        is_first = first_wins(row)
        if is_first is None:
            raise RowFault("Nothing is preferred", f"`{told}` says that it is a tie.", "Leave the row out.")
        good, bad = (one, two) if is_first else (two, one)
        if (spoken := _list_dialogues(row, asked.name, good, bad)) is not None:
            return {"chosen": spoken[0], "rejected": spoken[1]} | asked.beside.beside(row)
        return asked.pair(row, side_of(row, good), side_of(row, bad))

    mapping = asked.mapping | {
        "chosen": f"{{{one}}} or {{{two}}} by {told}",
        "rejected": "the other",
    }
    deciding = (verdict, *flags, columns.find(("winner_tie",)) if flags[0] else None, *(scores or ()))
    used = tuple(dict.fromkeys(name for name in (one, two, *deciding, *asked.names) if name))
    reason = f"`{told}` says which of `{one}` and `{two}` is better"
    yield "two answers and a choice", 0.9, reason, mapping, convert, used


def _list_dialogues(
    row: Row, prompt: str | None, good: str, bad: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
    """Both dialogues where prompt and answers are lists of equally many texts, as arenas write them; else None."""
    lists = [as_json(row.get(name)) for name in (prompt, good, bad) if name]
    if len(lists) != 3 or not all(isinstance(each, list) and each for each in lists):
        return None
    if not all(isinstance(text, str) for each in lists for text in each):
        if all(isinstance(text, str | None) for each in lists for text in each):
            raise RowFault("An answer is missing", f"`{good}` or `{bad}` holds null.", "Leave the row out.")
        return None
    if len({len(each) for each in lists}) != 1:
        raise RowFault("The turns do not match", f"`{prompt}`, `{good}` and `{bad}` differ in length.")
    return (_alternating(lists[0], lists[1]), _alternating(lists[0], lists[2]))


def _alternating(asked: list[str], answers: list[str]) -> list[dict[str, Any]]:
    return [
        turn
        for question, answer in zip(asked, answers, strict=True)
        for turn in ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    ]


@dataclass(frozen=True)
class _Verdict:
    """How a column says which of two answers is better."""

    one: str
    counts_from_one: bool
    is_flag: bool
    """True, or 1, is for the first."""
    is_scale: bool
    """Below zero is for the first, above for the second."""

    def first_wins(self, value: Any) -> bool | None:
        """Whether a verdict is for the first of two; None for a tie. Raises RowFault."""
        if isinstance(value, list) and value:  # of several annotators
            votes = [self.first_wins(each) for each in value]
            for_first, for_second = votes.count(True), votes.count(False)
            return None if for_first == for_second else for_first > for_second
        if isinstance(value, str):
            word = _bare(value)
            if word in (
                "tie",
                "both",
                "equal",
                "tie_(bothbad)",
                "bothbad",
                "none",
                "neutral",
                "draw",
                "same",
            ):
                return None
            if word in ("a", "left", "first", "1" if self.counts_from_one else "0", _bare(self.one)):
                return True
            if word in ("b", "right", "second", "2" if self.counts_from_one else "1"):
                return False
        elif isinstance(value, int | float):
            if self.is_flag:
                return bool(value)
            if self.is_scale:
                return None if value == 0 else value < 0
            return value == (1 if self.counts_from_one else 0)
        raise RowFault("Unknown choice", f"it is {value!r}.")


def _bare(value: Any) -> str:
    """A verdict's word without what it is about, such as "1" of "response_1"."""
    word = str(value[0] if isinstance(value, list) and value else value).strip().lower().replace(" ", "_")
    for prefix in _PREFIXES:
        word = word.removeprefix(prefix)
    return word.strip("_")


def _score_columns(columns: Columns, one: str, two: str) -> tuple[str, str] | None:
    """Two columns that score two answers: named like them, such as score_0 and score_1."""
    ends = one.lower().rpartition("_")[2], two.lower().rpartition("_")[2]
    left, right = (columns.find((f"score_{end}",), "number") for end in ends)
    return (left, right) if left and right else None


def _ranked(columns: Columns) -> Iterator[Finding]:
    name = columns.find(RANKED, "texts", "objects", "turns", "other")
    if name is None:
        return
    asked = _Prompt.of(columns, name)
    values = columns.values(name)
    mapping = asked.mapping | {
        "chosen": f"the best of {{{name}}}",
        "rejected": f"the worst of {{{name}}}",
    }
    if columns.kinds[name] == "texts":
        ranks, scores = columns.find(RANKS, "numbers"), columns.find(LIST_SCORES, "numbers")
        measure = ranks or scores
        is_ranked_by_name = name.lower().startswith("ranked")
        if measure is None and not is_ranked_by_name:
            return

        def convert(row: Row) -> Row:
            answers = row.get(name) or []
            numbers = row.get(measure) if measure else list(range(len(answers)))
            if not isinstance(numbers, list) or len(numbers) != len(answers):
                raise RowFault("The ranks do not match", f"`{name}` and `{measure}` differ in length.")
            worth = [-n if measure is None or measure == ranks else n for n in numbers]
            return _best_and_worst(asked, row, answers, worth, name)

        reason = (
            f"`{name}` are answers in the order of `{measure}`" if measure else f"`{name}` stands best first"
        )
        used = tuple(each for each in (name, measure, *asked.names) if each)
        yield "ranked answers", 0.9 if measure else 0.7, reason, mapping, convert, used
        return
    key, text_key = _score_key(values), _text_key(values)
    choice = columns.find(("choice", "best", "preferred"), "number")
    if text_key is None or (key is None and choice is None):
        return

    def convert_objects(row: Row) -> Row:
        answers = row.get(name)
        if not isinstance(answers, list) or not all(isinstance(each, dict) for each in answers):
            raise RowFault("A field is not a list of answers", f"`{name}` is {type(answers).__name__}.")
        for other in {other for each in answers for other in each} - {text_key, key}:
            pass_over(f"{name}[].{other}")
        if key is None:
            worth = [float(place == row.get(str(choice))) for place in range(len(answers))]
            return _best_and_worst(asked, row, [each.get(text_key) for each in answers], worth, name)
        scored = [each for each in answers if isinstance(_number(each.get(key)), float)]
        worth = [(-1 if key in RANKS else 1) * (_number(each.get(key)) or 0.0) for each in scored]
        return _best_and_worst(asked, row, [each.get(text_key) for each in scored], worth, name)

    reason = (
        f"`{name}` are answers (`{text_key}`), each with its `{key}`"
        if key
        else f"`{choice}` says which of `{name}` is best"
    )
    used = tuple(each for each in (name, choice if key is None else None, *asked.names) if each)
    yield "scored answers", 0.92, reason, mapping, convert_objects, used


def _best_and_worst(asked: _Prompt, row: Row, answers: list[Any], worth: list[float], name: str) -> Row:
    if len(answers) < 2 or max(worth) == min(worth):
        raise RowFault(
            "Nothing is preferred", f"`{name}` has no two answers of different rank.", "Leave the row out."
        )
    best, worst = worth.index(max(worth)), worth.index(min(worth))
    sides = [side_of({name: answers[place]}, name) for place in (best, worst)]
    return asked.pair(row, sides[0], sides[1])


def _score_key(values: list[Any]) -> str | None:
    wanted = (
        *RANKS,
        "overall_score",
        "score",
        "pm_score",
        "rating",
        "reward",
        "fine-grained_score",
        "label",
        "votes",
    )
    objects = [
        each for value in values if isinstance(value, list) for each in value if isinstance(each, dict)
    ]
    return next((key for key in wanted if any(_number(each.get(key)) is not None for each in objects)), None)


def _text_key(values: list[Any]) -> str | None:
    wanted = ("response", "text", "content", "completion", "answer", "output", "value", "generation")
    objects = [
        each for value in values if isinstance(value, list) for each in value if isinstance(each, dict)
    ]
    return next((key for key in wanted if any(isinstance(each.get(key), str) for each in objects)), None)


def _number(value: Any) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None
