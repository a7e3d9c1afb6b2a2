"""Checks a model before a run: whether it is complete, safe and can be tuned."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner_tui import guarded
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.guarded import Unreadable
from tuner_tui.models.adapter import refuse_adapter_beside
from tuner_tui.models.gguf_header import GgufArray, GgufHeader, read_gguf
from tuner_tui.models.hub_errors import explain_hub_error
from tuner_tui.models.model_folder import (
    GGUF_HINT,
    WEIGHTS,
    WEIGHTS_INDEX,
    has_tokenizer,
    listed,
    no_tokenizer,
    no_weights,
    read_json,
    read_weight_map,
    require_files,
    weight_files,
)
from tuner_tui.models.safetensors_header import read_safetensors, refuse_lfs_pointer
from tuner_tui.models.source import ModelSource, nearest_folder
from tuner_tui.text import counted

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

HUB_TIMEOUT_SECONDS = 10.0

GGUF_ARCHITECTURES = frozenset(
    [
        *("llama", "mistral", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gpt-oss", "lfm2", "falcon", "phi3"),
        *("bloom", "stablelm", "gpt2", "starcoder2", "mamba", "nemotron", "gemma2", "gemma3", "gemma4"),
        *("deci", "minimax-m2"),
    ]
)
"""Architectures that transformers 5.23 dequantises, by their names in GGUF."""


def check_source(source: ModelSource) -> None:
    """Raise an error that names the file and the next step when a model cannot be tuned as it is."""
    try:
        if source.kind == "gguf" and source.path:
            _check_gguf(source.path)
        elif source.path:
            _check_folder(source.path)
        else:
            _check_hub(source)
    except Unreadable as error:
        if not error.is_missing:
            raise
        raise NotFoundError("The model is missing", f"{error.path} does not exist any more.") from error
    except PermissionError as error:
        message = f"{error.filename or source.name}: {error.strerror or error}."
        raise InputError("Cannot read the model", message, "Check the file's permissions.") from error
    except FileNotFoundError as error:
        raise NotFoundError(
            "The model is missing", f"{error.filename or source.name} does not exist any more."
        ) from error
    except OSError as error:
        raise InputError(
            "Cannot read the model", f"{error.filename or source.name}: {error.strerror}."
        ) from error


def needs_remote_code(folder: Path) -> bool:
    """Whether loading a model's folder needs its own Python code."""
    try:
        return bool(read_json(folder / "config.json").get("auto_map"))
    except InputError:
        return False


def _check_folder(folder: Path) -> None:
    require_files(folder)
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    _check_names(str(folder), names, _adapter_base(folder))
    refuse_adapter_beside(folder)
    config = read_json(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise InputError(
            "config.json names no model type",
            f"{folder / 'config.json'} has no model_type, so it is unknown how to build the model.",
            "Use the config.json of the original model.",
        )
    for path in weight_files(folder):
        tensors = read_safetensors(path)
        if path.name != WEIGHTS:
            _check_index(folder / WEIGHTS_INDEX, path.name, set(tensors))
    for name in ("tokenizer.json", "tokenizer.model"):
        if name in names:
            with guarded.open_regular(folder / name) as file:
                refuse_lfs_pointer(folder / name, file.read(8))
    if (folder / "chat_template.jinja").exists():
        guarded.open_regular(folder / "chat_template.jinja").close()


def _check_index(index: Path, shard: str, tensors: set[str]) -> None:
    missing = sorted(
        name for name, file in read_weight_map(index).items() if file == shard and name not in tensors
    )
    if missing:
        raise InputError(
            "Weights are missing",
            f"{index} lists {listed(missing)} in {shard}, but it is not there.",
            "Download both files again.",
        )


def _check_names(where: str, names: Iterable[str], adapter_base: str | None = None) -> None:
    """Raise InputError if the files of a folder or repository are not a base model; `where` names it."""
    present = set(names)
    has_weights = bool(present & {WEIGHTS, WEIGHTS_INDEX})
    if "adapter_config.json" in present and not ("config.json" in present and has_weights):
        base = f" for {adapter_base}" if adapter_base else ""
        raise InputError(
            "This is an adapter, not a base model",
            f"{where} has only trained adapter weights{base}.",
            f"Use the base instead: {adapter_base}"
            if adapter_base
            else "Use the model that it was trained on.",
        )
    if "config.json" not in present:
        ggufs = sorted(name for name in present if name.lower().endswith(".gguf"))
        if ggufs:
            raise InputError(
                "Only GGUF files here",
                f"{where} has no config.json, but {listed(ggufs)}.",
                GGUF_HINT,
            )
        raise InputError(
            "Not a model's folder", f"{where} has no config.json.", "Give the folder with config.json."
        )
    if not has_weights:
        raise no_weights(where, present)
    if not has_tokenizer(present):
        raise no_tokenizer(where)


def _adapter_base(folder: Path) -> str | None:
    try:
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    except InputError:
        return None
    return base if isinstance(base, str) and base else None


def _check_gguf(path: Path) -> None:
    header = read_gguf(path)
    architecture = header.text("general.architecture")
    if architecture is None:
        raise InputError("GGUF file names no architecture", f"{path} has no general.architecture.")
    _refuse_other_gguf(path, header)
    if architecture not in GGUF_ARCHITECTURES:
        raise InputError(
            "This architecture cannot be read from GGUF",
            f"{path} has a model of architecture {architecture!r}.",
            "Use the original model's folder or Hub name instead.",
        )
    _refuse_unread_scaling(path, header, architecture)
    if not header.tensors:
        raise InputError("GGUF file without weights", f"{path} has only a vocabulary.")
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, GgufArray) or not tokens.length:
        raise no_tokenizer(str(path))


