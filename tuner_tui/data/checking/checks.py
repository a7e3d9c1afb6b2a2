"""Checks of a data set in one pass: each problem with its rows and what to do."""

from __future__ import annotations

import gc
import random
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner_tui.data.checking import scan
from tuner_tui.data.checking.problems import LEVELS, SHOWN_ROWS, DataProblem, Level, Tally, row_name
from tuner_tui.data.checking.refusals import Refusals, of_other_type
from tuner_tui.data.checking.report import DataReport
from tuner_tui.data.files.rows import Found
from tuner_tui.data.recognition.formats import Layout
from tuner_tui.data.recognition.python_text import python_part
from tuner_tui.data.recognition.reading import Reading, plain_rows
from tuner_tui.data.recognition.verdict_names import unused_verdicts
from tuner_tui.data.rows.content import content_key, has_marked_side, is_empty, says_same, texts_of
from tuner_tui.data.rows.faults import LeftOut, left_out_words
from tuner_tui.data.rows.for_method import OtherMethod, plain_for, require_trainable
from tuner_tui.data.rows.near_duplicates import near_duplicates
from tuner_tui.data.rows.unused import UnusedFields, field_name, is_used_with
from tuner_tui.data.tokens.row_kinds import RowKinds
from tuner_tui.errors import InputError, TunerError
from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.config.methods.traits import MethodKind
    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.recognition.reading import PlainRows

SAMPLE_ROWS = 2000
"""Rows that near-duplicates and lengths are looked for in."""
MOST_UNLIKE = 10_000
"""Rows with parts of a new kind that are kept to be rendered."""
BLOCK_TEXTS = 400
PROGRESS_ROWS = 5000


@dataclass(frozen=True)
class _Kind:
    level: Level
    message: str
    advice: str
    fix: str | None = None


NO_PREFERENCE = "rows without a preference"
PYTHON_TEXT = "answers in Python's notation"
VERDICTS_UNUSED = "verdicts that are not used"
KINDS: dict[str, _Kind] = {
    "rows that cannot be read": _Kind("error", "", "Fix the file, or leave them out", "drop_broken"),
    "empty answers": _Kind(
        "error",
        "an answer is missing or only whitespace",
        "They train the model to give empty answers; remove them",
        "drop_empty",
    ),
    "exact duplicates": _Kind(
        "warning", "the same as an earlier row", "They get more weight than the rest; keep the first", "drop_duplicates"
    ),
    "rows that are also in the evaluation data": _Kind(
        "error", "the evaluation would measure memorisation", "Remove them from the training data", "drop_leaked"
    ),
    "near-duplicates": _Kind("note", "", "Check them; several wordings of one row get more weight than the rest"),
    "roles out of order": _Kind(
        "warning",
        "user and assistant do not alternate, or no user turn is answered",
        "Many chat templates refuse such rows; fix them",
    ),
    NO_PREFERENCE: _Kind("note", "", "They are left out of training; the others are trained on"),
    VERDICTS_UNUSED: _Kind(
        "note",
        "",
        "Every answer is trained on alike. Leave out rows with a poor one, or map prompt, completion and label for kto",
    ),
    "identical sides": _Kind(
        "error", "chosen and rejected are the same", "No answer is preferred; leave them out", "drop_same_sides"
    ),
    "one label": _Kind("error", "", "Add answers with the other label; to train on good answers alone, use method sft"),
    PYTHON_TEXT: _Kind(
        "warning",
        "an answer is a list or an object as Python's str() writes it, and no JSON",
        "It is trained on as it stands; write the text itself where that is not meant",
    ),
    "control characters": _Kind("warning", "invisible control characters", "Remove them", "clean"),
    "hidden characters": _Kind(
        "warning", "zero-width or direction characters, which hide or reverse text", "Remove them", "clean"
    ),
    "mojibake": _Kind(
        "warning",
        "characters garbled by a wrong encoding, such as Ã©",
        "Read the source with the right encoding; see data.encoding",
    ),
    "secrets": _Kind(
        "warning", "what looks like a key or a token", "The model may repeat them; leave the rows out", "drop_secrets"
    ),
    "e-mail addresses": _Kind(
        "warning", "e-mail addresses", "The model may repeat them; leave the rows out", "drop_secrets"
    ),
    "reading stopped": _Kind("error", "", "Fix the file at this place"),
}  # fmt: skip


