"""What every method does alike, from the machine to the ending; what is its own stands in its file."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers import EarlyStoppingCallback, PrinterCallback, TrainerState, set_seed

from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.planning.checkpointing import checkpoints_activations
from tuner_tui.planning.micro_batch import choose_micro_batch
from tuner_tui.planning.oom_fallback import Shape, apply_rungs
from tuner_tui.planning.plan import ADAPTED_PART, Choice
from tuner_tui.runs.events import ChoicesMade, ModelLoaded
from tuner_tui.text import listed
from tuner_tui.worker.device import memory
from tuner_tui.worker.device.machine import choose_machine
from tuner_tui.worker.device.system_memory_fallback import SpillGuard
from tuner_tui.worker.model import loading, tuning
from tuner_tui.worker.model.reached import parts_without_text
from tuner_tui.worker.training import preflight, result
from tuner_tui.worker.training.arguments import training_arguments
from tuner_tui.worker.training.checkpoints import is_at_end
from tuner_tui.worker.training.reporter import ReportingCallback
from tuner_tui.worker.training.samples import Sampler
from tuner_tui.worker.training.trackers import add_trackers

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedTokenizerBase

    from tuner_tui.worker.device.machine import Machine
    from tuner_tui.worker.job import Job


@dataclass(frozen=True)
class Found:
    """The machine, and where the base and its tokenizer are."""

    machine: Machine
    location: str
    revision: str | None
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True)
class Policy:
    """What is trained."""

    model: Any
    peft_config: PeftConfig | None = None
    """A new adapter that the trainer is to add; None where the model is complete."""
    exact: dict[str, torch.Tensor] = field(default_factory=dict)
    """Loaded weights that a trainer may round."""
    began: float = field(default_factory=time.perf_counter)


def find_base(job: Job) -> Found:
    """Resolve machine and model, and bring the tokenizer. Raises TunerError in plain words."""
    machine = choose_machine(job.planned)
    job.emit(machine.choices)
    job.enter("loading", loading.what_finding_takes(job.plan))
    location, revision = loading.find_weights(job.plan)
    job.enter("preparing", "turning rows into tokens")
    tokenizer = loading.load_tokenizer(location, revision, job.spec.model)
    preflight.settle(job, preflight.choose_template(job.spec.data, tokenizer))
    return Found(machine, location, revision, tokenizer)


def load_policy(job: Job, found: Found, *, is_complete: bool = False) -> Policy:
    """The base in memory with what is trained; a complete one leaves no adapter for the trainer to add.

    Where the run starts from an adapter, that one is trained on: TRL's trainers with a reference take a frozen copy of
    it. Raises TunerError in plain words.
    """
    job.enter("loading", job.plan.model_name)
    began = time.perf_counter()
    memory.begin(job)
    spec = job.spec
    has_head = method_traits(spec.method.kind).gives == "scores"
    set_seed(spec.training.seed)  # a new head is drawn while loading
    base = loading.load_base(found.location, found.revision, spec.model, found.machine, has_head=has_head)
    if tuning_traits(spec.tuning.kind).is_adapter and (unreached := parts_without_text(base)):
        reason = f"text never reaches {listed(unreached)}"
        job.emit(ChoicesMade(choices=(Choice(name=ADAPTED_PART, value="language model", reason=reason),)))
    if job.plan.start is not None:
        tuned = tuning.continued_adapter(spec, base, job.folder.started_from, has_head=has_head)
        return Policy(tuned, None, tuning.trained_values(tuned), began)
    if is_complete:
        return Policy(tuning.new_adapter(spec, base, has_head=has_head), began=began)
    return Policy(base, tuning.peft_config(spec, base, has_head=has_head), began=began)


def load_reference(job: Job, found: Found, *, is_precomputed: bool) -> Any:
    """A second model for full tuning, which changes the first; None where the adapter is put aside instead."""
    if is_precomputed:
        job.enter("preparing", "the reference's log-probabilities of all rows, once")
    if tuning_traits(job.spec.tuning.kind).is_adapter or is_precomputed:
        return None
    return loading.load_base(found.location, found.revision, job.spec.model, found.machine)


def arguments(job: Job, found: Found, *, has_evaluation: bool) -> dict[str, Any]:
    """The shared part of a trainer's arguments, the micro-batch chosen and said."""
    training = job.planned.training
    traits = method_traits(job.spec.method.kind)
    micro_batch, reason = choose_micro_batch(
        training.micro_batch,
        training.batch_size,
        found.machine.is_gpu,
        sequences=traits.sequences_per_row,
        at_least=traits.fewest_rows,
    )
    chosen = Shape(
        micro_batch=micro_batch,
        batch_size=training.batch_size,
        is_checkpointing=checkpoints_activations(training.checkpointing, is_gpu=found.machine.is_gpu),
        at_least=traits.fewest_rows,
    )
    job.shape = apply_rungs(chosen, job.plan.rungs)
    if job.spec.training.micro_batch is None and training.micro_batch is not None:
        reason = "as planned from the memory that was free"
    if job.shape.micro_batch != micro_batch:
        reason = "memory ran out at more"
    size = str(job.shape.micro_batch)
    job.emit(ChoicesMade(choices=(Choice(name="micro-batch", value=size, reason=reason),)))
    return training_arguments(job, found.machine, job.shape, has_evaluation=has_evaluation)


def fit(job: Job, trainer: Any, found: Found, policy: Policy) -> result.Ending:
    """Train, save, and say how it ended."""
    trainer.job = job
    trainer.remove_callback(PrinterCallback)  # the events tell more, and printing fails on a full disk
    tuning.keep_adapter_in_fp32(trainer.model)
    tuning.put_back(trainer.model, policy.exact)
    tuning.wake_dropout(trainer.model, job.spec)
    tuning.write_no_card(trainer.model)
    parameters, trained = tuning.count_parameters(trainer.model)
    job.emit(
        ModelLoaded(
            source=job.plan.model_name,
            precision=found.machine.precision,
            device=found.machine.device,
            parameters=parameters,
            trainable_parameters=trained,
            memory_bytes=trainer.model.get_memory_footprint(),
            seconds=time.perf_counter() - policy.began,
        )
    )

    preflight.before_first_step(job, trainer)
    can_answer = method_traits(job.spec.method.kind).gives == "text"
    sampler = Sampler(job, trainer.model, found.tokenizer, can_answer=can_answer)
    reporting = ReportingCallback(job, sampler)
    trainer.add_callback(reporting)
    trainer.add_callback(memory.MemoryMeter(job, found.machine))
    add_trackers(trainer, job)
    if found.machine.is_gpu:
        trainer.add_callback(SpillGuard())
    if job.spec.evaluation.early_stopping:
        trainer.add_callback(EarlyStoppingCallback(job.spec.evaluation.early_stopping))
    if sampler.needs_base_first():
        job.enter("sampling", "the base, before it changes")
        sampler.answer_as_base(allowed_seconds=None)
    job.enter("training")
    if job.resume_from and is_at_end(job.resume_from):  # only the result was missing
        trainer.state = TrainerState.load_from_json(str(job.resume_from / "trainer_state.json"))
        trainer._load_from_checkpoint(str(job.resume_from))
    else:
        trainer.train(resume_from_checkpoint=str(job.resume_from) if job.resume_from else None)
    reporting.report_overhead()
    if job.stop.is_set() and trainer.state.global_step < trainer.state.max_steps:
        return result.stopped(job, trainer.state.global_step)

    job.enter("saving")
    result.restore_best(job, trainer)
    result.save(job, trainer.model, found.tokenizer)
    return result.finished(job, trainer)
