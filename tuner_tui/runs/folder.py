"""A run's folder: the names in it, and finding those there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.owned import Owned

if TYPE_CHECKING:
    from collections.abc import Sequence

SPEC_FILE = "run.toml"


@dataclass(frozen=True)
class RunFolder:
    """One run on disk; every path in it has its name here."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

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
        return self.path / "lock"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def started_from(self) -> Path:
        """A copy of the adapter that the run began from, where it did not begin a new one."""
        return self.path / "started-from"

    @property
    def report(self) -> Path:
        return self.path / "report.md"

    @property
    def owned(self) -> Owned:
        """For deleting in it, or all of it."""
        return Owned(self.path.absolute(), "run", is_run)


def is_run(path: Path) -> bool:
    """Whether a folder, not a symlink to one, holds two of the files that every run has."""
    files = [path / name for name in (SPEC_FILE, "plan.json", "events.jsonl")]
    there = [file.is_file() and not file.is_symlink() for file in files]
    return not path.is_symlink() and sum(there) >= 2


def list_runs() -> list[RunFolder]:
    """Every run, the newest first."""
    try:
        found = [
            path for path in paths.runs_dir().iterdir() if not path.name.startswith(".") and path.is_dir()
        ]
    except OSError:
        return []
    return [RunFolder(path) for path in sorted(found, key=_made_at, reverse=True)]


def find_run(text: str) -> RunFolder:
    """The run meant by its name, the start or end of it, or `last`. Raises InputError, NotFoundError."""
    runs = list_runs()
    if text == "last" and runs:
        return runs[0]
    return RunFolder(paths.runs_dir() / pick_name(text, [run.name for run in runs]))


def find_run_or_folder(text: str) -> RunFolder:
    """As `find_run`, or a run's folder anywhere, for those that only read it. Raises InputError, NotFoundError."""
    if "/" in text:
        path = Path(text).expanduser()
        if not (path / SPEC_FILE).is_file():
            raise NotFoundError("No such run", f"{path} is no run's folder: it holds no {SPEC_FILE}.")
        return RunFolder(path.resolve())
    return find_run(text)


def pick_name(text: str, names: Sequence[str]) -> str:
    """The run's name that is meant by the whole, the start or the end of it. Raises InputError, NotFoundError."""
    if not text.strip() or text in (".", "..") or "/" in text or "\0" in text:
        hint = "See: tuner-tui runs list"
        raise InputError("Not a run's name", f"{text!r}: expected a name, or the start or end of one.", hint)
    exact = [name for name in names if name == text]
    near = exact or [name for name in names if name.startswith(text) or name.endswith(text)]
    if len(near) == 1:
        return near[0]
    if near:
        message = f"{text!r} fits {', '.join(near[:5])}."
        raise InputError("More than one run is meant", message, "Give more of the name.")
    raise NotFoundError(
        "No such run", f"There is no run called {text!r} in {paths.runs_dir()}.", "See: tuner-tui runs list"
    )


def _made_at(path: Path) -> tuple[float, str]:
    try:
        return ((path / SPEC_FILE).stat().st_mtime, path.name)
    except OSError:
        return (0.0, path.name)
