"""Checks of a data set in one pass: each problem with its rows and what to do."""

from __future__ import annotations

import gc
import random
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tuner_tui.data.checking import scan
from tuner_tui.data.files.rows import Found
from tuner_tui.data.recognition.formats import Layout
from tuner_tui.data.recognition.reading import Reading, plain_rows
from tuner_tui.data.rows.content import content_key, is_empty, says_same, texts_of
from tuner_tui.data.rows.faults import LeftOut, left_out_words
from tuner_tui.data.rows.near_duplicates import near_duplicates
from tuner_tui.errors import InputError, TunerError
from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.data.tokens.lengths import LengthReport

Level = Literal["error", "warning", "note"]
SHOWN_ROWS = 10
"""Row numbers that a problem names; it counts all."""
SAMPLE_ROWS = 2000
"""Rows that near-duplicates and lengths are looked for in."""
BLOCK_TEXTS = 400
PROGRESS_ROWS = 5000
NOTED_SHARE = 0.01
"""Share of the answers' tokens up to which cutting them off is only a note."""


@dataclass(frozen=True)
class DataProblem:
    """One thing that is wrong with a data set."""

    level: Level
    kind: str
    """A short name, such as "empty answers"."""
    count: int
    """Rows that have it."""
    rows: tuple[str, ...]
    """The first few: row numbers, with the file's name in a folder of files."""
    message: str
    advice: str
    fix: str | None = None
    """The step of data.fixes that fixes it."""


@dataclass(frozen=True)
class DataReport:
    """What a data set is, and what is wrong with it."""

    layout: Layout
    rows: int
    is_partial: bool
    """Whether the check was cancelled before the end."""
    problems: tuple[DataProblem, ...]
    seconds: float
    sample: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    """Rows in plain form, drawn evenly from all."""
    unused: tuple[tuple[str, int], ...] = ()
    """Fields that nobody takes, such as a column of sources, and in how many rows each says something."""

    @property
    def unused_fields(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.unused)

    @property
    def worst(self) -> Level | None:
        levels = {problem.level for problem in self.problems}
        return next((level for level in LEVELS if level in levels), None)


LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class _Kind:
    level: Level
    message: str
    advice: str
    fix: str | None = None


NO_PREFERENCE = "rows without a preference"
KINDS: dict[str, _Kind] = {
    "rows that cannot be read": _Kind("error", "", "Fix the file, or leave them out", "drop_broken"),
    "empty answers": _Kind(
        "error",
        "an answer is missing or only white space",
        "They train the model to answer nothing; leave them out",
        "drop_empty",
    ),
    "exact duplicates": _Kind(
        "warning", "the same as an earlier row", "They get more weight than the rest; keep the first", "drop_duplicates"
    ),
    "rows that are also in the evaluation data": _Kind(
        "error", "evaluation would measure memory", "Leave them out of training", "drop_leaked"
    ),
    "near-duplicates": _Kind("note", "", "Check them; several wordings of one row get more weight than the rest"),
    "roles out of order": _Kind(
        "warning",
        "user and assistant do not alternate, or no user turn is answered",
        "Many chat templates refuse such rows; fix them",
    ),
    NO_PREFERENCE: _Kind("note", "", "They are left out of training; the others are trained on"),
    "identical sides": _Kind(
        "error", "chosen and rejected are the same", "Nothing is preferred; leave them out", "drop_same_sides"
    ),
    "one label": _Kind("error", "", "Give answers of both kinds; for good answers alone, take method sft"),
    "control characters": _Kind("warning", "invisible control characters", "Take them out", "clean"),
    "hidden characters": _Kind(
        "warning", "zero-width or direction characters, which hide or reverse text", "Take them out", "clean"
    ),
    "mojibake": _Kind(
        "warning",
        "letters broken by a wrong encoding, such as Ã©",
        "Read the source with the right encoding; see data.encoding",
    ),
    "secrets": _Kind(
        "warning", "what looks like a key or a token", "The model may repeat them; leave the rows out", "drop_secrets"
    ),
    "e-mail addresses": _Kind(
        "warning", "e-mail addresses", "The model may repeat them; leave the rows out", "drop_secrets"
    ),
    "truncated answers": _Kind("warning", "", "Raise training.max_length, or split the rows"),
    "reading stopped": _Kind("error", "", "Fix the file at this place"),
}  # fmt: skip


@dataclass
class _Tally:
    count: int = 0
    rows: list[str] = field(default_factory=list)
    detail: str = ""


