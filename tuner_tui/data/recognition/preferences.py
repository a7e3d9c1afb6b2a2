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
    SYSTEMS,
    TURNS,
    Columns,
    Kind,
)
from tuner_tui.data.rows.turns import RowFault, hh_turns, is_hh, turns_of

Finding = tuple[str, float, str, dict[str, str], Callable[[Row], Row]]
"""Variant, confidence, reason, mapping and converter to `prompt`, `chosen`, `rejected`."""

CHOICES = (
    ("response_0", "response_1"), ("response_a", "response_b"), ("output_1", "output_2"), ("answer_a", "answer_b"),
    ("response1", "response2"), ("response_1", "response_2"), ("human_ref_a", "human_ref_b"),
    ("completion_a", "completion_b"), ("answer_0", "answer_1"), ("output_a", "output_b"),
)  # fmt: skip
VERDICTS = (
    "better_response_id", "safer_response_id", "winner", "preference", "preferred", "choice", "label", "labels",
    "better", "overall_preference", "chosen",
)  # fmt: skip


def find(columns: Columns) -> Iterator[Finding]:
    """Every way in which a sample of rows may hold pairs."""
    yield from _named_sides(columns)
    yield from _choices(columns)
    yield from _ranked(columns)


def _prompt(columns: Columns, *without: str | None) -> str | None:
    for name in (*PROMPTS, "history", *TURNS, "info"):
        found = columns.find((name,), "text", "turns", "object")
        if found is not None and found not in without:
            return found
    return None


def _asked(row: Row, prompt: str | None, system: str | None) -> Any:
    """The prompt's text or turns; with a system's words before it, turns."""
    if prompt is None:
        return None
    value = row.get(prompt)
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        value = value["messages"]
    if value is None:
        raise RowFault("A field is missing", f"the row has no `{prompt}`.")
    if isinstance(value, dict):
        value = next(
            (value[key] for key in ("full_text", "post", "text", "article") if value.get(key)), value
        )
    asked = turns_of(value, prompt) if isinstance(value, list) else value
    if not isinstance(asked, str | list):
        raise RowFault(
            "A field is not text", f"`{prompt}` must be text or turns, but it is {type(asked).__name__}."
        )
    more = row.get("input") if prompt.lower() == "instruction" else None
    if isinstance(more, str) and isinstance(asked, str) and more.strip():
        asked = f"{asked}\n\n{more}"
    told = row.get(system) if system else None
    if not isinstance(told, str) or not told.strip():
        return _open_dialogue(asked, prompt) if isinstance(asked, str) and is_hh(asked) else asked
    rest = asked if isinstance(asked, list) else [{"role": "user", "content": asked}]
    return [{"role": "system", "content": told}, *rest]


def _open_dialogue(text: str, name: str) -> list[dict[str, Any]]:
    """A dialogue that awaits its last answer."""
    turns = hh_turns(text, name)
    return turns[:-1] if turns[-1]["role"] == "assistant" and not turns[-1]["content"] else turns


def _side(row: Row, name: str) -> Any:
    value = row.get(name)
    if isinstance(value, dict) and isinstance(value.get("text"), str) and "role" not in value:
        return value["text"]
    if isinstance(value, list | dict):
        return turns_of(value, name)
    if not isinstance(value, str):
        told = "it is missing" if name not in row else f"it is {type(value).__name__}"
        raise RowFault("A field is not text", f"`{name}` must be text or turns, but {told}.")
    return value


def _pair(prompt: Any, chosen: Any, rejected: Any) -> Row:
    """Both sides alike: where one is turns or the prompt is, all are."""
    if any(isinstance(part, list) for part in (prompt, chosen, rejected)):
        chosen, rejected = (
            [{"role": "assistant", "content": side}] if isinstance(side, str) else side
            for side in (chosen, rejected)
        )
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
    return ({} if prompt is None else {"prompt": prompt}) | {"chosen": chosen, "rejected": rejected}


