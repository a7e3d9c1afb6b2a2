"""The run.toml of an import: each option with where its value comes from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner_tui.config.spec_paths import DEMO, NAMED_DATA
from tuner_tui.config.spec_writer import encoded
from tuner_tui.text import plain, shortened_line

if TYPE_CHECKING:
    from tuner_tui.importing.imported import Imported

PATH_KEYS = ("model.source", "model.adapter", "data.train", "data.evaluation", "data.template")
LONGEST_COMMENT = 60


def toml_text(imported: Imported, folder: Path) -> str:
    """The options as TOML; files below `folder`, where the text will be, have paths relative to it."""
    names = ", ".join(plain(path.name) for path in imported.files)
    lines = [f"# From {names}, by the settings of {imported.tool}."]
    section = ""
    reasons = imported.reasons
    for key, value in imported.values.items():
        head, _, name = key.partition(".")
        if head != section:
            section = head
            lines += ["", f"[{section}]"]
        comment = shortened_line(reasons.get(key, ""), LONGEST_COMMENT)
        text = encoded(_relative(key, value, folder.resolve()))
        lines.append(f"{name} = {text}" + (f"  # {comment}" if comment else ""))
    return "\n".join(lines) + "\n"


def _has_meaning(text: str) -> bool:
    """Whether a relative path would be read as something else than a path."""
    return text in (DEMO, "chatml") or text.startswith(("~", *NAMED_DATA)) or "://" in text


def _relative(key: str, value: Any, folder: Path) -> Any:
    if key == "data.also":
        return tuple(_relative("data.train", line, folder) for line in value)
    if isinstance(value, list):
        return tuple(value)
    if key not in PATH_KEYS or not isinstance(value, str) or not Path(value).is_absolute():
        return value
    path = Path(os.path.abspath(value))  # noqa: PTH100  (a symlink on the way stays)
    inside = path.relative_to(folder) if path.is_relative_to(folder) else None
    if inside is None or str(inside) == "." or _has_meaning(str(inside)):
        return value
    return f"./{inside}" if key.startswith("model.") else str(inside)