class Checker:
    """Takes a data set's rows one by one and gathers what is wrong with them."""

    def __init__(self, root: Path, layout: Layout, seed: int = 0) -> None:
        self.rows = 0
        self.sample: list[tuple[str, dict[str, Any]]] = []
        self._is_folder, self._layout = root.is_dir(), layout
        self._tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
        self._keys = array("q")
        self._numbers = array("I")
        self._files: list[tuple[int, Path]] = []
        self._texts: list[str] = []
        self._text_rows: list[tuple[Found, list[str]]] = []
        self._labels: set[bool] = set()
        self._left_out: Counter[str] = Counter()
        self._random = random.Random(seed).random

    def take(self, found: Found) -> None:
        """Look at one row."""
        row = found.row
        if isinstance(row, LeftOut):
            self._left_out[row.reason] += 1
            self._note(NO_PREFERENCE, found)
            return
        if isinstance(row, InputError):
            self._note("rows that cannot be read", found, f"{row.title}: {_tail(row.message)}")
            return
        self.rows += 1
        if not self._files or self._files[-1][1] is not found.file:
            self._files.append((len(self._keys), found.file))
        self._numbers.append(found.number)
        if "messages" in row:
            turns = row["messages"]
            self._keys.append(content_key(row))
            if not is_in_order(turns):
                self._note("roles out of order", found)
            texts = [turn["content"] for turn in turns]
            if max(map(len, turns)) > 2:
                texts = texts_of(row)
            if not (turns[-1]["role"] == "assistant" and all(map(_has_words, texts))) and is_empty(row):
                self._note("empty answers", found)
        else:
            self._keys.append(content_key(row))
            texts = texts_of(row)
            if is_empty(row):
                self._note("empty answers", found)
            if "chosen" in row and says_same(row):
                self._note("identical sides", found)
            elif "label" in row:
                self._labels.add(row["label"])
        self._text_rows.append((found, texts))
        self._texts += texts
        if len(self._texts) >= BLOCK_TEXTS:
            self._scan()
        if len(self.sample) < SAMPLE_ROWS:
            self.sample.append((self._where(found.file, found.number), row))
        elif (place := int(self._random() * self.rows)) < SAMPLE_ROWS:  # Vitter's algorithm R: an even sample
            self.sample[place] = (self._where(found.file, found.number), row)

    def _scan(self) -> None:
        """Look through a block of texts at once, and through single ones only where that finds something."""
        block = "\n".join(self._texts)
        if not scan.is_clean(block) and scan.suspicions(block):
            for found, texts in self._text_rows:
                kinds = {kind for text in texts if not scan.is_clean(text) for kind in scan.suspicions(text)}
                for kind in kinds:
                    self._note(kind, found)
        self._texts, self._text_rows = [], []

    def stop(self, error: TunerError) -> None:
        """Note why reading could not go on."""
        tally = self._tallies["reading stopped"]
        tally.count, tally.detail = 1, f"{error.title}: {error.message}"

    def problems(self, evaluation: np.ndarray[Any, Any] | None = None) -> tuple[DataProblem, ...]:
        """All problems, errors first."""
        self._scan()
        keys = np.frombuffer(self._keys, np.int64) if len(self._keys) else np.zeros(0, np.int64)
        self._add_all("exact duplicates", duplicate_places(keys))
        if evaluation is not None:
            self._add_all(
                "rows that are also in the evaluation data", np.flatnonzero(np.isin(keys, evaluation))
            )
        near = near_duplicates([" ".join(texts_of(row)) for _, row in self.sample])
        if near:
            tally = self._tallies["near-duplicates"]
            tally.count = len(near)
            tally.rows = [f"{self.sample[one][0]}~{self.sample[two][0]}" for one, two in near[:SHOWN_ROWS]]
            drawn = (
                f"a sample of {counted(len(self.sample), 'row')}"
                if len(self.sample) < self.rows
                else "all rows"
            )
            tally.detail = f"pairs of rows in {drawn} share most of their words"
        if self._layout.shape == "rated" and len(self._labels) == 1 and self.rows > 1:
            tally = self._tallies["one label"]
            tally.count, tally.detail = self.rows, f"every label is {str(next(iter(self._labels))).lower()}"
        if self._left_out:
            self._tallies[NO_PREFERENCE].detail = left_out_words(self._left_out)
        found = [self._problem(kind, tally) for kind, tally in self._tallies.items() if tally.count]
        return tuple(sorted(found, key=lambda problem: LEVELS.index(problem.level)))

    @property
    def keys(self) -> np.ndarray[Any, Any]:
        """A 64-bit hash of each row, comparable within this process."""
        return np.array(self._keys, np.int64)

    def _problem(self, kind: str, tally: _Tally) -> DataProblem:
        known = KINDS[kind]
        message = tally.detail or known.message
        if kind == NO_PREFERENCE and not self.rows:
            return DataProblem(
                "error", kind, tally.count, tuple(tally.rows), message, "Nothing would be trained: add rows."
            )
        return DataProblem(
            known.level, kind, tally.count, tuple(tally.rows), message, f"{known.advice}.", known.fix
        )

    def _note(self, kind: str, found: Found, detail: str = "") -> None:
        tally = self._tallies[kind]
        tally.count += 1
        if len(tally.rows) < SHOWN_ROWS:
            tally.rows.append(self._where(found.file, found.number))
            tally.detail = tally.detail or detail

    def _add_all(self, kind: str, places: np.ndarray[Any, Any]) -> None:
        if len(places):
            tally = self._tallies[kind]
            tally.count = len(places)
            tally.rows = [self._where_is(int(place)) for place in places[:SHOWN_ROWS]]

    def _where_is(self, place: int) -> str:
        file = next(file for begin, file in reversed(self._files) if begin <= place)
        return self._where(file, self._numbers[place])

    def _where(self, file: Path, number: int) -> str:
        return f"{file.name}:{number}" if self._is_folder else str(number)


