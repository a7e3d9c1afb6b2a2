"""Explains pydantic's errors in a run spec, with the nearest valid key or value."""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

from tuner_tui.config.sections import all_options, has_kinds, kinds_of
from tuner_tui.config.spec import RunSpec, Section

Finding = tuple[tuple[str, ...], str, str]
"""The path of a key, what is wrong, and a hint."""

OTHER_NAMES = {
    "lr": "training.learning_rate",
    "r": "tuning.rank",
    "lora_r": "tuning.rank",
    "lora_alpha": "tuning.alpha",
    "lora_dropout": "tuning.dropout",
    "target_modules": "tuning.targets",
    "num_train_epochs": "training.epochs",
    "num_epochs": "training.epochs",
    "per_device_train_batch_size": "training.micro_batch",
    "micro_batch_size": "training.micro_batch",
    "gradient_accumulation_steps": "training.batch_size",
    "gradient_checkpointing": "training.checkpointing",
    "max_seq_length": "training.max_length",
    "sequence_length": "training.max_length",
    "lr_scheduler_type": "training.schedule",
    "warmup_ratio": "training.warmup",
    "warmup_steps": "training.warmup",
    "optim": "training.optimizer",
    "model_name": "model.source",
    "base_model": "model.source",
    "quantization": "model.precision",
    "load_in_4bit": "model.precision",
    "load_in_8bit": "model.precision",
    "dtype": "model.precision",
    "dataset": "data.train",
    "save_steps": "checkpoints.every_steps",
    "save_total_limit": "checkpoints.keep",
    "eval_steps": "evaluation.every_steps",
}
"""Names of our options in other tools."""

OTHER_KINDS = {("tuning", "qlora"): 'QLoRA is kind = "lora" with model.precision = "nf4".'}
"""Names of combinations of options in other tools, and their equivalent here."""

OTHER_WORDS = {
    "4bit": "nf4",
    "4-bit": "nf4",
    "int4": "nf4",
    "8bit": "int8",
    "8-bit": "int8",
    "float32": "fp32",
    "float16": "fp16",
    "half": "fp16",
    "bfloat16": "bf16",
    "gpu": "cuda",
    "true": "on",
    "false": "off",
    "flash": "flash_attention_2",
    "instruct": "instruction",
    "chat": "messages",
}
"""Names of our values in other tools."""


def explain_all(errors: list[Any], table: dict[str, Any]) -> dict[tuple[str, ...], Finding]:
    by_path: dict[tuple[str, ...], list[Any]] = {}
    for error in errors:
        tag = ("kind",) if error["type"].startswith("union_tag") else ()
        by_path.setdefault((*_path(error["loc"]), *tag), []).append(error)
    return {path: (path, *_explain(path, same, table)) for path, same in by_path.items()}


