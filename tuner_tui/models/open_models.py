"""The dated table of open models to fine-tune: shipped in assets/models.toml, or models.toml of the person's own."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui.config import paths
from tuner_tui.config.toml_records import bad_record, read_records
from tuner_tui.models import config_keys as keys
from tuner_tui.models.config_sizes import ConfigSizes
from tuner_tui.models.facts import ModelFacts, facts_from
from tuner_tui.models.source import is_hub_id

if TYPE_CHECKING:
    from pathlib import Path

TITLE = "The table of models cannot be read"
NEEDED = {
    "hidden_size": (keys.HIDDEN, "hidden_size"),
    "num_hidden_layers": (keys.LAYERS, "layers"),
    "num_attention_heads": (keys.HEADS, "heads"),
    "intermediate_size": (keys.INTERMEDIATE, "intermediate_size"),
    "vocab_size": (keys.VOCABULARY, "vocab_size"),
}
"""Sizes that a configuration has to state, by their usual name: the names that count, and the fact that they give."""


class OpenModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model of the table."""

    name: str
    """Its repository on the Hub."""
    parameters: int
    licence: str
    context: int
    """Tokens that it was made for."""
    good_at: tuple[str, ...]
    config: dict[str, Any]
    """Its sizes, as in config.json."""
    gated: bool | None = None
    """Whether its terms have to be accepted on the Hub; None where that is not known."""

    @property
    def facts(self) -> ModelFacts:
        """What an estimate needs, without its headers."""
        from dataclasses import replace

        facts = facts_from(self.config, {}, has_chat_template=True, licence=self.licence)
        return replace(facts, context_length=self.context)


class ModelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"models": "model"}):
    """The models, and when they were last checked."""

    date: datetime.date
    models: tuple[OpenModel, ...]

    def model(self, name: str) -> OpenModel | None:
        """The model of a repository."""
        return next((model for model in self.models if model.name == name), None)


def table_file() -> Path:
    """The person's own table if there is one, else the shipped one."""
    own = own_table_file()
    return own if own.exists() else paths.shipped_dir("assets") / "models.toml"


def own_table_file() -> Path:
    """Where a table of the person's own replaces the shipped one."""
    return paths.config_dir() / "models.toml"


def read_open_models(path: Path | None = None) -> ModelTable:
    """The table in use, or that of a file. Raises InputError that names file and key."""
    path = path or table_file()
    table = read_records(path, ModelTable, TITLE)
    names: set[str] = set()
    for number, model in enumerate(table.models, 1):
        key = f"model {number} ({model.name})"
        if not is_hub_id(model.name) or "/" not in model.name:
            raise bad_record(path, TITLE, f"{key}, name", 'expected a repository such as "Qwen/Qwen3-4B"')
        if model.name in names:
            raise bad_record(path, TITLE, f"{key}, name", "it is in the table twice")
        names.add(model.name)
        for field in ("parameters", "context"):
            if getattr(model, field) < 1:
                raise bad_record(path, TITLE, f"{key}, {field}", "expected a number above 0")
        facts, sizes = model.facts, ConfigSizes(model.config)
        missing = [
            name
            for name, (names_here, fact) in NEEDED.items()
            if not sizes.mentions(names_here) or not getattr(facts, fact)
        ]
        if missing:
            problem = f"it does not say: {', '.join(missing)}; copy them from the model's config.json"
            raise bad_record(path, TITLE, f"{key}, config", problem)
    return table
