"""Which columns of a sample of rows say which answer is better, how, and each row's votes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition.answer_columns import beside, tokens_of
from tuner_tui.data.recognition.verdict_values import (
    NOT_STATED,
    Numbers,
    Scale,
    ValueReader,
    not_stated,
    stated,
    unwrapped,
)
from tuner_tui.data.recognition.verdict_words import word_of
from tuner_tui.data.rows.comparison import Vote, by_worth, choice, tie
from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.written import as_object

if TYPE_CHECKING:
    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.recognition.answer_columns import Answers
    from tuner_tui.data.recognition.columns import Columns

Votes = Callable[["Row"], tuple[Vote, ...]]
VERDICTS = (
    "better_response_id", "winner", "preferred", "preference", "choice", "verdict", "chosen", "better",
    "better_response",
    "preferred_response", "preferred_answer", "preferred_output", "comparison", "pairwise", "human_preference",
    "user_preference", "human_choice", "orig_preference", "ranking", "safer_response_id", "overall_preference",
    "preference_strength", "winner_model", "winning_model", "preferred_model", "best_model",
)  # fmt: skip
"""Columns whose name says that they hold a verdict."""
LIKELY = ("label", "labels", "best", "best_response", "selected", "selection", "vote", "judgment", "judgement",
          "result",           "outcome", "annotation")  # fmt: skip
"""Columns that do where their values read like one."""
ANNOTATORS = (
    "annotator", "annotator_id", "judge", "judge_id", "judge_hash", "worker", "worker_id", "participant_id",
    "participant", "prolific_pid", "prolific_id", "rater", "rater_id", "labeler", "labeler_id", "assessor", "user_id",
)  # fmt: skip
WINNER_FLAGS = (
    ("winner",),
    ("winner", "model"),
    ("wins",),
    ("is", "winner"),
    ("preferred",),
    ("is", "preferred"),
    ("chosen",),
)
TIE_FLAGS = ("winner_tie", "tie", "is_tie", "winner_draw")
SCORES = (
    ("score",),
    ("rating",),
    ("reward",),
    ("votes",),
    ("stars",),
    ("quality",),
    ("scores",),
    ("ratings",),
)
HELPSTEER = ("preference_strength", "overall_preference")
HELPSTEER_SCALE = Scale(lower_is_first=True, middle=0, least=-3, most=3, slight=1)
"""https://huggingface.co/datasets/nvidia/HelpSteer2 and HelpSteer3: -3 is for response 1, 3 for response 2."""


@dataclass(frozen=True)
class Verdict:
    """How rows say which answer is better."""

    column: str
    """The field to name."""
    used: tuple[str, ...]
    votes: Votes
    """Raises RowFault."""
    direction: str = ""
    """What a number means, in words."""
    suggestions: Votes = lambda _: ()
    confidence: float = 0.985
    problem: RowFault | None = None
    """Why no row can be read: the direction is stated nowhere."""


def find_verdict(columns: Columns, answers: Answers) -> Verdict | None:
    """The likeliest verdict of a sample of rows, None where there is none."""
    return next(
        (
            verdict
            for finder in (_flags, _questions, _named, _by_value, _scores)
            for verdict in finder(columns, answers)
        ),
        None,
    )


def stated_verdict(columns: Columns, answers: Answers, column: str, scale: Scale | None) -> Verdict:
    """The verdict in a column that the person named, with its scale where it has one."""
    if scale is not None:
        scale = scale.within_usual_ends([number_of(value) for value in columns.values(column)])
    numbers = scale or _numbers_of(columns, answers, column)
    verdict = _of_column(columns, answers, column, numbers, scale is not None)
    if not column.endswith(".responses"):
        return verdict
    return replace(verdict, votes=_submitted(ValueReader(column, answers, numbers), column))


def _flags(columns: Columns, answers: Answers) -> Iterator[Verdict]:
    """A column of true or false, or 1 or 0, for each answer, as Kaggle's winner_model_a."""
    names = beside(columns, answers, WINNER_FLAGS)
    if names is None or not all(_is_flag(value) for name in names for value in columns.values(name)):
        return
    tie_name = columns.find(TIE_FLAGS)
    count = len(names)
    all_names = (*names, *([tie_name] if tie_name else []))
    annotator = columns.find(ANNOTATORS)

    def votes(row: Row) -> tuple[Vote, ...]:
        flags = [_flag(row.get(name), name) for name in names]
        if all(flag is None for flag in flags):
            return ()
        is_tie = bool(tie_name and _flag(row.get(tie_name), tie_name))
        if sum(map(bool, flags)) + is_tie > 1:
            raise RowFault(
                "A verdict contradicts itself", f"{' and '.join(map(repr, all_names))} are not of one answer."
            )
        if any(flags):
            return stated(
                [choice(count, next(n for n, flag in enumerate(flags) if flag))], [row.get(str(annotator))]
            )
        is_stated = is_tie or (tie_name is None and None not in flags)
        return stated([tie(count)], [row.get(str(annotator))]) if is_stated else ()

    used = (*all_names, *([annotator] if annotator else []))
    yield Verdict(names[0], used, votes)


