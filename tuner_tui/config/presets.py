"""Presets: commented recipes, shipped with the app or the user's own."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.errors import InputError, NotFoundError, TunerError

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec

FIRST_NAMES = (
    "first-try",
    "cpu-only",
    "qlora-8gb",
    "qlora-12gb",
    "lora-24gb",
    "full-small",
    "dpo-8gb",
    "kto-thumbs",
    "orpo-one-go",
    "simpo-8gb",
    "reward-model",
)
"""Display order of the shipped presets, by requirements."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


@dataclass(frozen=True)
class Preset:
    """A recipe: a complete run.toml with a leading comment that describes it."""

    name: str
    """Its file's name without .toml."""
    title: str
    """First line of the leading comment."""
    summary: str
    """The rest of the comment's first paragraph."""
    needs: str
    """The text of the line "Needs: ..." with its continuation lines."""
    path: Path
    is_shipped: bool
    text: str


def list_presets() -> list[Preset]:
    """The shipped presets, then the user's by name; a user's preset replaces a shipped one of the same name."""
    shipped = {preset.name: preset for preset in _presets_in(paths.shipped_dir("presets"), is_shipped=True)}
    own = {preset.name: preset for preset in _presets_in(paths.user_presets_dir(), is_shipped=False)}
    order = sorted(
        shipped, key=lambda name: (name not in FIRST_NAMES, (*FIRST_NAMES, name).index(name), name)
    )
    return [shipped[name] for name in order if name not in own] + [own[name] for name in sorted(own)]


def find_preset(name: str) -> Preset:
    """The preset with a name. Raises NotFoundError that suggests the nearest."""
    presets = {preset.name: preset for preset in list_presets()}
    name = name.removesuffix(".toml")
    if name in presets:
        return presets[name]
    matches = difflib.get_close_matches(name[:60].lower(), presets, n=1)
    hint = f"Did you mean {matches[0]}?" if matches else f"Available: {', '.join(presets)}."
    raise NotFoundError("No such preset", name, hint)


def preset_spec(preset: Preset) -> RunSpec:
    """The spec of a preset, with relative paths unchanged: they are relative to where it is copied to."""
    from tuner_tui.config.spec_file import parse_spec, read_text

    return parse_spec(preset.text or read_text(preset.path), preset.path.name)


def save_preset(
    name: str,
    spec: RunSpec,
    base_text: str | None = None,
    *,
    is_recipe: bool = False,
    overwrite: bool = False,
) -> Preset:
    """Save a spec as a user's preset, with the comments of `base_text`, the text it came from (see `spec_text`)."""
    from tuner_tui.config.spec_file import require_rules
    from tuner_tui.config.spec_writer import spec_text
    from tuner_tui.files import make_folder, write_atomic

    if not _NAME.fullmatch(name) or name.endswith(".toml"):
        raise InputError("Invalid preset name", name, "Use letters, digits, - and _, such as my-recipe.")
    if (paths.shipped_dir("presets") / f"{name}.toml").exists():
        raise InputError("A shipped preset has this name", name, "Use another name.")
    path = paths.user_presets_dir() / f"{name}.toml"
    if path.exists() and not overwrite:
        raise InputError("A preset with this name exists", name, "Use another name, or overwrite it.")
    require_rules(spec, path.name)
    text = spec_text(spec, base_text, is_recipe=is_recipe)
    if not text.startswith("#"):
        text = f"# {name}\n\n{text}"
    make_folder(path.parent)
    write_atomic(path, text)
    return _preset(path, text, is_shipped=False)


def _presets_in(folder: Path, *, is_shipped: bool) -> list[Preset]:
    from tuner_tui.config.spec_file import read_text

    presets = []
    for path in sorted(folder.glob("*.toml")):
        try:
            presets.append(_preset(path, read_text(path), is_shipped=is_shipped))
        except TunerError as error:  # one broken file must not hide the others
            presets.append(Preset(path.stem, f"Cannot be used: {error.title}", "", "", path, is_shipped, ""))
    return presets


def _preset(path: Path, text: str, *, is_shipped: bool) -> Preset:
    comment: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("#").strip())
    title, *rest = comment or [path.stem]
    summary, needs = "", ""
    for paragraph in "\n".join(rest).strip().split("\n\n"):
        description, _, needed = f"\n{paragraph}".partition("\nNeeds:")
        summary = summary or " ".join(description.split())
        needs = needs or " ".join(needed.split())
    return Preset(path.stem, title or path.stem, summary, needs, path, is_shipped, text)
