"""The probe: three real steps on the longest rows, in a worker of its own, that leave nothing but figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuner_tui.config.spec import DataSpec, MachineSpec, ModelSpec, RunSpec, TrainingSpec
from tuner_tui.errors import NotFoundError, TunerError
from tuner_tui.keeper.measuring import explained
from tuner_tui.keeper.probe import probe_spec, run_probe
from tuner_tui.runs.events import MemoryShort
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.journal import append_event
from tuner_tui.runs.lock import acquire
from tuner_tui.runs.measurements import all_measured, probes_dir


@pytest.fixture
def asked(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    rows = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"row {n} " + "word " * n, "completion": "answer " * 4} for n in range(60)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return RunSpec(
        model=ModelSpec(source=str(tiny_model)),
        data=DataSpec(train=str(rows)),
        training=TrainingSpec(batch_size=8, micro_batch=2, max_length=128),
        machine=MachineSpec(device="cpu", threads=1),
    )


def test_a_probe_measures_the_longest_rows_and_keeps_only_figures(asked: RunSpec) -> None:
    found = run_probe(asked)
    measured = found.measured
    assert (measured.method, measured.tuning, measured.micro_batch, measured.steps) == ("sft", "lora", 2, 3)
    assert not measured.is_gpu and measured.allocated_bytes > 0 and measured.context_bytes
    assert 60 < measured.length <= 128
    assert measured.seconds_per_step and measured.tokens_per_second
    assert all_measured() == [measured]
    [folder] = list(probes_dir().iterdir())
    assert not (folder / "rows.jsonl").exists()
    assert not (folder / "checkpoints").exists() and not (folder / "adapter").exists()
    assert found.plan.memory is not None and found.plan.memory.micro_batch == 2


def test_gradients_are_gathered_as_the_run_would(asked: RunSpec, tmp_path: Path) -> None:
    assert probe_spec(asked, tmp_path / "rows.jsonl", 2).training.batch_size == 4
    assert probe_spec(asked, tmp_path / "rows.jsonl", 8).training.batch_size == 8
    probed = probe_spec(asked, tmp_path / "rows.jsonl", 2)
    assert (probed.samples.prompts, probed.evaluation.every_steps, probed.data.evaluation) == ((), None, None)


def test_what_cannot_be_probed_says_why(asked: RunSpec) -> None:
    with pytest.raises(NotFoundError):
        run_probe(asked.model_copy(update={"model": ModelSpec(source="/nowhere/model")}))
    with pytest.raises(TunerError) as caught:
        run_probe(
            asked.model_copy(
                update={"model": asked.model.model_copy(update={"attention": "flash_attention_2"})}
            )
        )
    assert "failed" in caught.value.title


def test_beside_a_run_nothing_is_measured(asked: RunSpec, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "data" / "runs" / "at-work"
    folder.mkdir(parents=True)
    lock = acquire(folder / "lock")
    assert lock is not None
    try:
        with pytest.raises(TunerError) as caught:
            run_probe(asked)
    finally:
        lock.release()
    assert caught.value.title == "A run is training" and "at-work" in caught.value.message


def test_one_probe_at_a_time(asked: RunSpec) -> None:
    lock_file = probes_dir().parent / "probe.lock"
    lock_file.parent.mkdir(parents=True)
    lock = acquire(lock_file)
    assert lock is not None
    with pytest.raises(TunerError) as caught:
        run_probe(asked)
    lock.release()
    assert caught.value.title == "Another probe is running"


def test_memory_that_runs_out_is_told_with_where(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.events.touch()
    append_event(
        folder.events, MemoryShort(where="training", step=1, message="CUDA out of memory. Tried 2 GiB.")
    )
    error = explained(folder, "probe")
    assert error.title == "The probe failed: Out of memory"
    assert error.message == "Memory ran out while training after step 1: CUDA out of memory. Tried 2 GiB."
    assert "nf4" in error.hint