def _is_flag(value: Any) -> bool:
    try:
        _flag(value, "")
    except RowFault:
        return False
    return True


def _flag(value: Any, name: str) -> bool | None:
    word = str(value).strip().lower().removesuffix(".0") if value is not None else ""
    known = {
        "1": True,
        "true": True,
        "yes": True,
        "0": False,
        "false": False,
        "no": False,
        "": None,
        "nan": None,
    }
    if word not in known:
        raise RowFault("Unknown choice", f"`{name}` is {value!r}; expected 1 or 0.")
    return known[word]


def _questions(columns: Columns, answers: Answers) -> Iterator[Verdict]:
    """Argilla's columns: QUESTION.responses with those who gave them, and QUESTION.suggestion."""
    ends = (".responses", ".suggestion")
    questions = dict.fromkeys(
        name.removesuffix(end) for name in columns.names for end in ends if name.endswith(end)
    )

    def likeliness(question: str) -> int:
        name = question.lower().replace("-", "_")
        return VERDICTS.index(name) if name in VERDICTS else len(VERDICTS)

    for question in sorted(questions, key=likeliness):
        responses, suggestion = f"{question}.responses", f"{question}.suggestion"
        reader = ValueReader(
            responses, answers, _numbers_of(columns, answers, question), _models(columns, answers)
        )
        is_named = likeliness(question) < len(VERDICTS)
        values = [(each, row) for row in columns.rows for each in _listed(row.get(responses))]
        values += [(row.get(suggestion), row) for row in columns.rows if row.get(suggestion) is not None]
        readable = [each for each, row in values if reader.is_readable(each, row)]
        if not readable or not (is_named or any(not isinstance(each, int | float) for each in readable)):
            continue
        yield Verdict(
            responses,
            tuple(name for name in columns.names if name == question or name.startswith(f"{question}.")),
            _submitted(reader, responses),
            suggestions=_suggested(reader, question),
            problem=_problem(reader, [each for each, _ in values], columns),
        )


def _submitted(reader: ValueReader, responses: str) -> Votes:
    def votes(row: Row) -> tuple[Vote, ...]:
        values = _listed(row.get(responses))
        statuses, users = _listed(row.get(f"{responses}.status")), _listed(row.get(f"{responses}.users"))
        if len(statuses) != len(values):
            statuses = ["submitted"] * len(values)
        given: list[Vote] = []
        who: list[Any] = []
        for place, (value, status) in enumerate(zip(values, statuses, strict=True)):
            vote = reader.vote(value, row) if status in ("submitted", None) else None
            if vote is not None:
                given.append(vote)
                who.append(users[place] if place < len(users) else "")
        return stated(given, who)

    return votes


def _suggested(reader: ValueReader, question: str) -> Votes:
    def suggestions(row: Row) -> tuple[Vote, ...]:
        value = row.get(f"{question}.suggestion")
        vote = reader.vote(value, row) if value is not None and reader.is_readable(value, row) else None
        agent = row.get(f"{question}.suggestion.agent")
        return () if vote is None else stated([vote], [agent if isinstance(agent, str) else ""])

    return suggestions


def _named(columns: Columns, answers: Answers) -> Iterator[Verdict]:
    for names in (VERDICTS, LIKELY):
        for wanted in names:
            name = columns.find((wanted,), "number", "text", "bool", "texts", "numbers", "object", "objects")
            if name is None or name in answers.names:
                continue
            verdict = _of_column(columns, answers, name, _numbers_of(columns, answers, name))
            if names is VERDICTS:
                yield verdict
            elif verdict.problem is not None or _has_votes(columns, verdict):
                yield replace(verdict, confidence=0.9)


def _has_votes(columns: Columns, verdict: Verdict) -> bool:
    for row in columns.rows:
        try:
            if verdict.votes(row):
                return True
        except RowFault:
            continue
    return False


