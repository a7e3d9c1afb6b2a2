"""Writes a tokenizer as GGUF metadata: byte-level BPE with a pre-tokenizer that llama.cpp supports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import gguf

from tuner_tui.errors import InputError
from tuner_tui.models.model_folder import read_json
from tuner_tui.worker.export.gguf_shapes import LLAMA_NEXT
from tuner_tui.worker.text.named_templates import named_templates

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
NO_MERGE = "\u0120 \u0120"
"""llama.cpp requires at least one merge; this one (two spaces) makes a token that a vocabulary without merges lacks."""
SPLITTERS = {
    "bytes": "gpt-2",
    "digits bytes": "smollm",
    f"split({_WORDS}\\p{{N}}{{1,3}}{_REST}) bytes": "llama-bpe",
    f"split({_WORDS}\\p{{N}}{_REST}) bytes": "qwen2",
}
"""llama.cpp's names of pre-tokenizers, by their description in tokenizer.json."""


def add_tokenizer(
    writer: gguf.GGUFWriter, folder: Path, tokenizer: PreTrainedTokenizerBase, rows: int
) -> None:
    """Write a tokenizer's metadata; `rows` are those of the embedding matrix, which may exceed the vocabulary.

    Raises InputError for tokenizers that llama.cpp would not reproduce.
    """
    if not (folder / "tokenizer.json").is_file():
        raise InputError(
            "This tokenizer cannot be exported as GGUF", f"{folder} has no tokenizer.json.", LLAMA_NEXT
        )
    content = read_json(folder / "tokenizer.json")
    splitter = find_splitter(content)
    special = {entry["id"]: entry["special"] for entry in content.get("added_tokens", ())}
    by_id = {number: token for token, number in tokenizer.get_vocab().items()}
    tokens, kinds = [], []
    for number in range(rows):
        token = by_id.get(number)
        if token is None:
            kind = gguf.TokenType.UNUSED
        elif number in special:
            kind = gguf.TokenType.CONTROL if special[number] else gguf.TokenType.USER_DEFINED
        else:
            kind = gguf.TokenType.NORMAL
        tokens.append(token if token is not None else f"[PAD{number}]")
        kinds.append(kind)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitter)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = content["model"]["merges"] or [NO_MERGE]
    writer.add_token_merges([pair if isinstance(pair, str) else _merge(*pair) for pair in merges])
    for kind in ("bos", "eos", "unk", "pad"):
        number = getattr(tokenizer, f"{kind}_token_id")
        if number is not None:
            getattr(writer, f"add_{kind}_token_id")(number)
    writer.add_add_bos_token(begins_with_bos(tokenizer))
    templates = named_templates(tokenizer)
    if templates:  # the default one is what programs read; llama.cpp takes others by name
        writer.add_chat_template(
            [{"name": name, "template": template} for name, template in templates.items()]
        )


def begins_with_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer adds its BOS token to a text by itself."""
    begin = tokenizer.bos_token_id
    return begin is not None and tokenizer("a")["input_ids"][:1] == [begin]


def find_splitter(content: dict[str, Any]) -> str:
    """llama.cpp's name of a tokenizer.json's pre-tokenizer. Raises InputError for unknown ones."""
    model = content["model"]
    if model["type"] != "BPE" or model.get("byte_fallback"):
        raise InputError(
            "This tokenizer cannot be exported as GGUF",
            f"It is a {model['type']} tokenizer{' with byte fallback' if model.get('byte_fallback') else ''}; "
            "byte-level BPE is supported.",
            LLAMA_NEXT,
        )
    description = _describe(content.get("pre_tokenizer") or {})
    normaliser = (content.get("normalizer") or {}).get("type")
    if description not in SPLITTERS or normaliser not in (None, "NFC"):
        raise InputError(
            "This tokenizer cannot be exported as GGUF",
            f"llama.cpp has no known equivalent of its pre-tokenizer: {description[:160] or 'none'}.",
            LLAMA_NEXT,
        )
    return SPLITTERS[description]


def _describe(step: dict[str, Any]) -> str:
    match step.get("type"):
        case "Sequence":
            return " ".join(_describe(inner) for inner in step["pretokenizers"])
        case "ByteLevel" if not step.get("add_prefix_space"):
            return "bytes"
        case "Digits" if step.get("individual_digits"):
            return "digits"
        case "Split" if step.get("behavior") == "Isolated" and not step.get("invert"):
            return f"split({step['pattern'].get('Regex', '')})"
    return json.dumps(step)


def _merge(left: str, right: str) -> str:
    return f"{left} {right}"
