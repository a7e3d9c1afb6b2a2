"""Resolves relative paths of a run spec against the folder of its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tuner_tui.config.data_section import split_source
from tuner_tui.config.spec import RunSpec

DEMO = "demo"
"""The value for the shipped demo's model and data."""
NAMED_DATA = ("hub:", "feedback:")
"""Prefixes of data sources that are not files."""


def resolve_paths(spec: RunSpec, base_dir: Path) -> RunSpec:
    """The spec with relative paths resolved against a folder; Hub names and "demo" stay unchanged."""
    values = {key: resolved(key, value, base_dir) for key, value in _paths(spec)}
    model = {key: values[f"model.{key}"] for key in ("source", "adapter") if f"model.{key}" in values}
    data: dict[str, Any] = {
        key: values[f"data.{key}"] for key in ("train", "evaluation", "template") if f"data.{key}" in values
    }
    sources = map(split_source, spec.data.also)
    data["also"] = tuple(resolved("data.also", file, base_dir) + how for file, how in sources)
    return spec.model_copy(
        update={"model": spec.model.model_copy(update=model), "data": spec.data.model_copy(update=data)}
    )


def _paths(spec: RunSpec) -> Iterator[tuple[str, str]]:
    yield "model.source", spec.model.source
    if spec.model.adapter is not None:
        yield "model.adapter", spec.model.adapter
    yield "data.train", spec.data.train
    if spec.data.evaluation is not None:
        yield "data.evaluation", spec.data.evaluation
    if spec.data.template is not None:
        yield "data.template", spec.data.template


def resolved(key: str, value: str, base_dir: Path) -> str:
    if (
        value == DEMO
        or "://" in value
        or value.startswith(NAMED_DATA)
        or value.startswith("hub:")
        or value == "chatml"
    ):
        return value
    if key.startswith("model.") and not _is_local(value, base_dir):
        return value
    path = Path(value)
    with suppress(RuntimeError):  # "~name" of an unknown user
        path = path.expanduser()
    return str(base_dir.absolute() / path)


def _is_local(source: str, base_dir: Path) -> bool:
    if (
        source.startswith(("./", "../", "~", "/"))
        or source in (".", "..")
        or source.lower().endswith(".gguf")
    ):
        return True
    try:
        return (base_dir / source).is_dir()
    except (OSError, ValueError):  # too long or impossible as a file name
        return False
