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
from tuner_tui.worker.export.updates import expert_updates, require_fit
from tuner_tui.worker.export.weight_updates import AdapterUpdates, ExpertUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

    from tuner_tui.worker.export.base_weights import BaseWeights
    from tuner_tui.worker.export.conversion import Conversion

SETTINGS = ("config.json", "generation_config.json")


@dataclass(frozen=True)
class MergedWeights:
    """A merged model whose weights are computed on demand: one at a time, or those of one conversion."""

    base: BaseWeights
    updates: AdapterUpdates = field(default_factory=lambda: AdapterUpdates(None))
    _saved: dict[str, Tensor] = field(default_factory=dict, repr=False)
    """What was converted together with a tensor that was read, until it is read itself."""

    def __post_init__(self) -> None:
        if getattr(self.base.config, "quantization_config", None) and self.base.unpacker is None:
            raise InputError(
                "The base is stored quantised",
                f"{self.base.folder} has packed weights, which an adapter cannot be merged into.",
                "Use the base's 16-bit version, or export only the adapter: --as adapter.",
            )
        if self.base.unpacker is not None and (packed := self.base.still_packed):
            raise InputError(
                "The base is stored quantised",
                f"{packed[0]} is packed, and {type(self.base.skeleton).__name__} does not load it, so that it cannot "
                "be unpacked with the rest.",
                "Use the base's 16-bit version, or export only the adapter: --as adapter.",
            )
        if self.updates.config is not None:
            require_fit(self.updates, self.base)
            assert len(self._experts) == len(self.updates.nested)  # raises now where one does not fit
        for conversion in self.base.conversions.values():
            if self._is_whole(conversion):
                conversion.check(self.base.entries)

    @cached_property
    def _experts(self) -> dict[str, ExpertUpdate]:
        return expert_updates(self.updates, self.base)

    @property
    def total_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.base.outputs.values())

    def read(self, name: str) -> Tensor:
        """One weight, in the dtype of the base's files."""
        return self.read_exact(name).to(self.base.outputs[name].dtype)

    def read_exact(self, name: str) -> Tensor:
        """One weight; those that the adapter changes in fp32, not yet rounded to the files' type."""
        live = self.base.live_outputs[name]
        if live.conversion is not None and (live.expert is None or live.name in self.updates.replaced):
            if not self._is_whole(live.conversion):
                return self.base.read(name)
            if name not in self._saved:
                stored = self.base.read_parts(live.conversion)
                loaded = self._merged(self.base.convert(live.conversion, stored))
                self._saved.update(live.conversion.save(loaded, stored))
            return self._saved.pop(name)
        if live.expert is not None:
            experts, weight = self._experts.get(live.name), self.base.read(name)
            return experts.of(live.expert, live.piece, live.pieces).apply(weight) if experts else weight
        replaced = self.updates.replaced.get(live.name)
        return self._changed(live.name, self.base.read(name) if replaced is None else replaced)

    def read_converted(self, conversion: Conversion) -> dict[str, Tensor]:
        """The merged tensors of the loaded model that a conversion gives, by name."""
        return self._merged(self.base.read_converted(conversion))

    def _merged(self, loaded: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of the loaded model by name, with what the adapter changes or replaces."""
        replaced = self.updates.replaced
        return {name: self._changed(name, replaced.get(name, weight)) for name, weight in loaded.items()}

    def _is_whole(self, conversion: Conversion) -> bool:
        """Whether a conversion's tensors have to be loaded together, since not all stay as they are in the files."""
        if self.base.unpacker is not None or self.base.precision != "files":
            return True
        return any(self._changes(name) for name in conversion.loaded_names(self.base.entries))

    def _changes(self, live: str) -> bool:
        """Whether the adapter changes a tensor of the loaded model."""
        module, _, part = live.rpartition(".")
        is_scaled = module in self.updates.scaled and part in ("weight", "bias")
        is_low_rank = module in self.updates.low_rank and part == "weight"
        return is_scaled or is_low_rank or live in self.updates.replaced or live in self._experts

    def _changed(self, live: str, weight: Tensor) -> Tensor:
        """A tensor of the loaded model with the adapter's update, which makes it fp32."""
        if live in self._experts:
            return self._experts[live].apply(weight)
        module, _, part = live.rpartition(".")
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
            done += base.outputs[name].size_bytes
            progress(done, merged.total_bytes)

    for file in base.files:
        entries = {name: entry for name, entry in base.outputs.items() if entry.file == file}
        layout = {name: (entry.shape, entry.dtype) for name, entry in entries.items()}
        write_safetensors(out / file.name, layout, stream(list(entries)))
    if (base.folder / WEIGHTS_INDEX).is_file():
        if base.unpacker is None:
            shutil.copyfile(base.folder / WEIGHTS_INDEX, out / WEIGHTS_INDEX)
        else:
            places = {name: entry.file.name for name, entry in base.outputs.items()}
            write_json(
                out / WEIGHTS_INDEX, {"metadata": {"total_size": merged.total_bytes}, "weight_map": places}
            )
    for name in SETTINGS:
        if (base.folder / name).is_file():
            _copy_settings(base.folder / name, out / name, is_unpacked=base.unpacker is not None)


def _copy_settings(source: Path, target: Path, *, is_unpacked: bool) -> None:
    """Copy a settings file without the path it was loaded from, and in a form that older readers take as well."""
    settings = read_json(source)
    merged_settings = {key: value for key, value in settings.items() if key not in LOCAL_KEYS}
    if source.name == "config.json":
        if is_unpacked:
            merged_settings.pop("quantization_config", None)
        merged_settings = config_for_older(merged_settings)
    if merged_settings == settings:
        shutil.copyfile(source, target)
    else:
        write_json(target, merged_settings)
