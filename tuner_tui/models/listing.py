"""The models to select from: the demo's, those on this machine, and results of a Hub search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuner_tui.errors import TunerError
from tuner_tui.files import entries
from tuner_tui.models.check import HUB_TIMEOUT_SECONDS, check_source
from tuner_tui.models.demo import DEMO_REPO, demo_gguf
from tuner_tui.models.facts import ModelFacts, read_facts
from tuner_tui.models.hub_cache import cached_models
from tuner_tui.models.source import ModelSource, find_source

if TYPE_CHECKING:
    from collections.abc import Iterator

Origin = Literal["demo", "cache", "folder", "gguf", "hub", "typed"]
LARGEST_FOLDER = 500
"""Largest number of a folder's entries that are read, so that a large folder does not delay the list."""
SEARCH_LIMIT = 30
SEARCH_SHORTEST = 2


@dataclass(frozen=True)
class ModelListing:
    """One model in a list, with facts known without reading its weights."""

    source: str
    """The value of model.source."""
    name: str
    origin: Origin
    size_bytes: int | None = None
    parameters: int | None = None
    licence: str | None = None
    gated: bool | None = None
    """Whether the Hub requires accepting terms; None when unknown."""
    remark: str = ""
    """A remark, such as why it cannot be used."""


@dataclass(frozen=True)
class ModelLook:
    """A selected model, checked as before a run."""

    source: ModelSource | None = None
    facts: ModelFacts | None = None
    """What is known of its sizes, also of one that has a problem, such as a folder without weights or tokenizer."""
    problem: TunerError | None = None


def look_at_model(source: str, revision: str | None = None) -> ModelLook:
    """Resolve, check and read a model; uses the Hub if it is not on this machine."""
    resolved: ModelSource | None = None
    try:
        resolved = find_source(source, revision)
        check_source(resolved)
        return ModelLook(resolved, read_facts(resolved) if resolved.path else _remote_facts(resolved))
    except TunerError as error:
        return ModelLook(resolved, _known_facts(resolved) if resolved else None, error)


def _known_facts(source: ModelSource) -> ModelFacts | None:
    """The facts of a model that has a problem; None if they cannot be read either."""
    try:
        return read_facts(source) if source.path else _remote_facts(source)
    except TunerError:
        return None


def _remote_facts(source: ModelSource) -> ModelFacts | None:
    """The facts of a repository from config and headers; None if they cannot be read, which is no error."""
    from tuner_tui.models.remote_headers import read_remote_facts

    try:
        return read_remote_facts(source)
    except TunerError:
        return None


def list_models(folder: Path) -> list[ModelListing]:
    """The demo's model, the Hub's cache, and models in a folder and one below it."""
    return [demo_model(), *_cached(), *models_in(folder)]


def demo_model() -> ModelListing:
    """The demo's model, from its package or else from the Hub."""
    name = DEMO_REPO.rpartition("/")[2]
    gguf = demo_gguf()
    listing = ModelListing("demo", name, "demo", parameters=134_515_008, licence="apache-2.0", gated=False)
    if gguf is None:
        return replace(listing, remark="from the Hub, about 270 MB")
    return replace(listing, size_bytes=gguf.stat().st_size, remark="included in this installation")


def models_in(folder: Path) -> list[ModelListing]:
    """Model folders and GGUF files in a folder and one below it, by their relative paths."""
    return [_local(folder, path) for path in sorted(_model_paths(folder))]


def typed_model(text: str) -> ModelListing | None:
    """The model for an entered text: an existing path or a Hub name; None if neither."""
    text = text.strip()
    try:
        resolved = find_source(text)
    except TunerError:
        return None
    if resolved.path is None or resolved.kind == "hub":
        return ModelListing(
            text, text, "typed", size_bytes=resolved.size_bytes, remark="as typed, from the Hub"
        )
    return _described(ModelListing(text, text, "typed", resolved.size_bytes), resolved)


def search_hub(text: str) -> list[ModelListing]:
    """Text models on the Hub that match a search, most downloaded first. Raises TunerError when it does not respond."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    from tuner_tui.models.hub_client import use_bounded_client
    from tuner_tui.models.hub_errors import explain_hub_error

    use_bounded_client()
    # HfApi.list_models sends the same request, but retries without a network for 23 seconds.
    wanted: dict[str, Any] = {
        "search": text,
        "pipeline_tag": "text-generation",
        "sort": "downloads",
        "limit": SEARCH_LIMIT,
    }
    try:
        answer = get_session().get(
            f"{constants.ENDPOINT}/api/models",
            params={**wanted, "expand": ["gated", "safetensors", "tags", "downloads"]},
            headers=build_hf_headers(),
            timeout=HUB_TIMEOUT_SECONDS,
        )
        hf_raise_for_status(answer)
        return [_from_hub(item) for item in answer.json()]
    except Exception as error:  # the client does not catch all errors of invalid responses
        problem = explain_hub_error(error, "the search")
        raise TunerError("The Hub cannot be searched now", f"{problem.title}.", problem.hint) from None


def _cached() -> list[ModelListing]:
    listings = []
    for model in cached_models():
        listing = ModelListing(model.repo_id, model.repo_id, "cache", model.size_bytes)
        try:
            resolved = find_source(model.repo_id)
        except TunerError as error:
            listings.append(replace(listing, remark=error.title))
            continue
        if resolved.path is None:
            listings.append(replace(listing, remark="partly downloaded"))
        else:
            listings.append(_described(replace(listing, remark="downloaded"), resolved))
    return listings


def _model_paths(folder: Path) -> Iterator[Path]:
    for entry in entries(folder, LARGEST_FOLDER):
        if _is_model(entry):
            yield entry
        elif entry.is_dir() and not entry.name.startswith("."):
            yield from filter(_is_model, entries(entry, LARGEST_FOLDER))


def _is_model(path: Path) -> bool:
    try:
        if path.suffix.lower() == ".gguf":
            return path.is_file()
        return (path / "config.json").is_file() and any(path.glob("model*.safetensors*"))
    except OSError:
        return False


def _local(folder: Path, path: Path) -> ModelListing:
    name = f"./{path.relative_to(folder)}"
    listing = ModelListing(name, name, "gguf" if path.suffix.lower() == ".gguf" else "folder")
    try:
        resolved = find_source(str(path))
    except TunerError as error:
        return replace(listing, remark=error.title)
    return _described(listing, resolved)


def _described(listing: ModelListing, resolved: ModelSource) -> ModelListing:
    try:
        facts = read_facts(resolved)
    except TunerError as error:
        return replace(listing, size_bytes=resolved.size_bytes, remark=error.title)
    return replace(
        listing, size_bytes=resolved.size_bytes, parameters=facts.parameters, licence=facts.licence
    )


def _from_hub(info: dict[str, Any]) -> ModelListing:
    licences = [tag.partition(":")[2] for tag in info.get("tags") or () if tag.startswith("license:")]
    weights = info.get("safetensors")
    gated = info.get("gated")
    return ModelListing(
        info["id"],
        info["id"],
        "hub",
        parameters=weights["total"] if weights else None,
        licence=licences[0] if licences else None,
        gated=None if gated is None else bool(gated),
        remark="" if weights else "no safetensors weights",
    )
