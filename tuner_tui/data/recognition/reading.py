"""From a data set to rows in plain form: recognised or mapped, fixed by the spec's recorded steps, in order."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from tuner_tui.data.files.rows import Found, each_row, locate
from tuner_tui.data.recognition.answer_columns import answer_columns
from tuner_tui.data.recognition.bare_prompts import require_bare_prompts
from tuner_tui.data.recognition.columns import ANSWERS, QUESTIONS, RANKED, Columns
from tuner_tui.data.recognition.exports import plain_columns
from tuner_tui.data.recognition.fixes import Fixer
from tuner_tui.data.recognition.formats import SURE_ENOUGH, Layout, layouts_of
from tuner_tui.data.recognition.mapping import mapped_layout, mapping_lines, parse_mapping, states_verdict
from tuner_tui.data.recognition.python_text import is_mostly_python, python_fault, python_part
from tuner_tui.data.recognition.stepwise import stepwise_fault
from tuner_tui.data.recognition.trees import conversations_of_messages
from tuner_tui.data.rows.content import FINISHED, content_key, prompt_text, unfinished_sides
from tuner_tui.data.rows.faults import LeftOut, NothingPreferred, RowFault
from tuner_tui.data.rows.mixture import Source, mixed, parse_source
from tuner_tui.data.rows.unused import UnusedFields, field_name
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from tuner_tui.config.spec import DataShape, DataSpec
    from tuner_tui.data.files.json_rows import Row

T = TypeVar("T")
SAMPLE_ROWS = 50
"""Rows from which the dataset type is detected."""
SHAPES_HELP = (
    "Rows need `messages`; `instruction`/`question` with `output`/`answer`; `prompt` with `completion`; `text`; "
    "`chosen` and `rejected`; `completion` with `label`; or `prompt`. Map other columns with data.mapping."
)

ANSWER_HELP = 'Write it as text, such as "yes" for true, in the words that the model should answer with.'


@dataclass(frozen=True)
class Reading:
    """A data set, and how its rows are read."""

    path: Path
    asked: DataShape = "auto"
    limit: int | None = None
    split: str | None = None
    encoding: str | None = None
    mapping: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    also: tuple[Source, ...] = ()
    """What is mixed in."""
    leak: Path | None = None
    """Evaluation rows, which drop_leaked leaves out."""
    part: Literal["all", "kept", "held"] = "all"
    share: float = 0.0
    """Of prompts that are held out, by a hash of each."""
    seed: int = 0
    """Fixes which rows of a mixture are drawn."""
    chunk_bytes: int | None = None
    """Bytes that a row of a document may have; None for a row of each paragraph."""

    def __str__(self) -> str:
        return str(self.path)


def no_rows_left(reading: Reading, hint: str = SHAPES_HELP) -> InputError:
    """The error for a data set of which no row is read: an empty file, or a share of the prompts that has none."""
    if reading.part == "all":
        return InputError("The data file is empty", f"{reading.path} has no rows.", hint)
    part, set_another = ("evaluation", "larger") if reading.part == "held" else ("training", "smaller")
    return InputError(
        f"No rows for {part}",
        f"data.evaluation_share = {reading.share:g} holds out prompts by a hash of each, and leaves no row of "
        f"{reading.path} for {part}.",
        f'Set a {set_another} data.evaluation_share; or 0 for no evaluation; or data.hold_out_by = "row".',
    )


@dataclass
class _InUse:
    """The layout by which rows are read: one that a column which comes up later may add to."""

    layout: Layout
    refuses_python: bool = False
    """Whether answers that are Python text are refused, as in a column that pandas wrote."""


@dataclass
class PlainRows:
    """The rows of a data set in their shape's plain form; iterate once."""

    in_use: _InUse
    rows: Iterator[Found]
    """A row in plain form, or what is wrong with it."""
    fixer: Fixer = field(default_factory=lambda: Fixer(()))
    unused: UnusedFields = field(default_factory=UnusedFields)
    """What the rows that were read say and nobody takes."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Rows in which no answer is preferred, by reason, of those that `strict` has passed."""

    @property
    def layout(self) -> Layout:
        """What the rows were recognised as; with the columns of all rows once they were read."""
        return self.in_use.layout

    def strict(self) -> Iterator[tuple[Path, int, Row]]:
        """The rows; raises InputError on the first that is broken. Those that prefer no answer are left out."""
        for file, number, row in self.rows:
            if isinstance(row, LeftOut):
                self.left_out[row.reason] += 1
                continue
            if isinstance(row, InputError):
                raise row
            yield file, number, row


