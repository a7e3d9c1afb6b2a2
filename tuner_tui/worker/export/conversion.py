"""What transformers makes of a file's tensors when it loads them (fusing experts, splitting projections), and back."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers.core_model_loading import dot_natural_key

from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from tuner_tui.worker.export.base_weights import TensorEntry

LARGEST_INT32 = 2**31 - 1
SCALES, BLOCKS = ("_scale_inv", "activation_scale", "_scales"), "_blocks"
"""How the names of FP8's and MXFP4's scales, and of MXFP4's packed values, end."""


class Part(NamedTuple):
    """One tensor of the files that goes into a conversion."""

    name: str
    """In the files."""
    renamed: str
    """After transformers' renamings, before the conversion."""
    pattern: str
    """The converter's source pattern that matches it."""


class Conversion:
    """Tensors of the files that transformers loads together by one of its weight converters."""

    def __init__(
        self, first: str, converter: Any, skeleton: Any, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        self.first = first
        """The loaded tensor that transformers files them under."""
        self._converter, self._skeleton, self._shapes = converter, skeleton, shapes
        self.parts: list[Part] = []

    @property
    def names(self) -> list[str]:
        """The tensors of the files."""
        return [part.name for part in self.parts]

    @property
    def operations(self) -> list[Any]:
        """transformers' operations, in the order of loading."""
        return list(self._converter.operations)

    @property
    def patterns(self) -> list[str]:
        """The converter's source patterns, in their order."""
        return list(self._converter.source_patterns)

    @property
    def unpacks(self) -> bool:
        """Whether it dequantises; other conversions move values and change none."""
        return any(map(_unpacks, self.operations))

    def load(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loaded tensors by name, from those of the files."""
        converter = deepcopy(self._converter)
        for part in sorted(self.parts, key=lambda part: dot_natural_key(part.name)):
            converter.add_tensor(self.first, part.name, part.pattern, tensors[part.name])
        return self._converted(converter, self.first)

    def save(self, loaded: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the files by name, from loaded ones that may have changed; `stored` are the files' own.

        Values go back to where they came from. `save_pretrained` does not always do that: it saves transposed experts
        (Qwen3-VL) as they are loaded, and halves what was joined of unequal parts. Unpacked weights are saved under the
        names that they have in plain files.
        """
        return self._plain(loaded) if self.unpacks else self._put_back(loaded, stored)

    def loaded_names(self, entries: Mapping[str, TensorEntry]) -> list[str]:
        """The tensors that it is loaded into; the first alone where transformers cannot load these shapes."""
        if self.unpacks:
            return [self.first]
        try:
            return list(self.load(self._empty(entries)))
        except Exception:  # whatever an operation raises on tensors that it is not made for; `check` tells it
            return [self.first]

    def saved_shapes(self, entries: Mapping[str, TensorEntry]) -> dict[str, tuple[int, ...]]:
        """Shapes of what is saved again, by name in the files."""
        if not self.unpacks:
            return {name: entries[name].shape for name in self.names}
        whole = torch.empty(self._shapes[self.first], device="meta")
        return {name: tuple(each.shape) for name, each in self._plain({self.first: whole}).items()}

    def check(self, entries: Mapping[str, TensorEntry]) -> None:
        """Raise InputError where transformers cannot load tensors of these shapes into the model."""
        if self.unpacks:
            return
        try:
            loaded = self.load(self._empty(entries))
        except Exception as error:  # whatever an operation raises on tensors that it is not made for
            raise self._refusal(f"{type(error).__name__}: {error}") from error
        for name, tensor in loaded.items():
            if self._shapes.get(name) != tuple(tensor.shape):
                raise self._refusal(f"{name} would have the shape {tuple(tensor.shape)}")

    def _empty(self, entries: Mapping[str, TensorEntry]) -> dict[str, Tensor]:
        return {
            name: torch.empty(entries[name].shape, dtype=entries[name].dtype, device="meta")
            for name in self.names
        }

    def _put_back(self, loaded: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Where each value came from is seen by loading the files' positions in place of their values."""
        count = sum(tensor.numel() for tensor in stored.values())
        positions = torch.arange(count, dtype=torch.int32 if count <= LARGEST_INT32 else torch.int64)
        sizes = [tensor.numel() for tensor in stored.values()]
        places = self.load(
            {
                name: part.view(tensor.shape)
                for (name, tensor), part in zip(stored.items(), torch.split(positions, sizes), strict=True)
            }
        )
        widest = max((tensor.dtype for tensor in loaded.values()), key=lambda dtype: dtype.itemsize)
        values = torch.cat([tensor.reshape(-1).to(widest) for tensor in stored.values()])
        for name, tensor in loaded.items():
            values[places[name].reshape(-1)] = tensor.reshape(-1).to(widest)
        return {
            name: part.view(tensor.shape)
            for (name, tensor), part in zip(stored.items(), torch.split(values, sizes), strict=True)
        }

    def _plain(self, loaded: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unpacked weights by transformers' reverse of the conversion, without packing them again."""
        operations = [each.reverse_op for each in self.operations[::-1] if not _unpacks(each)]
        weights = [part for part in self.parts if not part.pattern.endswith(SCALES)]
        if not operations:
            return {weights[0].name.removesuffix(BLOCKS): loaded[self.first]}
        sources = [each for each in self._converter._original_source_patterns if not each.endswith(SCALES)]
        converter = self._converter.copy(
            self._converter._original_target_patterns.copy(), sources, operations=operations
        )
        key, pattern = converter.rename_source_key(self.first)
        converter.add_tensor(key, self.first, pattern, loaded[self.first])
        return {self._name_in_files(name): each for name, each in self._converted(converter, key).items()}

    def _converted(self, converter: Any, key: str) -> dict[str, Tensor]:
        converted = converter.convert(key, model=self._skeleton, config=self._skeleton.config)
        return {name: each[0] if isinstance(each, list) else each for name, each in converted.items()}

    def _name_in_files(self, name: str) -> str:
        prefix = f"{self._skeleton.base_model_prefix}."
        for part in self.parts:
            if name in (part.renamed, prefix + part.renamed) or prefix + name == part.renamed:
                return part.name
        return name

    def _refusal(self, reason: str) -> InputError:
        operations = ", ".join(type(each).__name__ for each in self.operations)
        return InputError(
            "This adapter cannot be merged",
            f"transformers does not load {self.first} from {self.parts[0].name} by {operations}: {reason}.",
            "Export it with --as adapter.",
        )


def _unpacks(operation: Any) -> bool:
    return "Dequantize" in type(operation).__name__
