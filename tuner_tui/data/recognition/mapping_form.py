"""A mapping while a person makes it: a dataset type, its parts, and the column or template of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from tuner_tui.data.files.rows import each_row
from tuner_tui.data.recognition.mapping import BESIDE, mapping_lines
from tuner_tui.data.recognition.reading import raw_rows
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.data.recognition.reading import Reading

SAMPLE_ROWS = 50
LONGEST_SAMPLE = 200
"""Characters of a value that are shown."""
DEEPEST, MOST_INSIDE = 3, 12
"""How deep inside values columns are offered, and how many of one value."""
_SIDE = tuple(sorted(BESIDE))


@dataclass(frozen=True)
class MappingType:
    """A dataset type that a mapping makes, with the parts that it needs and may have."""

    name: str
    words: str
    needed: tuple[str, ...]
    optional: tuple[str, ...] = _SIDE

    @property
    def parts(self) -> tuple[str, ...]:
        return (*self.needed, *self.optional)


TYPES = (
    MappingType(
        "instruction",
        "a question and its answer",
        ("user", "assistant"),
        ("system", "history", "reasoning", "tools", "chat_template_kwargs"),
    ),
    MappingType("conversation", "a list of turns", ("messages",)),
    MappingType(
        "conversation and answer",
        "a list of turns, and the answer in a column of its own",
        ("messages", "assistant"),
        (*_SIDE, "reasoning"),
    ),
    MappingType("prompt-completion", "text before, and text that is trained", ("prompt", "completion")),
    MappingType("text", "plain text, trained whole", ("text",), ()),
    MappingType("preference", "a better and a worse answer", ("chosen", "rejected"), ("prompt", *_SIDE)),
    MappingType(
        "preference by a verdict",
        "two answers, and which of them is better",
        ("verdict",),
        ("first", "second", "prompt", *_SIDE),
    ),
    MappingType(
        "unpaired preference", "an answer, and whether it is good", ("prompt", "completion", "label")
    ),
    MappingType("prompt-only", "prompts alone", ("prompt",)),
)
_ALIKE = (("user", "prompt"), ("assistant", "completion", "chosen", "first"), ("rejected", "second"))
"""Parts that stand for the same, by dataset type."""


@dataclass(frozen=True)
class MappingForm:
    """Chosen columns; a change gives a new one."""

    type: MappingType = TYPES[0]
    templates: tuple[tuple[str, str], ...] = ()
    """Part and template, such as `user` and `{question}`."""

    @classmethod
    def of_mapping(cls, mapping: dict[str, str]) -> Self:
        """The form of a mapping; that of the first type for parts that belong to none."""
        parts = set(mapping)
        fitting = [each for each in TYPES if set(each.needed) <= parts <= set(each.parts)]
        best = max(fitting, key=lambda each: len(each.needed), default=TYPES[0])
        return cls(best, tuple(mapping.items()))

    @property
    def mapping(self) -> dict[str, str]:
        """Templates by part, in the type's order."""
        chosen = dict(self.templates)
        return {part: chosen[part] for part in self.type.parts if part in chosen}

    @property
    def lines(self) -> tuple[str, ...]:
        """As `data.mapping` has it."""
        return mapping_lines(self.mapping)

    @property
    def missing(self) -> tuple[str, ...]:
        """Parts that the type needs and that have no column yet."""
        return tuple(part for part in self.type.needed if part not in self.mapping)

    def with_part(self, part: str, template: str) -> Self:
        """With a template for a part; empty for none."""
        others = tuple(pair for pair in self.templates if pair[0] != part)
        return replace(self, templates=(*others, (part, template)) if template else others)

    def with_type(self, name: str) -> Self:
        """Of another dataset type; columns stay with the parts that stand for the same."""
        wanted = next(each for each in TYPES if each.name == name)
        before, templates = dict(self.templates), dict(self.templates)
        for part in wanted.parts:
            same = next((alike for alike in _ALIKE if part in alike), (part,))
            given = next((before[other] for other in (part, *same) if other in before), "")
            if given:
                templates[part] = given
        return replace(self, type=wanted, templates=tuple(templates.items()))


@dataclass(frozen=True)
class ColumnSample:
    """A column, or what lies inside its values, with a value of it."""

    path: str
    """As templates name it, such as answers.text.0."""
    sample: str

    @property
    def template(self) -> str:
        """The template that takes the value as it is."""
        return f"{{{self.path}}}"


def column_samples(reading: Reading, *, by_verdict: bool = False) -> tuple[ColumnSample, ...]:
    """The columns that a mapping may name, by the first rows: of the file, or with `by_verdict` as it is read.

    Raises InputError where no row can be read.
    """
    if by_verdict:
        rows = raw_rows(replace(reading, mapping=()))
    else:
        rows = each_row(reading.path, split=reading.split, encoding=reading.encoding)
    samples: dict[str, str] = {}
    for found in islice(rows, SAMPLE_ROWS):
        if isinstance(found.row, InputError):
            continue
        for path, value in _paths(found.row):
            if not samples.get(path):
                samples[path] = _sample(value)
    return tuple(ColumnSample(path, sample) for path, sample in samples.items())


def _paths(value: dict[Any, Any], before: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    for key, inner in islice(value.items(), None if depth == 1 else MOST_INSIDE):
        path = f"{before}{key}"
        if "{" in path or "}" in path:  # a template cannot name it
            continue
        yield path, inner
        if isinstance(inner, list):
            inner = dict(enumerate(inner[:2]))
        if isinstance(inner, dict) and depth < DEEPEST:
            yield from _paths(inner, f"{path}.", depth + 1)


def _sample(value: Any) -> str:
    return "" if value is None else " ".join(str(value)[:LONGEST_SAMPLE].split())
