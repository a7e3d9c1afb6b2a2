"""What goes wrong ends in one event that says what happened and what to do, or is survived and said."""

from __future__ import annotations

import json
import resource
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.worker.runs import QUESTIONS, Run, StopAfter
from tuner_tui.models.trusted_code import trust
from tuner_tui.runs.events import (
    TERMINAL,
    CheckpointSaved,
    PhaseEntered,
    RunFailed,
    RunFinished,
    StepLogged,
    Warned,
    decode_lines,
)
from tuner_tui.runs.journal import EventWriter
from tuner_tui.worker.job import Job
from tuner_tui.worker.train import run_job
from tuner_tui.worker.training.failures import explain
from tuner_tui.worker.training.reporter import NotFinite, ReportingCallback
from tuner_tui.worker.training.samples import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder


@pytest.fixture
def broken_model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the model, for a test to break."""
    return shutil.copytree(tiny_model, tmp_path / "broken-model")


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def only_failure(run: Run) -> RunFailed:
    assert run.exit_code == 1
    endings = [event for event in run.events if isinstance(event, TERMINAL)]
    assert len(endings) == 1
    assert isinstance(endings[0], RunFailed)
    return endings[0]


def test_a_loss_that_is_no_number_ends_the_run_before_a_checkpoint(
    train: Callable[..., Run], broken_model: Path
) -> None:
    weights = load_file(broken_model / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken_model / "model.safetensors", {"format": "pt"})
    run = train(
        model={"source": str(broken_model)},
        data={"allow": ("odd_first_loss",)},
        checkpoints={"every_steps": 1},
    )
    failure = only_failure(run)
    assert (failure.kind, failure.step) == ("not_finite", 1)
    assert "learning_rate" in failure.hint
    assert run.last(StepLogged).loss is None
    assert not run.all(CheckpointSaved)
    assert not run.folder.adapter.exists()


@pytest.mark.parametrize(("is_fp16", "is_raised"), [(False, True), (True, False)])
def test_a_gradient_that_is_no_number_ends_the_run_unless_it_is_scaled(
    make_run: Callable[..., RunFolder], is_fp16: bool, is_raised: bool
) -> None:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    folder = make_run()
    job = job_of(folder)
    callback = ReportingCallback(job, Sampler(job, torch.nn.Linear(1, 1), None))  # type: ignore[arg-type]
    arguments = TrainingArguments(str(folder.checkpoints), use_cpu=True)
    arguments.fp16 = is_fp16
    logs = {"loss": 1.0, "grad_norm": float("inf")}
    state = TrainerState(global_step=1, max_steps=9)
    if is_raised:
        with pytest.raises(NotFinite, match="gradient is not a finite number"):
            callback.on_log(arguments, state, TrainerControl(), logs)
    else:
        callback.on_log(arguments, state, TrainerControl(), logs)


def job_of(folder: RunFolder) -> Job:
    from tuner_tui.config.spec_file import read_spec
    from tuner_tui.planning.plan import decode_plan

    return Job(
        folder, read_spec(folder.spec), decode_plan(folder.plan.read_bytes()), EventWriter(folder.events)
    )


def test_a_missing_model(make_run: Callable[..., RunFolder], broken_model: Path) -> None:
    folder = make_run(model={"source": str(broken_model)})
    shutil.rmtree(broken_model)
    failure = only_failure(Run(folder, run_job(folder.path)))
    assert failure.kind == "error"
    assert "cannot be loaded" in failure.title and str(broken_model) in failure.message


def test_an_unknown_architecture(train: Callable[..., Run], broken_model: Path) -> None:
    change_config(broken_model, model_type="frobnicate", architectures=["FrobnicateForCausalLM"])
    failure = only_failure(train(model={"source": str(broken_model)}))
    assert failure.title == "The model's architecture is not supported"
    assert "frobnicate" not in failure.hint and "Upgrade transformers" in failure.hint


def test_a_model_with_code_of_its_own_is_refused_without_the_flag(
    train: Callable[..., Run], broken_model: Path, tmp_path: Path
) -> None:
    witness = tmp_path / "code-was-run"
    (broken_model / "modeling_own.py").write_text(
        f"""from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({str(witness)!r}).touch()
class OwnConfig(LlamaConfig):
    model_type = "own"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""
    )
    change_config(
        broken_model,
        model_type="own",
        auto_map={"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"},
    )
    failure = only_failure(train(model={"source": str(broken_model)}))
    assert failure.title == "The model needs its own code"
    assert "model.trust_remote_code = true" in failure.hint
    assert not witness.exists()
    own_code = {"source": str(broken_model), "trust_remote_code": True}
    failure = only_failure(train(model=own_code))  # the flag alone: the run may have come from elsewhere
    assert "tuner-tui models trust" in failure.hint
    assert not witness.exists()
    trust(str(broken_model), None)
    run = train(model=own_code, training={"max_steps": 1})
    assert run.exit_code == 0
    assert witness.exists()