def _of_column(
    columns: Columns, answers: Answers, name: str, numbers: Numbers, is_stated: bool = False
) -> Verdict:
    reader = ValueReader(name, answers, numbers, _models(columns, answers))
    annotator = columns.find(ANNOTATORS)
    statement = columns.find(("preference_statement",), "text")
    is_ranking = name.lower().startswith("rank")

    def votes(row: Row) -> tuple[Vote, ...]:
        value = row.get(name)
        listed = _listed(value) if isinstance(as_object(value), list) and not is_ranking else [value]
        given = [vote for each in listed if (vote := reader.vote(each, row)) is not None]
        if statement and isinstance(numbers, Scale) and not is_stated:
            _require_agreement(row, name, statement, given, answers)
        return stated(given, [row.get(str(annotator))] * len(given) if len(given) == 1 else [])

    direction = ""
    if isinstance(numbers, Scale):
        low, high = answers.names[:2] if numbers.lower_is_first else answers.names[1::-1]
        direction = f": below {numbers.middle:g} `{low}`, above it `{high}`"
    elif numbers == "flag":
        direction = f": 1 `{answers.names[0]}`, 0 `{answers.names[1]}`"
    used = tuple(each for each in (name, annotator, statement) if each)
    problem = _problem(reader, columns.values(name), columns)
    return Verdict(name, used, votes, direction, problem=problem)


def _require_agreement(row: Row, name: str, statement: str, given: list[Vote], answers: Answers) -> None:
    """Raise RowFault where a number and the sentence beside it are for different answers."""
    text = row.get(statement)
    word = word_of(text, answers) if isinstance(text, str) else None
    if word is None or word.kind != "choice" or not given or given[0].is_tie:
        return
    if given[0].ranks[word.place] != 1:
        raise RowFault(
            "A verdict contradicts itself",
            f"`{name}` is {row.get(name)!r}, and `{statement}` says {text!r}.",
            "Check which way the scale runs, and state it with a mapping of `verdict`; or leave the row out.",
        )


def _numbers_of(columns: Columns, answers: Answers, column: str) -> Numbers:
    """How numbers in a column name an answer, where its format or the answers' names say so."""
    name = column.lower().replace("-", "_").rpartition(".")[2]
    answer_names = [tokens_of(each) for each in answers.names]
    if len(answers.names) == 2:
        if name in HELPSTEER and answer_names == [("response", "1"), ("response", "2")]:
            return HELPSTEER_SCALE
        if name in ("label", "labels") and answer_names[0][:2] == ("human", "ref"):
            return "flag"  # SHP
        if name == "preference" and answer_names == [("output", "1"), ("output", "2")]:
            return "alpaca"
    return "marks" if answers.is_numbered else "unknown"


def _by_value(columns: Columns, answers: Answers) -> Iterator[Verdict]:
    """A column of any name whose values all are names of the answers; or sides, in Label Studio's flat export."""
    is_label_studio = bool(columns.find(("annotation_id",)) and columns.find(("annotator", "lead_time")))
    for name in columns.names:
        if name in answers.names or columns.kinds[name] not in ("text", "texts", "object", "objects"):
            continue
        reader = ValueReader(name, answers, "unknown")
        values = [(row[name], row) for row in columns.rows if row.get(name) not in (None, "", [])]
        spoken = [str(unwrapped(value)).strip().lower() for value, _ in values]
        is_named = all(
            answers.place_of_name(each) is not None or (is_label_studio and each in ("left", "right"))
            for each in spoken
        )
        if values and is_named and all(reader.is_readable(value, row) for value, row in values):
            yield _of_column(columns, answers, name, "unknown")


def _scores(columns: Columns, answers: Answers) -> Iterator[Verdict]:
    """A score for each answer, the higher the better."""
    names = beside(columns, answers, SCORES)
    if names is None or not all(columns.kinds[name] in ("number", "text") for name in names):
        return
    annotator = columns.find(ANNOTATORS)

    def votes(row: Row) -> tuple[Vote, ...]:
        numbers = [number_of(row.get(name)) for name in names]
        if any(number is None for number in numbers):
            return ()
        return stated([by_worth([number or 0.0 for number in numbers])], [row.get(str(annotator))])

    if not any(number_of(row.get(name)) is not None for row in columns.rows for name in names):
        return
    both = " and ".join(names)
    yield Verdict(both, (*names, *([annotator] if annotator else [])), votes, ": the higher the better")


def _models(columns: Columns, answers: Answers) -> tuple[str, ...] | None:
    return beside(columns, answers, (("model",),))


def _problem(reader: ValueReader, values: list[Any], columns: Columns) -> RowFault | None:
    """The fault of the first value that says nothing of an answer because its direction is not stated."""
    row: Row = columns.rows[0] if columns.rows else {}
    for value in values:
        for each in _listed(value) if isinstance(as_object(value), list) else [value]:
            try:
                reader.vote(each, row)
            except RowFault as fault:
                if fault.title == NOT_STATED:
                    return not_stated(reader.column, reader.answers, each)
    return None


def _listed(value: Any) -> list[Any]:
    decoded = as_object(value)
    if isinstance(decoded, list):
        return decoded
    return [] if value in (None, "") else [value]


def number_of(value: Any) -> float | None:
    """A number, also one that is written as text; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None