def training_reading(data: DataSpec, seed: int = 0) -> Reading:
    """How the spec has its training rows read. Raises as `locate` does, and InputError for a source of a mixture."""
    by_prompt = data.hold_out_by == "prompt" and data.evaluation_share > 0
    return Reading(
        locate(data.train),
        data.shape,
        data.limit,
        data.split,
        data.encoding,
        data.mapping,
        data.fixes,
        tuple(map(parse_source, data.also)),
        locate(data.evaluation) if data.evaluation and "drop_leaked" in data.fixes else None,
        "kept" if by_prompt else "all",
        data.evaluation_share if by_prompt else 0.0,
        seed,
        data.chunk_bytes,
    )


def evaluation_reading(data: DataSpec, seed: int = 0) -> Reading | None:
    """How the spec has its evaluation rows read: like the training rows; None where no rows of their own are kept."""
    training = training_reading(data, seed)
    if training.part == "kept":
        return replace(training, part="held")
    if data.evaluation is None:
        return None
    steps = tuple(step for step in data.fixes if step != "drop_leaked")
    return Reading(
        locate(data.evaluation), data.shape, None, None, data.encoding, data.mapping, steps, seed=seed,
        chunk_bytes=data.chunk_bytes,
    )  # fmt: skip


def raw_rows(reading: Reading, not_read: dict[str, str] | None = None) -> Iterator[Found]:
    """The rows as they are kept; of messages that are rows of their own, the conversations that they make.

    Those of annotation tools have a column for everything that they hold. A mapping names the columns of the file,
    unless it says what a verdict means. `not_read` gets the other splits of the file or folder, by name.

    Raises InputError where reading cannot continue.
    """
    rows = each_row(
        reading.path,
        split=reading.split,
        encoding=reading.encoding,
        limit=reading.limit,
        chunk_bytes=reading.chunk_bytes,
        not_read=not_read,
    )
    if reading.mapping and not states_verdict(reading.mapping):
        return rows
    return plain_columns(conversations_of_messages(rows))


def plain_rows(reading: Reading, *, with_fixes: bool = True) -> PlainRows:
    """Recognise or map, convert, mix and fix. Raises InputError that names file and line, also for no rows."""
    unused = UnusedFields()
    in_use, converted = _converted_rows(reading, unused)
    layout = in_use.layout
    rows: Iterator[Found] = converted
    for source in reading.also:
        other, more = _converted_rows(replace(reading, path=source.path, limit=None, split=None, also=()))
        if form_of(other.layout.shape) != form_of(layout.shape):
            raise InputError(
                "The sources of a mixture differ",
                f"{source.path} is of dataset type {other.layout.shape}, and {reading.path} of {layout.shape}.",
                "Map columns so that both are alike, or convert one: tuner-tui data convert",
            )
        more.close()
    if reading.also:
        rows = mixed(rows, reading.also, lambda source: _source_rows(reading, source, unused), reading.seed)
    if reading.part != "all":
        rows = (
            found
            for found in rows
            if isinstance(found.row, InputError)
            or is_held(prompt_text(found.row), reading.share) == (reading.part == "held")
        )
    leaked = _leaked(reading) if reading.leak is not None and with_fixes else frozenset()
    fixer = Fixer(reading.fixes if with_fixes else (), leaked)
    return PlainRows(in_use, fixer.apply(rows), fixer, unused)


def form_of(shape: str) -> str:
    """Shapes that have one plain form share a name."""
    return "messages" if shape == "instruction" else shape


