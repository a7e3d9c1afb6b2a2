"""Real runs on a tiny model, in this process: importing torch and TRL once is most of what they cost."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest

from tests.worker.runs import Run, write_rows
from tuner_tui.config.spec import RunSpec
from tuner_tui.models.source import find_source
from tuner_tui.planning.plan import make_plan
from tuner_tui.runs.create import create_run
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.lineage import find_start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def loaded_once() -> None:
    """Load what every run needs, and have it left out of garbage collection, which takes a third of a tiny run."""
    import tuner_tui.worker.methods.dpo
    import tuner_tui.worker.methods.sft
    import tuner_tui.worker.train  # noqa: F401

    gc.collect()
    gc.freeze()


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
            before = wanted.get(name, {})
            is_other = table.get("kind", before.get("kind")) != before.get("kind")  # with other options
            wanted[name] = {**({} if is_other else before), **table}
        if full:
            wanted["tuning"] = {"kind": "full"}
        spec = RunSpec.model_validate(wanted)
        source = find_source(spec.model.source)
        return create_run(spec, make_plan(spec, source, find_start(spec, source)))

    return make


@pytest.fixture
def train(make_run: Callable[..., RunFolder]) -> Callable[..., Run]:
    """Make a run and do it here and now."""

    def train_now(rows: Sequence[dict[str, Any]] | None = None, **tables: Any) -> Run:
        from tuner_tui.worker.train import run_job

        folder = make_run(rows, **tables)
        return Run(folder, run_job(folder.path))

    return train_now
