"""Real runs on a tiny model, in this process: importing torch and TRL once is most of what they cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tuner_tui.config.spec import RunSpec
from tuner_tui.models.source import find_source
from tuner_tui.planning.plan import make_plan
from tuner_tui.runs.events import Event, EventBase, StepLogged, decode_lines
from tuner_tui.runs.folder import RunFolder, create_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Kind = TypeVar("Kind", bound=EventBase)
QUESTIONS = (
    ("What is up?", "The sky is."),
    ("Who goes there?", "A friend."),
    ("How many?", "Eleven of them."),
    ("Why?", "Because."),
    ("Where is it?", "Under the old stairs, I think."),
    ("When?", "At noon."),
    ("Which one?", "The second from the left."),
    ("Whose?", "Mine."),
)


@dataclass(frozen=True)
class Run:
    """A run that was made, and what it said."""

    folder: RunFolder
    exit_code: int

    @property
    def events(self) -> list[Event]:
        return decode_lines(self.folder.events.read_bytes())

    def all(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    def last(self, kind: type[Kind]) -> Kind:
        found = self.all(kind)
        assert found, (
            f"no {kind.__name__} in {[type(event).__name__ for event in self.events]}\n{self.events[-1]}"
        )
        return found[-1]

    @property
    def losses(self) -> list[float | None]:
        return [event.loss for event in self.all(StepLogged)]


def write_rows(path: Path, rows: Sequence[dict[str, Any]] | None = None) -> Path:
    """A JSONL file; by default eight questions and answers."""
    if rows is None:
        rows = [{"question": question, "answer": answer} for question, answer in QUESTIONS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs and caches of a test stay in its own folder, and nothing asks the network."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    return tmp_path / "home"


@pytest.fixture
def make_run(tmp_path: Path, tiny_model: Path) -> Callable[..., RunFolder]:
    """Make a run's folder; keyword arguments are the spec's tables, over small and quick defaults."""

    def make(
        rows: Sequence[dict[str, Any]] | None = None, *, full: bool = False, **tables: dict[str, Any]
    ) -> RunFolder:
        data = write_rows(tmp_path / "rows.jsonl", rows)
        wanted: dict[str, dict[str, Any]] = {
            "model": {"source": str(tiny_model), "precision": "fp32"},
            "data": {"train": str(data)},
            "tuning": {"kind": "lora", "rank": 4, "alpha": 8.0},
            "training": {
                "max_steps": 3,
                "batch_size": 4,
                "learning_rate": 1e-2,
                "schedule": "constant",
                "warmup": 0.0,
                "max_length": 256,
            },
            "checkpoints": {"every_steps": 100},
            "machine": {"device": "cpu", "threads": 1},
        }
        for name, table in tables.items():
            wanted[name] = {**wanted.get(name, {}), **table}
        if full:
            wanted["tuning"] = {"kind": "full"}
        spec = RunSpec.model_validate(wanted)
        return create_run(spec, make_plan(spec, find_source(spec.model.source)))

    return make


@pytest.fixture
def train(make_run: Callable[..., RunFolder]) -> Callable[..., Run]:
    """Make a run and do it here and now."""

    def train_now(rows: Sequence[dict[str, Any]] | None = None, **tables: Any) -> Run:
        from tuner_tui.worker.train import run_job

        folder = make_run(rows, **tables)
        return Run(folder, run_job(folder.path))

    return train_now
