"""Whether an adapter was trained on a base: by weights, shapes and full names, never by the last part of a path."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.errors import InputError
from tuner_tui.models.adapter import WEIGHTS_FILE
from tuner_tui.models.hub_cache import cached_snapshot
from tuner_tui.models.model_folder import weight_files
from tuner_tui.models.safetensors_header import read_safetensors
from tuner_tui.models.source import is_hub_id
from tuner_tui.models.weights_digest import weights_digest
from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.models.source import ModelSource

PREFIX = "base_model.model."
FLOATS = ("F32", "F16", "BF16")
"""Types in which a weight has its own shape in the file; quantised ones are packed."""
_PART = re.compile(r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|ia3_l)")
_LAYER = re.compile(r"(?P<stack>.*\blayers)\.(?P<number>\d+)\.")


@dataclass(frozen=True)
class NamedBase:
    """The base that an adapter was trained on, as its folder or its run says."""

    name: str | None
    """As it is written there: a Hub name or a path, perhaps of another machine."""
    digest: str = ""
    """Of its weights (`weights_digest`), if the adapter's run knows it."""

    @property
    def path(self) -> Path | None:
        """Its folder or file on this machine; None if there is none."""
        if self.name is None or not self.name.startswith(("/", "~", ".")):
            return None
        try:
            path = Path(self.name).expanduser()
            return path if path.exists() else None
        except (OSError, ValueError, RuntimeError):  # too long, a NUL character, "~name" of an unknown user
            return None

    @property
    def usable(self) -> str | None:
        """The value of model.source that stands for it here; None if there is none."""
        if self.path is not None:
            return str(self.name)
        names = hub_names(self.name or "")
        return next(iter(names)) if names else None


def is_same_base(base: NamedBase, source: ModelSource) -> bool | None:
    """Whether a base is the one that model.source names; None where nothing here can tell."""
    named, here = base.path, source.path
    if base.digest and (digest := weights_digest(here)):
        return base.digest == digest
    names = {name.lower() for name in hub_names(base.name or "")}
    if named is not None:
        if here is not None and _is_same_file(named, here):
            return True
        ours, theirs = weights_digest(here), weights_digest(named)
        return ours == theirs if ours and theirs else None
    if names & {name.lower() for name in names_of(source)}:
        return True
    for name in hub_names(base.name or ""):
        ours, theirs = weights_digest(here), weights_digest(cached_snapshot(name))
        if ours and theirs:
            return ours == theirs
    return False if names and source.repo_id else None


def names_of(source: ModelSource) -> set[str]:
    """The full Hub names that a source is known by: its own, and those in the paths of download caches."""
    names = {source.repo_id} if source.repo_id else set()
    if source.path is not None:
        names |= {name for path in (source.path, source.path.resolve()) for name in hub_names(str(path))}
    return names


def hub_names(text: str) -> set[str]:
    """The Hub's name that a base's name stands for: itself, or the one in the path of a download cache.

    The Hub's client keeps "owner/name" in `models--owner--name`, ModelScope's in `owner/name` with `___` for a dot.
    Other paths, such as `C:\\models\\Qwen`, stand for none.
    """
    parts = [part for part in re.split(r"[\\/]+", text) if part]
    for part in parts:
        kind, *rest = part.split("--")
        if kind == "models" and rest and is_hub_id("/".join(rest)):
            return {"/".join(rest)}
    is_modelscope = "modelscope" in (part.strip(".").lower() for part in parts) or "___" in text
    if is_modelscope and len(parts) >= 2 and is_hub_id(name := "/".join(parts[-2:]).replace("___", ".")):
        return {name}
    return {text} if is_hub_id(text) else set()


def require_shapes(adapter: Path, source: ModelSource) -> None:
    """Raise InputError for an adapter whose weights cannot belong to the base, as far as the headers of both tell."""
    if source.path is None or not source.path.is_dir():
        return
    given = {
        name.removeprefix(PREFIX): tensor.shape
        for name, tensor in read_safetensors(adapter / WEIGHTS_FILE).items()
    }
    try:
        base = {
            name: tensor
            for path in weight_files(source.path)
            for name, tensor in read_safetensors(path).items()
        }
    except InputError:  # what is wrong with the base is told when it is checked itself
        return
    shapes = {name: tensor.shape for name, tensor in base.items() if tensor.dtype in FLOATS}
    layers = _layer_counts(base)
    for name, shape in given.items():
        if problem := _misfit(name, shape, shapes, layers):
            raise InputError(
                "The adapter does not fit the base",
                f"{adapter / WEIGHTS_FILE}: {problem}.",
                f"Use an adapter of {source.name}, or the base that this one was trained on.",
            )


def _misfit(
    name: str, shape: tuple[int, ...], base: dict[str, tuple[int, ...]], layers: dict[str, int]
) -> str:
    """Why a tensor of an adapter cannot belong to a base with these weights and layers; empty if it can."""
    if name in base and shape != base[name]:  # trained as a whole
        return f"{name} is {_by(shape)}, and the base's is {_by(base[name])}"
    part = _PART.fullmatch(name)
    weight = base.get(f"{part['module']}.weight") if part else None
    if part and weight and len(weight) == 2 and len(shape) == 2:
        width = max(shape) if part["part"] == "ia3_l" else shape[1] if "lora_A" in name else shape[0]
        if width not in weight:
            return f"{name} is of a weight with {width} rows or columns, and the base's is {_by(weight)}"
    layer = _LAYER.match(name)
    if layer and int(layer["number"]) >= (count := layers.get(layer["stack"], sys.maxsize)):
        return f"{name} is of layer {layer['number']}, and the base has {counted(count, 'layer')}, numbered from 0"
    return ""


def _layer_counts(names: Iterable[str]) -> dict[str, int]:
    """How many layers each stack of a base has, by its name, such as model.layers."""
    counts: dict[str, int] = {}
    for layer in map(_LAYER.match, names):
        if layer:
            counts[layer["stack"]] = max(counts.get(layer["stack"], 0), int(layer["number"]) + 1)
    return counts


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
