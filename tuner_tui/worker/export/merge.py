"""The merged model, one weight at a time: the base as loaded in training plus the adapter's updates."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from tuner_tui.errors import InputError
from tuner_tui.models.model_folder import WEIGHTS_INDEX, read_json
from tuner_tui.worker.export.json_files import write_json
from tuner_tui.worker.export.older_readers import config_for_older
from tuner_tui.worker.export.safetensors_stream import write_safetensors
from tuner_tui.worker.export.tokenizer_files import LOCAL_KEYS
from tuner_tui.worker.export.updates import AdapterUpdates, ExpertUpdate, expert_updates, require_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

    from tuner_tui.worker.export.base_weights import BaseWeights

SETTINGS = ("config.json", "generation_config.json")


@dataclass(frozen=True)
class MergedWeights:
    """A merged model whose weights are computed on demand and not cached."""

    base: BaseWeights
    updates: AdapterUpdates = field(default_factory=lambda: AdapterUpdates(None))

    def __post_init__(self) -> None:
        if getattr(self.base.config, "quantization_config", None):
            raise InputError(
                "The base is stored quantised",
                f"{self.base.folder} has packed weights, which an adapter cannot be merged into.",
                "Use the base's 16-bit version, or export only the adapter: --as adapter.",
            )
        if self.updates.config is not None:
            require_fit(self.updates, self.base)
            assert len(self._experts) == len(self.updates.nested)  # raises now where one does not fit

    @cached_property
    def _experts(self) -> dict[str, ExpertUpdate]:
        return expert_updates(self.updates, self.base)

    @property
    def total_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.base.entries.values())

    def read(self, name: str) -> Tensor:
        """One weight, in the dtype of the base's files."""
        return self.read_exact(name).to(self.base.entries[name].dtype)

    def read_exact(self, name: str) -> Tensor:
        """One weight; those that the adapter changes in fp32, not yet rounded to the files' type."""
        if self.updates.config is None:
            return self.base.read(name)
        live = self.base.live[name]
        if live.name in self.updates.replaced:
            return self.updates.replaced[live.name]
        weight = self.base.read(name)
        if live.expert is not None:
            experts = self._experts.get(live.name)
            return experts.of(live.expert, live.piece, live.pieces).apply(weight) if experts else weight
        module, _, part = live.name.rpartition(".")
        scaling = self.updates.scaled.get(module)
        if part == "bias" and scaling is not None:
            return scaling.apply_to_bias(weight)
        update = (self.updates.low_rank.get(module) or scaling) if part == "weight" else None
        if update is None:
            return weight
        if self.base.is_transposed(module):
            return update.apply(weight.T).T.contiguous()
        return update.apply(weight)


def write_merged(merged: MergedWeights, out: Path, progress: Callable[[int, int], None]) -> None:
    """Write a model folder with the base's file names, dtypes and settings; the tokenizer is written separately."""
    base, done = merged.base, 0

    def stream(names: list[str]) -> Iterator[tuple[str, Tensor]]:
        nonlocal done
        for name in names:
            yield name, merged.read(name)
            done += base.entries[name].size_bytes
            progress(done, merged.total_bytes)

    for file in base.files:
        entries = {name: entry for name, entry in base.entries.items() if entry.file == file}
        layout = {name: (entry.shape, entry.dtype) for name, entry in entries.items()}
        write_safetensors(out / file.name, layout, stream(list(entries)))
    if (base.folder / WEIGHTS_INDEX).is_file():
        shutil.copyfile(base.folder / WEIGHTS_INDEX, out / WEIGHTS_INDEX)
    for name in SETTINGS:
        if (base.folder / name).is_file():
            _copy_settings(base.folder / name, out / name)


def _copy_settings(source: Path, target: Path) -> None:
    """Copy a settings file without the path it was loaded from, and in a form that older readers take as well."""
    settings = read_json(source)
    kept = {key: value for key, value in settings.items() if key not in LOCAL_KEYS}
    if source.name == "config.json":
        kept = config_for_older(kept)
    if kept == settings:
        shutil.copyfile(source, target)
    else:
        write_json(target, kept)