def _path(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The key of an error, without the tag of a union and what follows the key."""
    parts = [str(part) for part in loc]
    if len(parts) > 1 and has_kinds(parts[0]) and parts[1] in kinds_of(parts[0]):
        del parts[1]
    return tuple(parts[:2])


def _explain(path: tuple[str, ...], errors: list[Any], table: dict[str, Any]) -> tuple[str, str]:
    """A message and a hint for pydantic's errors at one key."""
    error = errors[0]
    value = error["input"]
    kind = table[path[0]].get("kind") if len(path) == 2 and has_kinds(path[0]) else None
    match error["type"]:
        case "extra_forbidden":
            return unknown_key(path, value, kind)
        case "missing":
            option = all_options()[".".join(path)]
            return "must be given", option.description or ""
        case "union_tag_invalid" | "union_tag_not_found":
            return _unknown_kind(path[0], kind)
        case "model_type" | "model_attributes_type" | "dict_type":
            example = next(iter(kinds_of(path[0]).values())).model_fields
            hint = f"Write [{path[0]}] and below it keys such as {next(iter(example))}."
            return f"must be a table{_got(value)}", hint
    if items := [error for error in errors if isinstance(error["loc"][-1], int)]:
        lacks = [
            f"item {error['loc'][-1] + 1} must {_requirement(error)}{_got(error['input'])}" for error in items
        ]
        return "; ".join(lacks[:3]), ""
    requirements = list(dict.fromkeys(_requirement(error) for error in errors))
    requirement = " or ".join(requirements).replace(" or be a list", ", or a list")
    return f"must {requirement}{_got(value)}", _nearest_word(errors, value)


def _requirement(error: Any) -> str:
    """The requirement on a value; follows "must"."""
    context = error.get("ctx", {})
    match error["type"]:
        case "int_type" | "int_from_float" | "int_parsing":
            return "be a whole number"
        case "float_type" | "float_parsing" | "finite_number":
            return "be a number"
        case "bool_type" | "bool_parsing":
            return "be true or false"
        case "string_type":
            return "be text in quotes"
        case "tuple_type" | "list_type":
            return 'be a list such as ["..."]'
        case "literal_error":
            return f"be {_listed(_words(error))}"
        case "greater_than":
            return f"be above {_number(context['gt'])}"
        case "greater_than_equal":
            return f"be at least {_number(context['ge'])}"
        case "less_than":
            return f"be below {_number(context['lt'])}"
        case "less_than_equal":
            return f"be at most {_number(context['le'])}"
        case "string_too_short":
            return "not be empty"
        case "string_too_long":
            return f"have at most {context['max_length']} characters"
        case _:
            return "be something else"


def _number(bound: float) -> str:
    return f"{bound:g}" if abs(bound) < 1e6 else f"{bound:,.0f}".replace(",", "")


def _words(error: Any) -> list[str]:
    return re.findall(r"'([^']*)'", error["ctx"]["expected"])


def _listed(words: list[str]) -> str:
    quoted = [f'"{word}"' for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _got(value: Any) -> str:
    match value:
        case None:
            return ""
        case dict():
            return " (got a table)"
        case list():
            return " (got a list)"
        case str() if len(value) > 60:
            return f" (got {len(value)} characters)"
        case str() | bool():
            return f" (got {json.dumps(value, ensure_ascii=False)})"
        case _:
            return f" (got {value})"


def _nearest(word: str, words: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word[:60].lower(), words, n=1)), None)


def _nearest_word(errors: list[Any], value: Any) -> str:
    words = [word for error in errors if error["type"] == "literal_error" for word in _words(error)]
    if isinstance(value, bool | str):
        word = str(value).lower()
        other = OTHER_WORDS.get(word)
        nearest = other if other in words else _nearest(word, words)
        return f'Did you mean "{nearest}"?' if nearest else ""
    return ""


def _unknown_kind(section: str, kind: Any) -> tuple[str, str]:
    kinds = list(kinds_of(section))
    if not isinstance(kind, str):
        return f"must be {_listed(kinds)}{_got(kind)}", ""
    hint = OTHER_KINDS.get((section, kind.lower()), "")
    if not hint and (nearest := _nearest(kind, kinds)):
        hint = f'Did you mean "{nearest}"?'
    return (
        f"there is no {section} {json.dumps(kind[:60], ensure_ascii=False)}; kind is {_listed(kinds)}",
        hint,
    )


def unknown_key(path: tuple[str, ...], value: Any, kind: Any = None) -> tuple[str, str]:
    """Where a misplaced key belongs, or the nearest valid key."""
    section, key = path[0], path[-1]
    unknown = "there is no such key"
    if len(path) == 2:
        kinds = kinds_of(section)
        if owners := [kind_name for kind_name, fields in kinds.items() if key in fields.model_fields]:
            return (
                f'belongs to kind = {_listed(owners)}, and this is kind = "{kind}"',
                "Remove it or change kind.",
            )
        if nearest := _nearest(key, list(kinds.get(kind or "", Section).model_fields)):
            return unknown, f'Did you mean "{nearest}"?'
    elif isinstance(value, dict):
        nearest = _nearest(key, list(RunSpec.model_fields))
        homes = [section for section in filter(has_kinds, RunSpec.model_fields) if key in kinds_of(section)]
        if homes:
            return "there is no such table", f'Write [{homes[0]}] with kind = "{key}".'
        return "there is no such table", f"Did you mean [{nearest}]?" if nearest else ""
    sections = [
        f"[{option.split('.')[0]}]"
        for option in all_options()
        if "." in option and option.split(".")[1] == key
    ]
    if sections:
        return f"belongs in {' or '.join(sections)}", ""
    if key.lower() in OTHER_NAMES:
        return unknown, f"It is called {OTHER_NAMES[key.lower()]} here."
    names = {option.rpartition(".")[2]: option for option in all_options()}
    nearest = _nearest(key, list(names))
    return unknown, f"Did you mean {names[nearest]}?" if nearest else ""
