"""A run's folder: the names in it, making one, and finding those there are."""

from __future__ import annotations

import datetime
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.errors import InputError, NotFoundError, RunProblem, TunerError
from tuner_tui.files import sync_folder, write_atomic

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.planning.plan import Plan

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


def create_run(spec: RunSpec, plan: Plan) -> RunFolder:
    """Make a run's folder whole, or not at all. Raises TunerError when the data folder cannot be written."""
    from tuner_tui.config.spec_writer import spec_text
    from tuner_tui.planning.plan import encode_plan
    from tuner_tui.runs.lineage import keep_start

    contents: dict[str, str | bytes] = {SPEC_FILE: spec_text(spec), "plan.json": encode_plan(plan)}
    parent = paths.runs_dir()
    name = _fresh_name(spec, parent)
    making = parent / f".making-{name}"
    try:
        making.mkdir(parents=True)
        for file, content in contents.items():
            write_atomic(making / file, content)
        for inner in ("control", "checkpoints"):
            (making / inner).mkdir()
        for empty in ("events.jsonl", "worker.log", "lock"):
            (making / empty).touch()
        if plan.start is not None:
            keep_start(plan.start, making)
        making.rename(parent / name)
        sync_folder(parent)
    except OSError as error:
        shutil.rmtree(making, ignore_errors=True)
        raise TunerError(
            "The run's folder cannot be made",
            f"{parent}: {error.strerror or error}.",
            "Free space or rights there, or name another place with the TUNER_TUI_HOME environment variable.",
        ) from error
    return RunFolder(parent / name)


def list_runs() -> list[RunFolder]:
    """Every run, the newest first."""
    try:
        found = [
            path for path in paths.runs_dir().iterdir() if not path.name.startswith(".") and path.is_dir()
        ]
    except OSError:
        return []
    return [RunFolder(path) for path in sorted(found, key=_made_at, reverse=True)]


def delete_run(folder: RunFolder) -> None:
    """Delete a run for good; a crash in the middle leaves a hidden rest, never half a run in the list.

    Raises RunProblem when it is live, TunerError when its folder cannot be removed.
    """
    from tuner_tui.runs import lock, queue

    if queue.is_queued(folder.name) or lock.is_held(folder.lock):
        raise RunProblem("The run is live", folder.name, f"Stop it first: tuner-tui runs stop {folder.name}")
    doomed = folder.path.with_name(f".deleting-{folder.name}")
    try:
        folder.path.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise TunerError(
            "The run cannot be deleted", f"{error.filename or folder.path}: {error.strerror or error}."
        ) from error


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


def _fresh_name(spec: RunSpec, parent: Path) -> str:
    words = spec.name or f"{Path(spec.model.source).stem}-{Path(spec.data.train).stem}"
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:40].strip("-") or "run"
    while True:
        name = f"{datetime.date.today().isoformat()}-{slug}-{secrets.token_hex(2)}"
        if not (parent / name).exists():
            return name
