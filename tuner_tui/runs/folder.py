"""A run's folder: the names in it, and finding those there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuner_tui.config import paths
from tuner_tui.errors import InputError, NotFoundError

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
    """The run meant by a name, the start or end of one, a folder, or `last`. Raises NotFoundError."""
    as_path = Path(text).expanduser()
    if (as_path / SPEC_FILE).is_file():
        return RunFolder(as_path.resolve())
    runs = list_runs()
    if text == "last" and runs:
        return runs[0]
    exact = [run for run in runs if run.name == text]
    near = exact or [run for run in runs if run.name.startswith(text) or run.name.endswith(text)]
    if len(near) == 1:
        return near[0]
    if near:
        names = ", ".join(run.name for run in near[:5])
        raise InputError("More than one run is meant", f"{text!r} fits {names}.", "Give more of the name.")
    raise NotFoundError(
        "No such run", f"There is no run called {text!r} in {paths.runs_dir()}.", "See: tuner-tui runs list"
    )


def _made_at(path: Path) -> tuple[float, str]:
    try:
        return ((path / SPEC_FILE).stat().st_mtime, path.name)
    except OSError:
        return (0.0, path.name)