def is_in_order(turns: list[dict[str, Any]]) -> bool:
    """Whether user and assistant take turns after an optional system, the assistant last; tools answer its calls.

    An assistant may speak first, as in role play, where a user speaks at all.
    """
    last, is_asked = "", False
    for turn in turns:
        role = turn["role"]
        if role == "system":
            if last:
                return False
            continue
        if role == "user" and last not in ("", "assistant"):
            return False
        if role == "assistant" and last not in ("", "user", "tool"):  # a greeting may open
            return False
        if role == "tool" and last not in ("assistant", "tool"):
            return False
        is_asked = is_asked or role == "user"
        last = role
    return last == "assistant" and is_asked


def duplicate_places(keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The places of keys that stand earlier already, in order; in sixteen parts, so that little memory is needed."""
    part_of = (keys & 15).astype(np.uint8)
    found = []
    for part in range(16):
        places = np.flatnonzero(part_of == part).astype(np.uint32)
        order = np.argsort(keys[places], kind="stable")
        ordered = keys[places][order]
        found.append(places[order[1:][ordered[1:] == ordered[:-1]]])
    return np.sort(np.concatenate(found))


def check(
    reading: Reading,
    evaluation: Reading | None = None,
    *,
    on_progress: Callable[[int], None] | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> DataReport:
    """Read a data set once and say what is wrong with it.

    `on_progress` gets the number of rows read. A row that cannot be read is a problem, and so is a truncated
    file. Raises InputError only where nothing can be said: no file, no rows, columns of no known shape.
    """
    started = time.perf_counter()
    held_out = _keys_of(evaluation) if evaluation is not None else None
    plain = plain_rows(reading)
    checker = Checker(reading.path, plain.layout)
    is_partial = False
    with _collecting_seldom():
        for found in _until_broken(plain.rows, checker):
            checker.take(found)
            if checker.rows % PROGRESS_ROWS == 0:
                if on_progress is not None:
                    on_progress(checker.rows)
                if is_cancelled():
                    is_partial = True
                    break
    return DataReport(
        plain.layout,
        checker.rows,
        is_partial,
        checker.problems(held_out),
        time.perf_counter() - started,
        tuple(row for _, row in checker.sample),
        tuple(plain.unused.counts.most_common()),
    )


def truncated_answers(lengths: LengthReport) -> DataProblem | None:
    """What a length limit does to the answers, as a problem; None where all of them fit."""
    if not lengths.answers_truncated:
        return None
    drawn = f"of a sample of {lengths.rows:,}" if lengths.is_sample else f"of {lengths.rows:,}"
    lost = f", and nothing is left of {lengths.answers_lost:,}" if lengths.answers_lost else ""
    message = (
        f"{drawn} do not fit in {counted(lengths.limit, 'token')} and lose their EOS token; "
        f"{lengths.answer_share_cut:.1%} of the answers' tokens are truncated{lost}"
    )
    known = KINDS["truncated answers"]
    level: Level = known.level if lengths.answer_share_cut >= NOTED_SHARE or lengths.answers_lost else "note"
    advice = f"Raise training.max_length ({lengths.suggested_limit} leaves 99 %), or split the rows."
    return DataProblem(level, "truncated answers", lengths.answers_truncated, (), message, advice)


def unused_words(report: DataReport, most: int = 12) -> str:
    """The fields that are not used in one line; empty where every field is."""
    if not report.unused:
        return ""
    told = [
        name if count >= report.rows else f"{name} ({counted(count, 'row')})"
        for name, count in report.unused[:most]
    ]
    left = len(report.unused) - len(told)
    return f"Fields not used: {', '.join(told)}{f' and {left} more' if left else ''}."


def _keys_of(reading: Reading) -> np.ndarray[Any, Any]:
    keys = array("q")
    for found in plain_rows(reading).rows:
        if not isinstance(found.row, InputError):
            keys.append(content_key(found.row))
    return np.unique(np.array(keys, np.int64))


def _until_broken(rows: Iterable[Found], checker: Checker) -> Iterator[Found]:
    try:
        yield from rows
    except InputError as error:
        checker.stop(error)


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Many short-lived rows make Python look for cycles in vain, at a third of the time."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _tail(message: str) -> str:
    """A message without the path that it begins with."""
    return message.rpartition("/")[2]


def _has_words(text: str) -> bool:
    return bool(text) and not text.isspace()
