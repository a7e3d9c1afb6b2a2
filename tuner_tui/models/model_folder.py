"""The files of a model's folder as transformers expects them: settings, weights and tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from tuner_tui import guarded
from tuner_tui.errors import InputError

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
CONVERT_PAGE = "https://huggingface.co/spaces/safetensors/convert"
GGUF_HINT = (
    "Use the original model with safetensors weights, or a single GGUF file "
    "(from the Hub: hf download OWNER/NAME FILE.gguf)."
)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_NOT_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth")
LARGEST_JSON_BYTES = 64 << 20
"""The index of a model with 100,000 tensors takes some 10 MB."""
_TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("tekken.json",),
)

_FILES = {
    "config.json", WEIGHTS, WEIGHTS_INDEX, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "generation_config.json", "chat_template.jinja", "chat_template.json", "adapter_config.json",
    *(name for names in _TOKENIZERS for name in names),
}  # fmt: skip
"""What transformers reads of a model's folder, its weights' shards apart."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises InputError that names the file for anything else."""
    try:
        content = json.loads(guarded.read_bytes(path, LARGEST_JSON_BYTES))
    except guarded.Unreadable as error:
        raise InputError(f"Cannot read {path.name}", f"{path}: {error.problem}.", error.hint) from error
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(
            f"{path.name} is not JSON",
            f"{path} cannot be read{where}.",
            "Download the file again.",
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path.name} is not a JSON object", f"{path} has {type(content).__name__} data.")
    return content


def require_files(folder: Path) -> None:
    """Raise InputError, without waiting, for a pipe, a device or a folder in the place of a model's file."""
    for path in sorted(folder.iterdir()):
        if (path.name in _FILES or path.suffix == ".safetensors") and path.exists() and not path.is_file():
            guarded.open_regular(path).close()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files with the base's weights; raises InputError when some or all are missing."""
    require_files(folder)
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / WEIGHTS_INDEX
    if not index.is_file():
        raise no_weights(str(folder), [entry.name for entry in folder.iterdir()])
    names = sorted(set(read_weight_map(index).values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        are = "are" if more else "is"
        raise InputError(
            "Weights are missing",
            f"{index} names {missing[0]}{more}, which {are} not in the folder.",
            "Download the missing files.",
        )
    return [folder / name for name in names]


def read_weight_map(index: Path) -> dict[str, str]:
    """The file of each tensor, from an index file."""
    weight_map = read_json(index).get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(map(_is_plain_name, weight_map.values()))
    ):
        raise InputError(
            "The weight index is invalid",
            f"{index} has no usable weight_map.",
            "Download the file again.",
        )
    return weight_map


def _is_plain_name(name: object) -> bool:
    """Whether a shard's name is a safetensors file inside the model's folder."""
    if not isinstance(name, str) or not name.endswith(".safetensors"):
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def has_tokenizer(names: Iterable[str]) -> bool:
    """Whether a folder's file names include a tokenizer that transformers can load."""
    present = set(names)
    return any(present.issuperset(files) for files in _TOKENIZERS) or any(
        name.endswith(".tiktoken") for name in present
    )


def no_tokenizer(where: str) -> InputError:
    """The error for a model without a tokenizer."""
    return InputError(
        "No tokenizer",
        f"{where} has neither tokenizer.json nor another tokenizer's files.",
        "Add the tokenizer's files from the original model (tokenizer.json, tokenizer_config.json).",
    )


def no_weights(where: str, names: Iterable[str]) -> InputError:
    """The error for a model without safetensors weights; depends on which other files exist."""
    files = sorted(names)
    pickles = [name for name in files if name.endswith(_PICKLES) and name not in _NOT_WEIGHTS]
    others = [name for name in files if name.endswith(".safetensors") and not name.startswith("adapter_")]
    if pickles and not others:
        return InputError(
            "Weights are Python pickles",
            f"{where} has weights only as {listed(pickles)}. "
            "A pickle can run any code when it is loaded, so it is not opened.",
            f"Use a safetensors version, or convert one you trust: {CONVERT_PAGE}",
        )
    ggufs = [name for name in files if name.lower().endswith(".gguf")]
    if ggufs and not others:
        return InputError("Only GGUF files here", f"{where} has weights only as {listed(ggufs)}.", GGUF_HINT)
    if others:
        return InputError(
            "Weights do not have the usual name",
            f"{where} has {listed(others)}, but neither {WEIGHTS} nor {WEIGHTS_INDEX}.",
            "Download the model again, or rename the file.",
        )
    return InputError(
        "No weights",
        f"{where} has neither {WEIGHTS} nor {WEIGHTS_INDEX}.",
        "Download the model's safetensors files too.",
    )


def listed(names: list[str], limit: int = 3) -> str:
    """A few file names for a message."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
