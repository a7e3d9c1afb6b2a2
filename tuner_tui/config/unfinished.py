"""The new run that was left before its start: one file, so that it comes back at the next one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.config.draft import UNSET, Draft
from tuner_tui.config.spec_paths import resolve_paths
from tuner_tui.errors import TunerError
from tuner_tui.guarded import Unreadable

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec


def unfinished_file() -> Path:
    """The run.toml of the new run that was left; empty when there is none."""
    return paths.data_dir() / "unfinished.toml"


def keep_unfinished(draft: Draft) -> None:
    """Write a draft's run.toml. Raises OSError, and TunerError when settings cannot be read."""
    from tuner_tui.config.spec_writer import spec_text
    from tuner_tui.files import make_folder, write_atomic

    if draft.broken is not None:
        text = draft.broken.text
    else:
        text = spec_text(_resolved(draft.spec), draft.text, is_recipe=draft.is_recipe)
    make_folder(unfinished_file().parent)
    write_atomic(unfinished_file(), text)


def read_unfinished() -> Draft | None:
    """The draft that was left; None when there is none, or it cannot be read."""
    try:
        text = guarded.read_text(unfinished_file())
    except (Unreadable, TunerError):
        return None
    return Draft.blank().with_text(text) if text.strip() else None


def forget_unfinished() -> None:
    """Empty the file: the run was started, or is not wanted any more. Raises OSError, TunerError."""
    from tuner_tui.files import write_atomic

    if unfinished_file().exists():
        write_atomic(unfinished_file(), "")


def _resolved(spec: RunSpec) -> RunSpec:
    """With absolute paths, since the next app may start in another folder; what is not chosen yet stays so."""
    resolved = resolve_paths(spec, Path.cwd())
    unset = {
        section: getattr(resolved, section).model_copy(update={name: UNSET})
        for section, name in (("model", "source"), ("data", "train"))
        if getattr(getattr(spec, section), name) == UNSET
    }
    return resolved.model_copy(update=unset)
