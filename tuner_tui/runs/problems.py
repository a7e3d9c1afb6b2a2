"""Problems of the files in a run's folder, which lists show with the run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from tuner_tui import guarded
from tuner_tui.guarded import Unreadable
from tuner_tui.hardware.telemetry import last_sample
from tuner_tui.planning.plan import read_plan
from tuner_tui.runs import lock
from tuner_tui.runs.folder import LOCK_FILE
from tuner_tui.runs.notes import Note, note_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder

CHECKED_FILES = ("run.toml", "plan.json", "events.jsonl", "telemetry.jsonl", "worker.log", "report.md")
KEPT_FIGURES = ("summary.json", "memory.json")
FOLDERS = ("control", "checkpoints", "adapter")
Stamp = tuple[int, ...]


class FileProblem(NamedTuple):
    """A problem of one file."""

    words: str
    """The file's name and its problem."""
    is_vital: bool
    """Whether the run cannot be resumed without the file."""


def folder_problems(folder: RunFolder) -> tuple[FileProblem, ...]:
    """The problems of all files that cannot be read; the contents of events are checked elsewhere."""
    problems: list[FileProblem] = []
    checks: tuple[tuple[Path, Callable[[Path], object]], ...] = (
        (folder.spec, guarded.read_toml),
        (folder.plan, read_plan),
        (folder.events, _require_file),
        (folder.telemetry, _require_samples),
        (folder.log, _require_file),
        (folder.report, _require_file),
        *((folder.path / name, _require_json) for name in KEPT_FIGURES),
        (note_file(folder.name), _require_note),
    )
    vital = (folder.spec, folder.plan, folder.events)
    for path, check in checks:
        try:
            check(path)
        except Unreadable as error:
            if not error.is_missing:
                place = "note" if path.parent != folder.path else path.name
                problems.append(FileProblem(f"{place}: {error.problem}", path in vital))
            elif path.is_symlink():
                problems.append(FileProblem(f"{path.name}: it is a broken symlink", path in vital))
            elif path in (folder.spec, folder.events):
                problems.append(FileProblem(f"half deleted: no {path.name}", True))
    for name in FOLDERS:
        path = folder.path / name
        if os.path.lexists(path) and not path.is_dir():
            problems.append(FileProblem(f"{name}: it is not a folder", True))
    if lock_problem := lock.look(folder.lock).problem:
        problems.append(FileProblem(f"its lock cannot be opened: {lock_problem}", True))
    return tuple(problems)


class ProblemsReader:
    """Reads the problems of folders repeatedly at low cost: unchanged files are not read again."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[Stamp, ...], tuple[FileProblem, ...]]] = {}

    def read(self, folder: RunFolder) -> tuple[FileProblem, ...]:
        """The folder's current problems."""
        names = (*CHECKED_FILES, *KEPT_FIGURES, *FOLDERS, LOCK_FILE)
        stamps = (*(_stamp(folder.path / name) for name in names), _stamp(note_file(folder.name)))
        known = self._known.get(folder.path)
        if known is None or known[0] != stamps:
            known = self._known[folder.path] = (stamps, folder_problems(folder))
        return known[1]


def in_one_line(problems: Iterable[str]) -> str:
    """The first problem, with the number of others."""
    first, *others = [*dict.fromkeys(filter(None, problems)), ""]
    return f"{first} (and {len(others) - 1} more)" if len(others) > 1 else first


def _require_samples(path: Path) -> None:
    _require_file(path)
    if path.stat().st_size and last_sample(path) is None:
        raise Unreadable(path, "its last lines are not telemetry")


def _require_json(path: Path) -> None:
    """Raise Unreadable unless the file is JSON; JSON of another version is accepted, since the file is recreated."""
    guarded.read_json(path, dict[str, object])


def _require_note(path: Path) -> None:
    guarded.read_json(path, Note)


def _require_file(path: Path) -> None:
    guarded.open_regular(path).close()


def _stamp(path: Path) -> Stamp:
    """A value that changes when a file is replaced or its permissions change, but not when it grows."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ()
    if path.suffix == ".jsonl" or path.is_dir():
        return (status.st_ino, status.st_mode)
    return (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns)
