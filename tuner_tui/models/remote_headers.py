"""The facts of a Hub model that is not on this machine: config and headers by range requests, some hundred kilobytes.

They are cached by the repository's commit, so that later requests only ask for the commit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.files import make_folder, write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.models.card_metadata import licence_of_metadata
from tuner_tui.models.facts import ModelFacts, facts_from, gguf_facts
from tuner_tui.models.gguf_header import GgufHeader
from tuner_tui.models.hub_errors import explain_hub_error
from tuner_tui.models.model_folder import LARGEST_JSON_BYTES, WEIGHTS, WEIGHTS_INDEX, no_weights
from tuner_tui.models.quantisation import MODELOPT_FILE
from tuner_tui.models.remote_gguf import chosen_gguf, read_remote_gguf
from tuner_tui.models.safetensors_header import SafetensorsTensor, header_length, parse_header
from tuner_tui.owned import Layout, Owned

if TYPE_CHECKING:
    from tuner_tui.models.source import ModelSource

TIMEOUT_SECONDS = 15.0
FIRST_BYTES = 100_000
"""Most headers are shorter, so that one request is enough."""
LARGEST_JSON = 20_000_000
"""Largest config or index that is read."""
LARGEST_TOKENIZER = 64_000_000
"""The largest known have 35 MB."""
TOKENIZER = "tokenizer.json"
BESIDE_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
MOST_SHARDS = 400
REFUSES_RANGES = 416
SCHEMA = 2


def read_remote_facts(source: ModelSource) -> ModelFacts:
    """The facts of a Hub repository, as `read_facts` gives them of a local one. Raises TunerError.

    If the Hub is unreachable, the facts that were read before are returned, with their commit.
    """
    assert source.repo_id is not None
    from huggingface_hub import HfApi

    from tuner_tui.models.hub_client import use_bounded_client

    use_bounded_client()
    try:
        info = HfApi().model_info(source.repo_id, revision=source.revision, timeout=TIMEOUT_SECONDS)
        names = {file.rfilename for file in info.siblings or ()}
        remote = _Remote(source.repo_id, info.sha or source.revision or "main")
        licence = (
            licence_of_metadata({"license": info.card_data.get("license")}).identifier
            if info.card_data
            else None
        )
        facts = _cached(remote, names, licence)
        _remember(source, remote.commit, names)
        return facts
    except TunerError:
        raise
    except Exception as error:  # the client does not catch all errors of invalid responses
        problem = explain_hub_error(error, source.repo_id, source.revision)
        known = None if isinstance(problem, (InputError, NotFoundError)) else _facts_before(source)
        if known is not None:
            return known
        raise problem from None


def remote_tokenizer(source: ModelSource, *, may_fetch: bool) -> Path:
    """A folder with the tokenizer of a Hub repository whose facts were read, cached with them.

    Without `may_fetch` only one that was downloaded before. Raises TunerError if there is none.
    """
    assert source.repo_id is not None
    commit, names = _remembered(source)
    remote = _Remote(source.repo_id, commit)
    folder = header_cache() / f"{remote.key}-tokenizer"
    if (folder / TOKENIZER).is_file():
        return folder
    if not may_fetch or TOKENIZER not in names:
        raise NotFoundError(
            "Tokens cannot be counted yet", f"{source.name}: its {TOKENIZER} is not on this machine."
        )
    try:
        read = [(name, remote.read_whole(name)) for name in (*BESIDE_TOKENIZER, TOKENIZER) if name in names]
        owned().claim()
        make_folder(folder)
        for name, data in read:
            write_atomic(folder / name, data)
    except TunerError:
        raise
    except OSError as error:
        if error.filename is None:  # the client's own
            raise explain_hub_error(error, source.repo_id, source.revision) from None
        raise TunerError("The tokenizer cannot be saved", f"{folder}: {error.strerror}.") from error
    except Exception as error:  # as above
        raise explain_hub_error(error, source.repo_id, source.revision) from None
    return folder


def _remember(source: ModelSource, commit: str, names: set[str]) -> None:
    """Store the commit of a revision, and its tokenizer files."""
    pointer = {"commit": commit, "names": sorted(names & {TOKENIZER, *BESIDE_TOKENIZER})}
    with contextlib.suppress(OSError):  # a full disk: it is requested again the next time
        write_atomic(_pointer(source), json.dumps(pointer).encode())


def _remembered(source: ModelSource) -> tuple[str, list[str]]:
    """What `_remember` stored. Raises NotFoundError if there is nothing."""
    try:
        pointer = json.loads(guarded.read_bytes(_pointer(source)))
        return str(pointer["commit"]), list(pointer["names"])
    except (Unreadable, ValueError, RecursionError, KeyError, TypeError):
        raise NotFoundError("The model's header was never read", f"{source.name} was never read.") from None


def _pointer(source: ModelSource) -> Path:
    name = f"{source.repo_id}@{source.revision or ''}"
    return header_cache() / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.latest"


def _facts_before(source: ModelSource) -> ModelFacts | None:
    assert source.repo_id is not None
    try:
        commit, _ = _remembered(source)
    except NotFoundError:
        return None
    facts = _cached_facts(_Remote(source.repo_id, commit), None)
    return None if facts is None else replace(facts, read_at_commit=commit)


def _cached(remote: _Remote, names: set[str], licence: str | None) -> ModelFacts:
    if (facts := _cached_facts(remote, licence)) is not None:
        return facts
    cache_file, content = _file_of(remote), _fetch(remote, names)
    try:
        owned().claim()
        write_atomic(cache_file, json.dumps(content).encode())
    except OSError:
        pass  # a full disk: it is read again the next time
    return _facts(content, licence)


def _cached_facts(remote: _Remote, licence: str | None) -> ModelFacts | None:
    """The cached facts of a commit; None if there are no usable ones."""
    try:
        content = json.loads(guarded.read_bytes(_file_of(remote), LARGEST_JSON_BYTES))
        return _facts(content, licence) if content["schema"] == SCHEMA else None
    except (Unreadable, ValueError, RecursionError, KeyError, TypeError):
        return None


def _file_of(remote: _Remote) -> Path:
    return header_cache() / f"{remote.key}.json"


def _fetch(remote: _Remote, names: set[str]) -> dict[str, Any]:
    if names.isdisjoint((WEIGHTS, WEIGHTS_INDEX)):
        name = chosen_gguf(names)
        if name is None:
            raise no_weights(remote.repo_id, names)
        header = read_remote_gguf(f"{remote.repo_id}: {name}", partial(remote.read_range, name))
        return {"schema": SCHEMA, "gguf": msgspec.to_builtins(header)}
    config = remote.read_json("config.json")
    if WEIGHTS in names:
        shards: Iterable[str] = [WEIGHTS]
    else:
        weight_map = remote.read_json(WEIGHTS_INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise InputError(
                "The weight index is invalid", f"{remote.repo_id}: {WEIGHTS_INDEX} is not usable."
            )
        shards = sorted({str(name) for name in weight_map.values()})
    shards = list(shards)
    if len(shards) > MOST_SHARDS or not set(shards) <= names:
        raise InputError(
            "The weight index is invalid",
            f"{remote.repo_id}: {WEIGHTS_INDEX} lists files that the repository does not have.",
        )
    tensors: dict[str, list[Any]] = {}
    for shard in shards:
        for name, tensor in remote.read_header(shard).items():
            tensors[name] = [tensor.dtype, tensor.size_bytes, *tensor.shape]
    template = "chat_template.jinja" in names or "chat_template.json" in names
    if not template and "tokenizer_config.json" in names:
        template = bool(remote.read_json("tokenizer_config.json").get("chat_template"))
    modelopt = remote.read_json(MODELOPT_FILE) if MODELOPT_FILE in names else None
    return {
        "schema": SCHEMA,
        "config": config,
        "tensors": tensors,
        "has_chat_template": template,
        "modelopt": modelopt,
    }


def _facts(content: Mapping[str, Any], licence: str | None) -> ModelFacts:
    if "gguf" in content:
        facts = gguf_facts(msgspec.convert(content["gguf"], GgufHeader))
        return replace(facts, licence=licence or facts.licence)
    tensors = {}
    for name, (dtype, size, *shape) in content["tensors"].items():
        elements = 1
        for width in shape:
            elements *= width
        tensors[name] = SafetensorsTensor(dtype, elements, size, tuple(shape))
    return facts_from(
        content["config"],
        tensors,
        has_chat_template=content["has_chat_template"],
        licence=licence,
        modelopt=content["modelopt"],
    )


class _Remote:
    """One commit of a repository, read by ranges."""

    def __init__(self, repo_id: str, commit: str) -> None:
        self.repo_id, self.commit = repo_id, commit
        self.key = hashlib.sha256(f"{repo_id}@{commit}".encode()).hexdigest()[:32]

    def read_whole(self, name: str) -> bytes:
        """A file of a tokenizer. Raises InputError if it is too large."""
        data, total = self.read_range(name, 0, LARGEST_TOKENIZER + 1)
        if len(data) > LARGEST_TOKENIZER or (total is not None and total != len(data)):
            raise InputError(
                f"{name} is too large", f"{self.repo_id}: {name} has {total or len(data):,} bytes."
            )
        return data

    def read_json(self, name: str) -> dict[str, Any]:
        """A small JSON file with an object."""
        data, total = self.read_range(name, 0, LARGEST_JSON)
        if total is not None and total > LARGEST_JSON:
            raise InputError(f"{name} is too large", f"{self.repo_id}: {name} has {total:,} bytes.")
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            raise InputError(f"{name} is not JSON", f"{self.repo_id}: {name} cannot be read.") from None
        if not isinstance(content, dict):
            raise InputError(f"{name} is not a JSON object", f"{self.repo_id}: {name} is something else.")
        return content

    def read_header(self, name: str) -> dict[str, SafetensorsTensor]:
        """The header of a safetensors file, checked against the file's size if the server reports it."""
        where = f"{self.repo_id}: {name}"
        data, total = self.read_range(name, 0, FIRST_BYTES)
        if len(data) < 8:
            raise InputError("Model file is truncated", f"{where} has only {len(data)} bytes.")
        length = header_length(where, data)
        if total is not None and 8 + length > total:
            raise InputError("Model file is truncated", f"{where} ends inside its header.")
        if len(data) < 8 + length:
            data += self.read_range(name, len(data), 8 + length - len(data))[0]
        return parse_header(where, data[8 : 8 + length], total)

    def read_range(self, name: str, start: int, count: int) -> tuple[bytes, int | None]:
        """(bytes, the file's size if known). A server that ignores or refuses ranges is read from the file's start."""
        from huggingface_hub import errors

        try:
            return self._read(name, start, count, {"Range": f"bytes={start}-{start + count - 1}"})
        except errors.HfHubHTTPError as error:
            if error.response.status_code != REFUSES_RANGES:
                raise
            return self._read(name, start, count, {})

    def _read(self, name: str, start: int, count: int, extra: dict[str, str]) -> tuple[bytes, int | None]:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            get_session,
            hf_raise_for_status,
        )

        from tuner_tui.models.hub_client import BOUNDED_BY_CALLER, UNCOMPRESSED, use_bounded_client

        url = hf_hub_url(self.repo_id, name, revision=self.commit)
        use_bounded_client()
        headers = build_hf_headers() | extra | UNCOMPRESSED
        with get_session().stream(
            "GET",
            url,
            headers=headers,
            timeout=TIMEOUT_SECONDS,
            follow_redirects=True,
            extensions=BOUNDED_BY_CALLER,
        ) as answer:
            hf_raise_for_status(answer)
            skip = start if answer.status_code == 200 else 0
            if skip > 1_000_000_000:
                raise TunerError("The Hub refuses ranges", f"{self.repo_id}: {name} cannot be read in part.")
            data = bytearray()
            for piece in answer.iter_bytes():
                data += piece
                if len(data) >= skip + count:
                    break
            return bytes(data[skip : skip + count]), _size(answer.status_code, answer.headers)


