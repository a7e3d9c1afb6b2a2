"""Which options of a run.toml and which settings may leave, and how."""

from __future__ import annotations

import codecs
import math
import os
import re
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from tuner_tui.config.sections import kinds_of
from tuner_tui.config.setting_list import BY_KEY
from tuner_tui.config.settings import Settings
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.standard_folders import standard_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner_tui.config.setting_list import Setting, Value

TextDecision = Literal["stays", "data", "model", "encoding", "modules", "count"]
OPTION_TEXTS: dict[str, TextDecision] = {
    "name": "stays",
    "model.source": "model",
    "model.revision": "stays",
    "model.adapter": "stays",
    "data.train": "data",
    "data.split": "stays",
    "data.also": "count",
    "data.evaluation": "data",
    "data.mapping": "count",
    "data.encoding": "encoding",
    "data.template": "data",
    "samples.prompts": "count",
    "tuning.targets": "modules",
}
"""The options that take any text. Numbers, switches and fixed choices may leave; other text stays until named here."""
SETTING_TEXTS: dict[str, Literal["stays", "folder", "currency"]] = {
    "folders.data": "folder",
    "folders.cache": "folder",
    "app.theme": "stays",
    "energy.currency": "currency",
    "notify.on_finish": "stays",
    "trackers.project": "stays",
}
"""The same for the settings."""

IS_SET = "set, not shown"
SUFFIXES = frozenset(
    [
        ".jsonl",
        ".json",
        ".csv",
        ".tsv",
        ".parquet",
        ".arrow",
        ".txt",
        ".md",
        ".pdf",
        ".gz",
        ".zst",
        ".jinja",
        ".gguf",
        ".safetensors",
        ".toml",
        ".yaml",
        ".yml",
    ]
)
DEMO_NAMES = ("demo", "chatml")
MODULES = frozenset(
    [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
        "qkv_proj",
        "gate_up_proj",
        "query_key_value",
        "c_attn",
        "c_proj",
        "c_fc",
        "fc1",
        "fc2",
        "dense",
        "dense_h_to_4h",
        "dense_4h_to_h",
        "in_proj",
        "out_proj",
        "x_proj",
        "dt_proj",
        "w1",
        "w2",
        "w3",
        "wq",
        "wk",
        "wv",
        "wo",
    ]
)
"""Names of layers in public models."""


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """The fixed choices of a type, wherever they stand in it."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(choice for part in get_args(annotation) for choice in choices_of(part))


def takes_text(annotation: Any) -> bool:
    """Whether a type takes any text."""
    if annotation is str:
        return True
    if get_origin(annotation) in (Union, UnionType, tuple, Annotated):
        return any(takes_text(part) for part in get_args(annotation))
    return False


def option_types() -> dict[str, tuple[Any, ...]]:
    """Every option's types by dotted key; those of a method or tuning may differ by its kind."""
    types: dict[str, tuple[Any, ...]] = {}
    for section, field in RunSpec.model_fields.items():
        kinds = kinds_of(section)
        if not kinds:
            types[section] = (field.annotation,)
        for section_class in kinds.values():
            for name, option in section_class.model_fields.items():
                types[f"{section}.{name}"] = (*types.get(f"{section}.{name}", ()), option.annotation)
    return types


def shown_spec(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run.toml by dotted key as they may leave; how many unknown ones there are is stated."""
    shown: dict[str, Any] = {}
    unknown = 0
    options = option_types()
    for key, value in _dotted(tables):
        if key not in options:
            unknown += 1
        else:
            shown[key] = _option(key, value, options[key])
    if unknown:
        shown["unknown keys"] = unknown
    return shown


def _dotted(tables: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in tables.items():
        if isinstance(value, dict):
            pairs += [(f"{name}.{key}", inner) for key, inner in value.items()]
        else:
            pairs.append((name, value))
    return pairs


def _option(key: str, value: Any, annotations: tuple[Any, ...]) -> Any:
    choices = tuple(choice for annotation in annotations for choice in choices_of(annotation))
    if isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value if abs(value) < 1e10 else IS_SET
    if isinstance(value, str) and value in choices:
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) and item in choices for item in value):
        return value
    match OPTION_TEXTS.get(key, "stays"):
        case "count" if isinstance(value, list):
            return f"{len(value)} given, not shown"
        case "modules" if isinstance(value, list):
            return [
                name if str(name).rpartition(".")[2] in MODULES and "." not in str(name) else IS_SET
                for name in value
            ]
        case "data" | "model" if isinstance(value, str):
            return _place(value)
        case "encoding" if isinstance(value, str):
            return _encoding(value)
    return IS_SET


def _place(value: str) -> str:
    """What a model or data set is, without its name."""
    if value in DEMO_NAMES:
        return value
    if value.startswith(("hub:", "feedback:")):
        return f"{value.partition(':')[0]}:[…]"
    suffixes = [suffix for suffix in Path(value).suffixes[-2:] if suffix.lower() in SUFFIXES]
    if suffixes:
        return f"a file, {''.join(suffixes)}"
    return "a Hub repository or a folder, not shown" if value.count("/") == 1 else IS_SET


def _encoding(value: str) -> str:
    try:
        return codecs.lookup(value).name
    except (LookupError, ValueError):
        return IS_SET


def shown_settings(settings: Settings) -> dict[str, Any]:
    """The settings that are set, as they may leave."""
    shown: dict[str, Any] = {
        key: _setting(BY_KEY[key], value) for key, value in settings.given.items() if key in BY_KEY
    }
    if settings.unknown:
        shown["unknown keys"] = len(settings.unknown)
    return shown


def _setting(setting: Setting, value: Value) -> Any:
    if setting.kind in ("switch", "number"):
        return value if isinstance(value, (bool, float)) else IS_SET
    if setting.kind in ("choice", "words"):
        given = value if isinstance(value, tuple) else (value,)
        return list(given) if all(item in setting.choices for item in given) else IS_SET
    decision = SETTING_TEXTS.get(setting.key, "stays")
    if decision == "folder" and isinstance(value, str):
        return shown_folder(Path(value))
    if decision == "currency" and isinstance(value, str) and re.fullmatch(r"[A-Z]{3}", value):
        return value
    return IS_SET


def shown_folder(folder: Path) -> str:
    """Where a folder is: the usual one with ~ for the home, of others only whether they are below it."""
    home = Path("~").expanduser()
    if folder in [standard_folder("data"), standard_folder("cache"), standard_folder("config")]:
        if folder.is_relative_to(home) and not os.environ.get("TUNER_TUI_HOME"):
            return f"~/{folder.relative_to(home).as_posix()}"
        return "the usual one"
    return "~/[…]" if folder.is_relative_to(home) else "outside the home folder"