def _named_sides(columns: Columns) -> Iterator[Finding]:
    kinds: tuple[Kind, ...] = ("text", "turns", "turn", "object")
    pair = next(
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
    prompt, system = _prompt(columns, chosen, rejected), columns.find(SYSTEMS, "text")
    mapping = {"chosen": f"{{{chosen}}}", "rejected": f"{{{rejected}}}"}
    mapping = ({"prompt": f"{{{prompt}}}"} if prompt else {}) | mapping
    mapping |= {"system": f"{{{system}}}"} if system else {}
    sample = [value for value in columns.values(chosen) if isinstance(value, str)]
    if prompt is None and sample and sum(map(is_hh, sample)) > len(sample) / 2:

        def convert_dialogues(row: Row) -> Row:
            sides = [hh_turns(str(_side(row, name)), name) for name in (chosen, rejected)]
            return {"chosen": sides[0], "rejected": sides[1]}

        reason = f"`{chosen}` and `{rejected}` are dialogues of Human: and Assistant:"
        yield "HH dialogues", 0.97, reason, mapping, convert_dialogues
        return

    def convert(row: Row) -> Row:
        return _pair(_asked(row, prompt, system), _side(row, chosen), _side(row, rejected))

    is_turns = columns.kinds[chosen] in ("turns", "turn")
    variant = "pairs of turns" if is_turns else "pairs of texts"
    told = f" to `{prompt}`" if prompt else ""
    confidence = 0.98 if (chosen, rejected) == ("chosen", "rejected") else 0.85
    if prompt is None:
        variant += " without a prompt"
        confidence = 0.97 if is_turns else 0.55
    reason = f"`{chosen}` is preferred over `{rejected}` as an answer{told}"
    yield variant, confidence, reason, mapping, convert


def _choices(columns: Columns) -> Iterator[Finding]:
    kinds: tuple[Kind, ...] = ("text", "turns", "turn")
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
    verdict = flags[0] or columns.find(VERDICTS, "number", "text", "bool")
    prompt = _prompt(columns, one, two, verdict)
    scores = _score_columns(columns, one, two)
    if verdict is None and scores is None:
        return
    values = {str(value) for value in columns.values(verdict)} if verdict else set()
    reader = _Verdict(
        one.lower(),
        counts_from_one=values <= {"1", "2", "3"} and "2" in values,
        is_flag=one.lower() == "human_ref_a" or bool(flags[0]),
        is_scale=any(value.startswith("-") for value in values),
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
        return _pair(_asked(row, prompt, None), _side(row, good), _side(row, bad))

    mapping = ({"prompt": f"{{{prompt}}}"} if prompt else {}) | {
        "chosen": f"{{{one}}} or {{{two}}} by {told}",
        "rejected": "the other",
    }
    reason = f"`{told}` says which of `{one}` and `{two}` is better"
    yield "two answers and a choice", 0.9, reason, mapping, convert


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
        if isinstance(value, str):
            word = value.strip().lower()
            for prefix in ("model_", "response_", "assistant_", "output_"):
                word = word.removeprefix(prefix)
            if word in ("tie", "both", "equal", "tie (bothbad)", "none", "neutral"):
                return None
            if word in ("a", "left", "first", "1" if self.counts_from_one else "0", self.one):
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


def _score_columns(columns: Columns, one: str, two: str) -> tuple[str, str] | None:
    """Two columns that score two answers: named like them, such as score_0 and score_1."""
    ends = one.lower().rpartition("_")[2], two.lower().rpartition("_")[2]
    left, right = (columns.find((f"score_{end}",), "number") for end in ends)
    return (left, right) if left and right else None


def _ranked(columns: Columns) -> Iterator[Finding]:
    name = columns.find(RANKED, "texts", "objects", "turns", "other")
    if name is None:
        return
    prompt = _prompt(columns, name)
    values = columns.values(name)
    mapping = ({"prompt": f"{{{prompt}}}"} if prompt else {}) | {
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
            return _best_and_worst(_asked(row, prompt, None), answers, worth, name)

        reason = (
            f"`{name}` are answers in the order of `{measure}`" if measure else f"`{name}` stands best first"
        )
        yield "ranked answers", 0.9 if measure else 0.7, reason, mapping, convert
        return
    key, text_key = _score_key(values), _text_key(values)
    choice = columns.find(("choice", "best", "preferred"), "number")
    if text_key is None or (key is None and choice is None):
        return

    def convert_objects(row: Row) -> Row:
        answers = row.get(name)
        if not isinstance(answers, list) or not all(isinstance(each, dict) for each in answers):
            raise RowFault("A field is not a list of answers", f"`{name}` is {type(answers).__name__}.")
        if key is None:
            worth = [float(place == row.get(str(choice))) for place in range(len(answers))]
            return _best_and_worst(
                _asked(row, prompt, None), [each.get(text_key) for each in answers], worth, name
            )
        scored = [each for each in answers if isinstance(_number(each.get(key)), float)]
        worth = [(-1 if key in RANKS else 1) * (_number(each.get(key)) or 0.0) for each in scored]
        return _best_and_worst(
            _asked(row, prompt, None), [each.get(text_key) for each in scored], worth, name
        )

    reason = (
        f"`{name}` are answers (`{text_key}`), each with its `{key}`"
        if key
        else f"`{choice}` says which of `{name}` is best"
    )
    yield "scored answers", 0.92, reason, mapping, convert_objects


def _best_and_worst(prompt: Any, answers: list[Any], worth: list[float], name: str) -> Row:
    if len(answers) < 2 or max(worth) == min(worth):
        raise RowFault(
            "Nothing is preferred", f"`{name}` has no two answers of different rank.", "Leave the row out."
        )
    best, worst = worth.index(max(worth)), worth.index(min(worth))
    return _pair(prompt, answers[best], answers[worst])


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