class Checker:
    """Takes a data set's rows one by one and gathers what is wrong with them."""

    def __init__(self, root: Path, layout: Layout, seed: int = 0, unused: UnusedFields | None = None) -> None:
        self.rows = 0
        self.sample: list[Found] = []
        self._unlike: list[Found] = []
        self._kinds, self._refusals = RowKinds(), Refusals()
        self._require = require_trainable(layout.shape)
        self._is_folder, self._layout = root.is_dir(), layout
        self._tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self._keys = array("q")
        self._numbers = array("I")
        self._files: list[tuple[int, Path]] = []
        self._texts: list[str] = []
        self._text_rows: list[tuple[Found, list[str]]] = []
        self._labels: set[bool] = set()
        self._left_out: Counter[str] = Counter()
        self._unused = unused if unused is not None else UnusedFields()
        self._random = random.Random(seed).random

    def take(self, found: Found) -> None:
        """Look at one row."""
        row = found.row
        if isinstance(row, LeftOut):
            self._left_out[row.reason] += 1
            self._note(NO_PREFERENCE, found)
            return
        if isinstance(row, InputError):
            self._note("rows that cannot be read", found, f"{row.title}: {_named(row.message, found)}")
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
                self._require_trainable(found, row)
        else:
            self._keys.append(content_key(row))
            texts = texts_of(row)
            is_same = "chosen" in row and says_same(row)
            if is_empty(row) and not has_marked_side(row):
                self._note("empty answers", found)
            elif not is_same:
                self._require_trainable(found, row)
            if is_same:
                self._note("identical sides", found)
            elif "label" in row:
                self._labels.add(row["label"])
        if not self._layout.is_mapped and python_part(row) is not None:
            self._note(PYTHON_TEXT, found)
        self._text_rows.append((found, texts))
        self._texts += texts
        if len(self._texts) >= BLOCK_TEXTS:
            self._scan()
        if self._kinds.is_new(row) and len(self._unlike) < MOST_UNLIKE:
            self._unlike.append(found)
        if len(self.sample) < SAMPLE_ROWS:
            self.sample.append(found)
        elif (place := int(self._random() * self.rows)) < SAMPLE_ROWS:  # Vitter's algorithm R: an even sample
            self.sample[place] = found

    def _require_trainable(self, found: Found, row: Row) -> None:
        """Note the error that training would raise for a row."""
        try:
            self._require(row, found.file, found.number)
        except InputError as error:
            self._refusals.add(self._where(found), f"{found.file}:{found.number}", error)

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
        """Note why reading could not continue."""
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
        near = near_duplicates([" ".join(texts_of(row)) for row in self.sample_rows])
        if near:
            tally = self._tallies["near-duplicates"]
            tally.count = len(near)
            tally.rows = [
                f"{self._where(self.sample[one])}~{self._where(self.sample[two])}"
                for one, two in near[:SHOWN_ROWS]
            ]
            drawn = (
                f"a sample of {counted(len(self.sample), 'row')}"
                if len(self.sample) < self.rows
                else "all rows"
            )
            tally.detail = f"pairs of rows in {drawn} share most of their words"
        if self._layout.shape == "rated" and len(self._labels) == 1 and self.rows > 1:
            tally = self._tallies["one label"]
            tally.count, tally.detail = self.rows, f"every label is {str(next(iter(self._labels))).lower()}"
        if verdicts := unused_verdicts(self._unused, self._layout.shape):
            tally = self._tallies[VERDICTS_UNUSED]
            tally.count = max(self._unused.counts[name] for name in verdicts)
            tally.detail = f"{', '.join(map(field_name, verdicts[:8]))} may say how good each answer is"
        if self._left_out:
            self._tallies[NO_PREFERENCE].detail = left_out_words(self._left_out)
        found = [self._problem(kind, tally) for kind, tally in self._tallies.items() if tally.count]
        found += self._refusals.problems
        return tuple(sorted(found, key=lambda problem: LEVELS.index(problem.level)))

    @property
    def sample_rows(self) -> list[dict[str, Any]]:
        return [found.row for found in self.sample if not isinstance(found.row, InputError)]

    @property
    def to_render(self) -> tuple[Found, ...]:
        """The sample, and the rows that have parts of a kind which no row before them had."""
        return tuple({id(found.row): found for found in (*self._unlike, *self.sample)}.values())

    @property
    def keys(self) -> np.ndarray[Any, Any]:
        """A 64-bit hash of each row, comparable within this process."""
        return np.array(self._keys, np.int64)

    def _problem(self, kind: str, tally: Tally) -> DataProblem:
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
        self._tallies[kind].add(self._where(found), detail)

    def _add_all(self, kind: str, places: np.ndarray[Any, Any]) -> None:
        if len(places):
            tally = self._tallies[kind]
            tally.count = len(places)
            tally.rows = [self._where_is(int(place)) for place in places[:SHOWN_ROWS]]

    def _where_is(self, place: int) -> str:
        file = next(file for begin, file in reversed(self._files) if begin <= place)
        return self._named(file, self._numbers[place])

    def _where(self, found: Found) -> str:
        return self._named(found.file, found.number)

    def _named(self, file: Path, number: int) -> str:
        return row_name(file, number, is_folder=self._is_folder)


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
    method: MethodKind | None = None,
    loss_on: str = "answers",
    on_progress: Callable[[int], None] | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> DataReport:
    """Read a data set once and say what is wrong with it, for a method or for any that takes its dataset type.

    Rows are converted as training converts them, so that what it refuses is a problem. `on_progress` gets the number of
    rows read. A row that cannot be read is a problem, and so is a truncated
    file. Raises InputError only where nothing can be said: no file, no rows, columns of no known shape.
    """
    started = time.perf_counter()
    held_out = _keys_of(evaluation) if evaluation is not None else None
    plain, other = _plain(reading, method)
    checker = Checker(reading.path, plain.layout, unused=plain.unused)
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
    problems = checker.problems(held_out)
    if other is not None:
        problems = (of_other_type(other, checker.rows), *problems)
    return DataReport(
        plain.layout,
        checker.rows,
        is_partial,
        problems,
        time.perf_counter() - started,
        tuple(checker.sample_rows),
        checker.to_render,
        tuple(each for each in plain.unused.counts.most_common() if not is_used_with(each[0], loss_on)),
        plain.unused.not_read,
        reading.path.is_dir(),
    )


def _plain(reading: Reading, method: MethodKind | None) -> tuple[PlainRows, OtherMethod | None]:
    """The rows as a method reads them; with the error where it trains on other types."""
    try:
        return plain_rows(reading) if method is None else plain_for(method, reading), None
    except OtherMethod as error:
        return plain_rows(reading), error


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


def _named(message: str, found: Found) -> str:
    """A message that names its file without the folder."""
    return message.replace(f"{found.file.parent}/", "")


def _has_words(text: str) -> bool:
    return bool(text) and not text.isspace()