def is_held(prompt: str, share: float) -> bool:
    """Whether a prompt is held out, by its SHA-256: independent of the other rows."""
    digest = hashlib.sha256(prompt.strip().encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def _converted_rows(
    reading: Reading, unused: UnusedFields | None = None
) -> tuple[_InUse, Generator[Found, None, None]]:
    rows = raw_rows(reading, None if unused is None else unused.not_read)
    head: list[Found] = []
    broken: InputError | None = None
    try:
        head.extend(itertools.islice(rows, SAMPLE_ROWS))
    except InputError as error:  # reported after the rows up to there
        if not head:
            raise
        broken = error
    in_use = _InUse(layout_of(head, reading))
    if not reading.mapping:
        in_use.refuses_python = is_mostly_python(_plain_head(head, in_use.layout))
    return in_use, _all_converted(
        head, _rejoined(head, rows, broken), in_use, reading, unused or UnusedFields()
    )


def _all_converted(
    head: list[Found], rows: Iterator[Found], in_use: _InUse, reading: Reading, unused: UnusedFields
) -> Generator[Found, None, None]:
    """The rows in plain form. A column that the first rows lack is used from the first row that has it."""
    known = set().union(*(found.row for found in head if isinstance(found.row, dict)))
    convert = _converter(in_use, unused)
    for found in rows:
        if isinstance(found.row, dict) and not known.issuperset(found.row):
            known.update(found.row)
            head = [*head, found]
            in_use.layout = _with_further_columns(in_use.layout, head, reading)
            convert = _converter(in_use, unused)
        yield found._replace(row=read_row(found, in_use.layout.variant, convert))


def _plain_head(head: list[Found], layout: Layout) -> Iterator[Row]:
    """The first rows in plain form, as far as they can be read."""
    for found in head:
        row = read_row(found, layout.variant, layout.convert)
        if not isinstance(row, InputError):
            yield row


def _with_further_columns(layout: Layout, head: list[Found], reading: Reading) -> Layout:
    """The layout of rows among which a column came up later; the one before where that makes them no other rows."""
    if reading.mapping:
        return layout
    try:
        grown = layout_of(head, replace(reading, asked=layout.shape))
    except InputError:
        return layout
    return grown if {*layout.used} <= {*grown.used} and grown.variant.startswith(layout.variant) else layout


def _rejoined(head: list[Found], rows: Iterator[Found], broken: InputError | None) -> Iterator[Found]:
    yield from head
    if broken is not None:
        raise broken
    yield from rows


def _source_rows(reading: Reading, source: Source, unused: UnusedFields) -> Iterator[Found]:
    return _converted_rows(replace(reading, path=source.path, limit=None, split=None, also=()), unused)[1]


def _leaked(reading: Reading) -> frozenset[int]:
    if reading.leak is None:
        return frozenset()
    evaluation = Reading(
        reading.leak, reading.asked, encoding=reading.encoding, mapping=reading.mapping,
        chunk_bytes=reading.chunk_bytes,
    )  # fmt: skip
    plain = plain_rows(evaluation)
    return frozenset(content_key(found.row) for found in plain.rows if not isinstance(found.row, InputError))


def layout_of(head: list[Found], reading: Reading) -> Layout:
    """The layout of a data set by its first rows. Raises InputError."""
    good = [found for found in head if not isinstance(found.row, InputError)]
    if not good:
        for found in head:
            if isinstance(found.row, InputError):
                raise found.row
        raise no_rows_left(replace(reading, part="all"))
    columns = Columns(tuple(found.row for found in good if isinstance(found.row, dict)))
    if reading.mapping:
        layout = mapped_layout(parse_mapping(reading.mapping), columns)
        if reading.asked not in ("auto", layout.shape):
            raise InputError(
                "The mapping and data.shape differ",
                f"data.mapping makes {layout.shape}, and data.shape is {reading.asked}.",
                'Set data.shape = "auto", or map other parts.',
            )
        return layout
    if (fault := stepwise_fault(columns)) is not None:
        raise InputError(fault.title, f"{reading.path}: {fault.message}", fault.hint)
    candidates = layouts_of(columns)
    if reading.asked != "auto":
        fitting = [each for each in candidates if each.shape == reading.asked]
    else:
        fitting = [each for each in candidates if each.confidence >= SURE_ENOUGH]
    if not fitting:
        raise wrong_columns(good[0], columns, reading.asked)
    layout = fitting[0]
    if layout.problem is not None:
        raise InputError(
            layout.problem.title, f"{reading.path}: {layout.problem.message}", layout.problem.hint
        )
    if reading.asked == "auto" and layout.shape in ("prompts", "messages"):
        _require_no_answers(columns, layout, reading.path)
    return layout


def _require_no_answers(columns: Columns, layout: Layout, path: Path) -> None:
    """Raise InputError where several answers would be dropped because nothing is known to say which is better."""
    answers = answer_columns(columns)
    names = (
        answers.names
        if answers is not None
        else tuple(filter(None, (columns.find(RANKED, "texts", "objects"),)))
    )
    dropped = [name for name in names if name not in layout.used]
    if not dropped and layout.shape == "prompts":
        require_bare_prompts(columns, layout, path)
    if not dropped:
        return
    others = [name for name in columns.names if name not in {*names, *layout.used}]
    raise InputError(
        "The verdict on the answers is not understood",
        f"{path}: {', '.join(f'`{name}`' for name in dropped)} hold answers, and no other field says in a known way "
        f"which is better: {', '.join(map(field_name, others[:12])) or 'there is none'}.",
        "Name the field that does: --map 'verdict = {FIELD}' (in run.toml: data.mapping). To use the rest alone: "
        + " ".join(f"--map '{line}'" for line in mapping_lines(layout.mapping)),
    )


def wrong_columns(found: Found, columns: Columns, asked: str = "auto") -> InputError:
    """The error for columns of no known dataset type, or not of the wanted one."""
    names = (
        ", ".join(
            field_name(name if len(name) <= 40 else f"{name[:39]}…")
            + (" (empty)" if columns.kinds[name] == "empty" else "")
            for name in columns.names[:8]
        )
        or "none"
    )
    if asked == "auto" and (fault := _answer_fault(columns)) is not None:
        return InputError("An answer is not text", f"{found.file}:{found.number}: {fault}", ANSWER_HELP)
    wanted = "" if asked == "auto" else f", which are not those of {asked}"
    return InputError(
        "Unknown columns",
        f"{found.file}:{found.number}: the row's fields are: {names}{wanted}.",
        SHAPES_HELP,
    )


def _answer_fault(columns: Columns) -> str | None:
    """What is wrong with the values of an answer beside a question; None where there are no such columns."""
    question = columns.find(QUESTIONS, "text", "number")
    answer = columns.find(tuple(name for name in ANSWERS if question is None or name != question.lower()))
    if question is None or answer is None or columns.kinds[answer] not in ("bool", "other"):
        return None
    kind = type(columns.values(answer)[0]).__name__
    return f"`{answer}`, beside `{question}`, is of type {kind}, and an answer must be text or a number."


def _converter(in_use: _InUse, unused: UnusedFields) -> Callable[[Row], Row]:
    """What makes a layout's rows plain; fields that are not used are counted."""
    layout = in_use.layout
    used = {*layout.used, *FINISHED}

    def convert(row: Row) -> Row:
        plain: Row = unused.reading(row, used, layout.convert)
        if any(name in row for name in FINISHED):
            plain |= unfinished_sides(row)
        if "messages" not in plain:
            _require_sides(plain)
        if in_use.refuses_python and (part := python_part(plain)) is not None:
            raise python_fault(layout, part)
        return plain

    return convert


def read_row(found: Found, variant: str, read: Callable[[Row], T]) -> T | InputError:
    """What `read` makes of a row, or what is wrong with it, with file and line."""
    file, number, row = found
    if isinstance(row, InputError):
        return row
    try:
        return read(row)
    except NothingPreferred as fault:
        return LeftOut(fault, f"{file}:{number}")
    except RowFault as fault:
        return InputError(fault.title, f"{file}:{number}: {fault.message}", fault.hint)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError):
        return InputError("A row differs from the others", f"{file}:{number}: it does not fit {variant}.")


def _require_sides(row: Row) -> None:
    """Raise RowFault where a part is neither text nor turns."""
    for part in ("prompt", "completion", "text", "chosen", "rejected"):
        if part in row and not isinstance(row[part], str | list):
            raise RowFault("A field is not text", f"`{part}` would be {type(row[part]).__name__}.")