def _size(status: int, headers: Mapping[str, str]) -> int | None:
    """The file's size, from a response's headers."""
    size_text = (
        headers.get("content-range", "").rpartition("/")[2]
        if status == 206
        else headers.get("content-length", "")
    )
    return int(size_text) if size_text.isdigit() else None


def owned() -> Owned:
    """That folder, for deleting in it."""
    return Owned(header_cache(), "headers", layout=LAYOUT, may_be_older=paths.is_usual_cache())


def _is_entry(path: Path) -> bool:
    if path.name.endswith("-tokenizer"):
        return path.is_dir() and all(_is_of_tokenizer(inner.name) for inner in path.iterdir())
    return path.is_file()


def _is_of_tokenizer(name: str) -> bool:
    return any(name == known or name.startswith(f".{known}.") for known in (TOKENIZER, *BESIDE_TOKENIZER))


def _was_made(path: Path) -> bool:
    if path.name.endswith("-tokenizer"):
        return (path / TOKENIZER).is_file()
    keys = guarded.read_json(path, dict, LARGEST_JSON_BYTES).keys()
    return keys == {"commit", "names"} if path.suffix == ".latest" else "schema" in keys


LAYOUT = Layout(r"[0-9a-f]{32}(\.json|\.latest|-tokenizer)", _is_entry, _was_made)


def header_cache() -> Path:
    """The folder of cached facts."""
    return paths.cache_dir() / "headers"
