"""Columns of the `datasets` library that hold the number of a name: the names, as the file's schema tells them.

`datasets` writes the features of a data set into the schema's metadata under "huggingface"; one of the type ClassLabel
is stored as a number, and its `names` say what each number stands for.
https://huggingface.co/docs/datasets/package_reference/main_classes#datasets.ClassLabel
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tuner_tui.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = -1
"""What stands for no label."""


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """Those features of a file's columns that have class labels in them; empty where the file tells of none."""
    try:
        dataset_metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = dataset_metadata["info"]["features"]
        return {name: feature for name, feature in features.items() if _has_names(feature)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def with_names(batch: pa.RecordBatch, features: dict[str, Any]) -> pa.RecordBatch:
    """A batch with the labels' names in place of their numbers. Raises InputError for a number without a name."""
    import pyarrow as pa

    if not any(name in features for name in batch.schema.names):
        return batch
    columns, fields = [], []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if field.name in features:
            named = [_named(value, features[field.name], field.name) for value in column.to_pylist()]
            column = pa.array(named, _type_of(field.type, features[field.name]))
        columns.append(column)
        fields.append(pa.field(field.name, column.type))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, batch.schema.metadata))


def _names_of(feature: Any) -> list[str] | None:
    """The names of a class label, or of a list's elements as `datasets` nests them."""
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _has_names(feature: Any) -> bool:
    return _names_of(feature) is not None or any(_has_names(each) for _, each in _parts(feature))


def _parts(feature: Any) -> list[tuple[str | None, Any]]:
    """What a feature is made of: (key of an object, or None for a list's elements; its feature)."""
    if isinstance(feature, list) and len(feature) == 1:
        return [(None, feature[0])]
    if not isinstance(feature, dict):
        return []
    kind = feature.get("_type")
    if kind in ("List", "LargeList", "Sequence") and isinstance(inner := feature.get("feature"), dict):
        if (
            kind == "Sequence" and "_type" not in inner
        ):  # a sequence of objects is stored as an object of lists
            return [(name, {"_type": "List", "feature": each}) for name, each in inner.items()]
        return [(None, inner)]
    return [] if isinstance(kind, str) else list(feature.items())


def _named(value: Any, feature: Any, column: str) -> Any:
    names = _names_of(feature)
    if value is None:
        return None
    if names is not None:
        if not isinstance(value, int) or value == MISSING:
            return None if value == MISSING else value
        if not 0 <= value < len(names):
            raise InputError(
                "A class label has no name",
                f"`{column}` is {value}, and the file names {len(names)} labels: {', '.join(names[:8])}.",
                "Write the file again with all names, or with texts in place of class labels.",
            )
        return names[value]
    parts = dict(_parts(feature))
    if isinstance(value, list) and None in parts:
        return [_named(each, parts[None], column) for each in value]
    if isinstance(value, dict):
        return {
            key: _named(each, parts[key], column) if key in parts else each for key, each in value.items()
        }
    return value


def _type_of(kind: Any, feature: Any) -> Any:
    """The Arrow type of a column whose labels are names."""
    import pyarrow as pa
    from pyarrow import types

    if _names_of(feature) is not None:
        return pa.string()
    parts = dict(_parts(feature))
    if types.is_struct(kind):
        return pa.struct(
            [
                field.with_type(_type_of(field.type, parts[field.name])) if field.name in parts else field
                for field in kind
            ]
        )
    if None in parts and (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return pa.list_(_type_of(kind.value_type, parts[None]))
    return kind
