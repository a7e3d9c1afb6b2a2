"""A run's folder: its file names, and finding runs."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.files import path_problem
from tuner_tui.guarded import Unreadable
from tuner_tui.runs.run_names import given_name, run_slug, two_words, without_date
from tuner_tui.text import SHORTENED, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.owned import Owned

SPEC_FILE, LOCK_FILE = "run.toml", "lock"
LONGEST_FIRST_EVENT = 64 << 10
CHECKPOINT_NAME = re.compile(r"step-[0-9]{6,}", re.ASCII)
"""The name of a checkpoint as it is made; any other folder beside, such as a copy of one, is the person's."""
RUN_LOCK_VARIABLE = "TUNER_TUI_RUN_LOCK"
"""Environment variable of a run's processes: the identity of its lock, which stays when the folder is renamed."""


@dataclass(frozen=True)
class RunFolder:
    """One run on disk, with the paths of its files."""

    path: Path

    @property
    def place(self) -> Path:
        """The folder's absolute path, for messages; `path` may be relative to it."""
        return self.path

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def spec(self) -> Path:
        return self.path / SPEC_FILE

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def telemetry(self) -> Path:
        return self.path / "telemetry.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "worker.log"

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def lock(self) -> Path:
        return self.path / LOCK_FILE

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def started_from(self) -> Path:
        """A copy of the adapter that the run started from, if it did."""
        return self.path / "started-from"

    @property
    def report(self) -> Path:
        return self.path / "report.md"

    @property
    def owned(self) -> Owned:
        """For deleting in it, or all of it."""
        from tuner_tui.owned import Owned

        return Owned(self.path.absolute(), "run", was_made)


def is_run(path: Path) -> bool:
    """Whether a folder, not a symlink to one, has at least two of the files that every run has."""
    files = [path / name for name in (SPEC_FILE, "plan.json", "events.jsonl")]
    exists = [file.is_file() and not file.is_symlink() for file in files]
    return not path.is_symlink() and sum(exists) >= 2


def was_made(path: Path) -> bool:
    """Whether a folder without a mark is a run of an earlier version, by the contents of one of those files."""
    return is_run(path) and any(
        map(_is_of_run, (path / "plan.json", path / SPEC_FILE, path / "events.jsonl"))
    )


def _is_of_run(file: Path) -> bool:
    try:
        if file.suffix == ".json":
            return {"model_location", "choices"} <= guarded.read_json(file, dict).keys()
        if file.suffix == ".toml":
            return {"model", "data"} <= guarded.read_toml(file).keys()
        with guarded.open_regular(file) as opened:
            return b'"protocol"' in opened.readline(LONGEST_FIRST_EVENT)
    except (OSError, Unreadable):
        return False


def list_runs() -> list[RunFolder]:
    """Every run, the newest first."""
    try:
        folders = [
            path for path in paths.runs_dir().iterdir() if not path.name.startswith(".") and path.is_dir()
        ]
    except OSError:
        return []
    return [RunFolder(path) for path in sorted(folders, key=_made_at, reverse=True)]


def unlisted_runs() -> TunerError | None:
    """Why the runs cannot be listed, where there may be some: their folder is closed to this user, or not readable."""
    try:
        next(paths.runs_dir().iterdir(), None)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return TunerError(
            "The runs cannot be listed",
            f"{path_problem(error, paths.runs_dir())}.",
            "Its owner can give you access, for example with chmod g+rwX; or set TUNER_TUI_HOME to another folder.",
        )
    return None


def find_moved(lock_identity: str) -> RunFolder | None:
    """The run that has this lock (lock.identity), whatever its folder is named now; None if there is none."""
    if not lock_identity:
        return None
    from tuner_tui.runs.lock import identity

    return next((run for run in list_runs() if identity(run.lock) == lock_identity), None)


def find_known(name: str, lock_identity: str) -> RunFolder:
    """The run with a name; if it was renamed, the run with this lock (lock.identity)."""
    folder = RunFolder(paths.runs_dir() / name)
    from tuner_tui.runs.lock import identity

    if not lock_identity or identity(folder.lock) == lock_identity:
        return folder
    return find_moved(lock_identity) or folder


def find_run(text: str) -> RunFolder:
    """The run that a text refers to (see `pick_name`), or `last`. Raises InputError, NotFoundError, TunerError."""
    runs = list_runs()
    if not runs and (problem := unlisted_runs()) is not None:
        raise problem
    if text == "last" and runs:
        return runs[0]
    return RunFolder(paths.runs_dir() / pick_name(text, [run.name for run in runs]))


def find_run_or_folder(text: str) -> RunFolder:
    """As `find_run`, or a run's folder anywhere, for read-only use. Raises InputError, NotFoundError."""
    if "/" in text:
        try:
            path = Path(text).expanduser()
            is_there = (path / SPEC_FILE).is_file()
        except (OSError, ValueError, RuntimeError):  # too long, a NUL, "~name" of nobody we know
            path, is_there = Path(text), False
        if not is_there:
            raise NotFoundError("No such run", f"{path} is not a run's folder: it has no {SPEC_FILE}.")
        return RunFolder(path.resolve())
    return find_run(text)


def pick_name(text: str, names: Sequence[str]) -> str:
    """The name that a text refers to. Raises InputError, NotFoundError.

    A full name; else the one that a run was given; else the start or end of a name, or a name as lists shorten it.
    """
    if not text.strip() or text in (".", "..") or "/" in text or "\0" in text:
        hint = "See: tuner-tui runs list"
        raise InputError("Not a run's name", f"{text!r}: expected a name, or the start or end of one.", hint)
    slug = run_slug(text)  # empty for signs alone, as is the given part of a renamed folder
    matches = [name for name in names if name == text]
    matches = matches or [name for name in names if slug and given_name(name) == slug]
    matches = matches or [name for name in names if _is_part(text, name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        message = f"{text!r} matches {', '.join(matches[:5])}."
        raise InputError("The run's name is ambiguous", message, "Give more of the name.")
    near = near_names(text, names)
    raise NotFoundError(
        "No such run",
        f"There is no run called {text!r} in {paths.runs_dir()}.",
        f"Did you mean {listed(near, 'or')}?" if near else "See: tuner-tui runs list",
    )


def near_names(text: str, names: Sequence[str], most: int = 3) -> list[str]:
    """Names of which the whole, or a part that a person would say, is written much like a text."""
    forms: dict[str, str] = {}
    for name in names:
        for form in (name, without_date(name), given_name(name), two_words(name)):
            forms.setdefault(form, name)
    forms.pop("", None)
    written_alike = difflib.get_close_matches(text[:80].lower(), forms, n=3 * most, cutoff=0.75)
    return list(dict.fromkeys(forms[form] for form in written_alike))[:most]


def _is_part(text: str, name: str) -> bool:
    """Whether a text is the start or end of a name, or the name shortened in its middle."""
    start, gap, end = text.partition(SHORTENED)
    if gap:
        return any(whole.startswith(start) and whole.endswith(end) for whole in (name, without_date(name)))
    return name.startswith(text) or name.endswith(text)


def _made_at(path: Path) -> tuple[float, str]:
    try:
        return ((path / SPEC_FILE).stat().st_mtime, path.name)
    except OSError:
        return (0.0, path.name)
