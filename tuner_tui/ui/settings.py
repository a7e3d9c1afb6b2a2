"""What the app remembers of how its person likes it: one small JSON file beside their presets."""

from __future__ import annotations

import contextlib
import json

from tuner_tui.config import paths


def read_setting(name: str) -> str | None:
    """A remembered word, or None; a file that cannot be read is as good as none."""
    value = _all().get(name)
    return value if isinstance(value, str) else None


def write_setting(name: str, value: str) -> None:
    """Remember a word; without rights or room it is forgotten with the app."""
    from tuner_tui.files import write_atomic

    settings = _all()
    if settings.get(name) == value:
        return
    with contextlib.suppress(OSError):
        paths.config_dir().mkdir(parents=True, exist_ok=True)
        write_atomic(paths.config_dir() / "app.json", json.dumps(settings | {name: value}, indent=2) + "\n")


def _all() -> dict[str, object]:
    try:
        settings = json.loads((paths.config_dir() / "app.json").read_text())
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}
