"""The data sets of a source as the [data] table: one kind of row, one mapping, further sources with their shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition.columns import TURNS
from tuner_tui.data.rows.roles import ROLES
from tuner_tui.data.rows.written import CONTENT_KEYS, ROLE_KEYS
from tuner_tui.importing.values import has_option, number

if TYPE_CHECKING:
    from tuner_tui.importing.rules import Rules
    from tuner_tui.importing.yaml_text import Place

ONE_WAY = "all sources are read in one way here, and the first one is read in another"
PLACEHOLDER = "train.jsonl"
"""What data.train is where a source names no data, as in presets."""


@dataclass
class DataSet:
    """One data set as the source describes it, with the places of the keys that say so."""

    file: str
    source: str
    """What data.train can say: a path, or hub:owner/name."""
    named_by: list[Place] = field(default_factory=list)
    reason: str = ""
    """Why its name is another one here; empty where it is the same."""
    split: str | None = None
    split_places: list[Place] = field(default_factory=list)
    shape: str | None = None
    loss_on: str | None = None
    shape_places: list[Place] = field(default_factory=list)
    shape_reason: str = ""
    mapping: tuple[str, ...] = ()
    mapping_places: list[Place] = field(default_factory=list)
    weight: float | None = None
    weight_places: list[Place] = field(default_factory=list)
    rows: int | None = None
    rows_places: list[Place] = field(default_factory=list)


def use(rules: Rules, sets: Sequence[DataSet]) -> None:
    """Training data: the first set as data.train, the others as data.also. Sets read in another way are not taken."""
    if not sets:
        return
    first, *others = sets
    ledger = rules.ledger
    ledger.take(first.file, first.named_by, {"data.train": first.source}, first.reason)
    if first.split and first.source.startswith("hub:") and first.split != "train":
        ledger.take(first.file, first.split_places, {"data.split": first.split})
    else:
        ledger.close(first.file, first.split_places, "not_needed", "the training split is the default")
    _shape(rules, first)
    if first.mapping:
        ledger.take(
            first.file,
            first.mapping_places,
            {"data.mapping": list(first.mapping)},
            "columns are named by a mapping here",
        )
    if first.rows and not others:
        ledger.take(
            first.file, first.rows_places, {"data.limit": first.rows}, "rows from the start of the file"
        )
    else:
        ledger.close(
            first.file, first.rows_places, "not_taken", "a number of rows can be drawn of further sources"
        )
    if others and first.weight:
        reason = "what the further sources leave is the share of the first one"
        ledger.close(first.file, first.weight_places, "not_needed", reason)
    elif first.weight_places:
        ledger.close(first.file, first.weight_places, "not_needed", "one source is the whole mixture")
    also = [line for other in others if (line := _further(rules, first, other))]
    if also:
        ledger.spec["data.also"] = also


def _shape(rules: Rules, data_set: DataSet) -> None:
    ours: dict[str, Any] = {}
    if data_set.shape:
        ours["data.shape"] = data_set.shape
    if data_set.loss_on and has_option("method.loss_on", rules.method, rules.tuning):
        ours["method.loss_on"] = data_set.loss_on
    standing = rules.ledger.spec.get("method.loss_on")
    if standing is not None and "method.loss_on" in ours and standing != ours["method.loss_on"]:
        rules.ledger.change("method.loss_on", ours["method.loss_on"], data_set.shape_reason)
    if ours:
        rules.ledger.take(data_set.file, data_set.shape_places, ours, data_set.shape_reason)
        if not data_set.shape_places:
            rules.ledger.spec |= ours
    else:
        rules.ledger.close(data_set.file, data_set.shape_places, "not_needed", "the dataset type is detected")


def _further(rules: Rules, first: DataSet, other: DataSet) -> str | None:
    """Its line in data.also; None if it cannot be read beside the first one."""
    ledger = rules.ledger
    places = [*other.named_by, *other.split_places, *other.shape_places, *other.mapping_places]
    places += [*other.weight_places, *other.rows_places]
    if other.mapping != first.mapping or _form(other.shape) != _form(first.shape):
        ledger.close(other.file, places, "not_taken", ONE_WAY)
        return None
    if other.split and other.split != "train":
        ledger.close(other.file, places, "not_taken", "only the first source can name a split here")
        return None
    line = other.source
    if other.weight is not None and 0 < other.weight < 1:
        line += f" weight={other.weight:g}"
    elif other.rows:
        line += f" rows={other.rows}"
    ledger.take(other.file, places, {"data.also": line}, "a further source, in data.also", is_converted=True)
    ledger.spec.pop("data.also", None)  # the lines are put together when all are known
    return line


def _form(shape: str | None) -> str | None:
    return "messages" if shape == "instruction" else shape


def evaluation(rules: Rules, data_set: DataSet, others: Sequence[DataSet] = ()) -> None:
    """Held-out rows from a source of their own."""
    places = [*data_set.split_places, *data_set.shape_places, *data_set.mapping_places]
    places += [*data_set.weight_places, *data_set.rows_places]
    if data_set.split not in (None, "train"):
        reason = "evaluation data is a file or data set of its own here, and cannot name a split"
        rules.ledger.close(data_set.file, [*data_set.named_by, *places], "not_taken", reason)
    else:
        rules.ledger.take(
            data_set.file, data_set.named_by, {"data.evaluation": data_set.source}, data_set.reason
        )
        rules.ledger.close(
            data_set.file, places, "not_needed", "evaluation data is read in the way of the training data"
        )
    for other in others:
        spent = [*other.named_by, *other.split_places, *other.shape_places, *other.mapping_places]
        rules.ledger.close(other.file, spent, "not_taken", "evaluation data is one source here")


def is_known_column(name: str) -> bool:
    """Whether a column of turns is found without a mapping."""
    return name.lower() in TURNS


def is_known_property(part: str, name: str) -> bool:
    """Whether a key of a turn (`role` or `content`) is read under this name."""
    return name in {"role": ROLE_KEYS, "content": CONTENT_KEYS}.get(part, ())


def is_known_role(role: str, name: str) -> bool:
    """Whether a turn's role is read as this one under this name."""
    return ROLES.get(name.lower()) == ("tool" if role in ("tool", "observation") else role)


def share(value: Any) -> float | None:
    """A share above 0 and below 1; None for anything else."""
    found = number(value)
    return float(found) if found is not None and 0 < found < 1 else None