def _refuse_unread_scaling(path: Path, header: GgufHeader, architecture: str) -> None:
    """Raise InputError for rotary scaling that transformers' GGUF reader ignores: positions would be wrong."""
    kind = header.text(f"{architecture}.rope.scaling.type") or "none"
    factor = header.metadata.get(f"{architecture}.rope.scaling.factor", 1.0)
    names = [tensor.name for tensor in header.tensors if tensor.name.startswith("rope_factors")]
    if names:
        kind = "longrope"
    if kind == "none" or factor == 1.0 or (architecture == "gpt-oss" and not names):
        return
    raise InputError(
        "This model's rotary scaling cannot be read from GGUF",
        f"{path} uses {kind} rotary scaling, which transformers' GGUF reader ignores.",
        "Use the original model's folder or Hub name instead.",
    )


def _refuse_other_gguf(path: Path, header: GgufHeader) -> None:
    """Raise InputError for GGUF files that are only part of a model."""
    kind = header.text("general.type") or "model"
    if kind == "adapter":
        base = header.text("general.base_model.0.name")
        named = f" for {base}" if base else ""
        message = f"{path} has only trained adapter weights{named}."
        raise InputError("This is an adapter, not a base model", message, "Give the base model's GGUF file.")
    if kind != "model":
        raise InputError("Not a language model", f"{path} is a GGUF file of type {kind!r}.")
    parts = header.number("split.count") or 1
    if parts > 1:
        raise InputError(
            "Only part of a model",
            f"{path} is one of {counted(parts, 'part')} of a model.",
            "Join them first: llama-gguf-split --merge FIRST-PART OUTPUT.gguf",
        )


def _check_hub(source: ModelSource) -> None:
    """Check on the Hub that a repository is accessible and has a base model."""
    assert source.repo_id is not None
    from huggingface_hub import HfApi, hf_hub_url

    from tuner_tui.models.hub_client import use_bounded_client

    use_bounded_client()
    api = HfApi()
    try:
        info = api.model_info(
            source.repo_id, revision=source.revision, files_metadata=True, timeout=HUB_TIMEOUT_SECONDS
        )
    except Exception as error:  # the client does not catch all errors of invalid responses
        raise _hub_problem(error, source) from None  # the cause may contain the request's headers
    if info.siblings is not None:
        _check_names(source.repo_id, [file.rfilename for file in info.siblings], _card_base(info))
    if info.gated:  # the file list of a gated repository is public, its content is not
        url = hf_hub_url(source.repo_id, "config.json", revision=source.revision)
        try:
            api.get_hf_file_metadata(url=url, timeout=HUB_TIMEOUT_SECONDS)
        except Exception as error:  # as above
            raise _hub_problem(error, source) from None


def _hub_problem(error: Exception, source: ModelSource) -> Exception:
    assert source.repo_id is not None
    problem = explain_hub_error(error, source.repo_id, source.revision)
    nearest = nearest_folder(source.repo_id) if isinstance(problem, NotFoundError) else None
    if nearest:
        problem.hint += f" Or did you mean the folder {nearest}?"
    return problem


def _card_base(info: ModelInfo) -> str | None:
    """The base that a repository's model card names."""
    base: Any = info.card_data.get("base_model") if info.card_data else None
    if isinstance(base, list) and base:
        base = base[0]
    return base if isinstance(base, str) else None