def test_a_cut_off_weights_file(train: Callable[..., Run], broken_model: Path) -> None:
    weights = broken_model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert only_failure(train(model={"source": str(broken_model)})).title == "A weights file is damaged"


def test_an_unknown_target(train: Callable[..., Run]) -> None:
    failure = only_failure(train(tuning={"targets": ["q_proj", "frob_proj"]}))
    assert failure.title == "A target is not in the model"
    assert "frob_proj" in failure.message and "q_proj" not in failure.message and "down_proj" in failure.hint


def test_rows_that_cannot_be_read(train: Callable[..., Run]) -> None:
    failure = only_failure(
        train([{"question": "a", "answer": "b"}, {"question": "a", "answer": {"no": "text"}}])
    )
    assert "rows.jsonl:2" in failure.message


def test_a_spec_that_cannot_be_read(make_run: Callable[..., RunFolder]) -> None:
    folder = make_run()
    folder.spec.write_text("nonsense = 1\n")
    only_failure(Run(folder, run_job(folder.path)))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
            "out_of_memory",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (OSError(28, "No space left on device"), "error"),
        (RuntimeError("something else"), "crash"),
    ],
)
def test_exceptions_are_told_apart(error: Exception, kind: str) -> None:
    failure = explain(error, 7)
    assert (failure.kind, failure.step) == (kind, 7)
    assert failure.title and failure.hint


@pytest.fixture
def files_up_to() -> Iterator[Callable[[int], AbstractContextManager[None]]]:
    """Lets this process write no file beyond a size for a while, as on a disk that is nearly full."""
    import contextlib

    @contextlib.contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    yield limited


def test_training_goes_on_when_checkpoints_cannot_be_written(
    train: Callable[..., Run],
    make_run: Callable[..., RunFolder],
    files_up_to: Callable[[int], AbstractContextManager[None]],
) -> None:
    tables: dict[str, Any] = {
        "tuning": {"rank": 32},
        "training": {"max_steps": 4},
        "checkpoints": {"every_steps": 2},
    }
    whole = train(**tables)
    made = whole.folder.checkpoints / "step-000004"
    adapter, optimizer = (
        (made / name).stat().st_size for name in ("adapter_model.safetensors", "optimizer.pt")
    )
    assert optimizer > 1.5 * adapter
    folder = make_run(**tables)
    with files_up_to((adapter + optimizer) // 2):
        exit_code = run_job(folder.path)
    run = Run(folder, exit_code)
    assert run.last(RunFinished).step == 4
    assert run.losses == whole.losses
    assert [warning.message.partition(":")[0] for warning in run.all(Warned)] == [
        "The checkpoint of step 2 was not saved",
        "The checkpoint of step 4 was not saved",
    ]
    assert list(folder.checkpoints.iterdir()) == []
    assert (folder.adapter / "adapter_model.safetensors").stat().st_size == adapter


def test_a_result_that_cannot_be_written_is_written_on_resume(
    make_run: Callable[..., RunFolder], files_up_to: Callable[[int], AbstractContextManager[None]]
) -> None:
    folder = make_run(tuning={"rank": 32}, training={"max_steps": 4}, checkpoints={"every_steps": 3})
    run_job(folder.path, stop=StopAfter(folder, 2))
    with files_up_to(60_000):
        failed = Run(folder, run_job(folder.path, is_resumed=True))
    failure = failed.last(RunFailed)
    assert failure.title == "The result could not be saved"
    assert "runs resume" in failure.hint
    assert not folder.adapter.exists()
    assert run_job(folder.path, is_resumed=True) == 0
    assert failed.last(RunFinished).step == 4


def test_events_wait_for_room_on_the_disk(
    make_run: Callable[..., RunFolder], files_up_to: Callable[[int], AbstractContextManager[None]]
) -> None:
    folder = make_run()
    job = job_of(folder)
    job.emit(PhaseEntered(phase="loading"))
    with files_up_to(folder.events.stat().st_size):
        job.emit(PhaseEntered(phase="preparing"))
        job.emit(PhaseEntered(phase="training"))
        assert len(decode_lines(folder.events.read_bytes())) == 1
    job.emit(PhaseEntered(phase="saving"))
    events = [event for event in decode_lines(folder.events.read_bytes()) if isinstance(event, PhaseEntered)]
    assert [event.phase for event in events] == ["loading", "preparing", "training", "saving"]
    assert [event.at for event in events] == sorted(event.at for event in events)


def test_all_of_a_small_set_is_trained_even_if_it_is_less_than_a_batch(train: Callable[..., Run]) -> None:
    question, answer = QUESTIONS[0]
    run = train([{"question": question, "answer": answer}], training={"max_steps": 2, "batch_size": 8})
    assert run.last(RunFinished).step == 2
