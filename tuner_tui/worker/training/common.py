"""The training steps that all methods share, from choosing the device to saving; the rest is in each method's file."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers import EarlyStoppingCallback, PrinterCallback, TrainerState, set_seed

from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.reference import Reference, reference_of
from tuner_tui.config.tunings.lora_start import changes_base
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.files import make_folder, settle_modes
from tuner_tui.models.adapter import read_adapter_facts
from tuner_tui.planning.checkpointing import checkpoints_activations
from tuner_tui.planning.choices import ADAPTED_LAYERS, ADAPTED_PART, MODEL_CLASS, ROUTER_LOSS
from tuner_tui.planning.micro_batch import choose_micro_batch
from tuner_tui.planning.oom_fallback import Shape, apply_fallbacks
from tuner_tui.planning.plan import Choice
from tuner_tui.runs.events import ChoicesMade, ModelLoaded
from tuner_tui.runs.model_setup import ModelSetup
from tuner_tui.text import listed
from tuner_tui.worker.device import memory
from tuner_tui.worker.device.machine import choose_machine
from tuner_tui.worker.device.system_memory_fallback import SystemMemoryFallbackGuard
from tuner_tui.worker.model import loading, tuning
from tuner_tui.worker.model.classes import is_plain_language_model
from tuner_tui.worker.model.plain_lora import convert
from tuner_tui.worker.model.reached import parts_without_text
from tuner_tui.worker.training import preflight, result
from tuner_tui.worker.training.arguments import training_arguments
from tuner_tui.worker.training.checkpoints import STAGING, is_at_end, replace_folder
from tuner_tui.worker.training.concurrency import begin_concurrent
from tuner_tui.worker.training.findings import settle
from tuner_tui.worker.training.packed_rows import require_rows_apart
from tuner_tui.worker.training.profiled_steps import StepProfiler
from tuner_tui.worker.training.reference import adapter_state, require_first_loss
from tuner_tui.worker.training.reporter import ReportingCallback
from tuner_tui.worker.training.router_loss import router_loss_fits
from tuner_tui.worker.training.samples import Sampler
from tuner_tui.worker.training.start_logits import look_at_base, look_at_start, require_same
from tuner_tui.worker.training.template_findings import choose_template
from tuner_tui.worker.training.trackers import add_trackers

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedTokenizerBase

    from tuner_tui.worker.device.machine import Machine
    from tuner_tui.worker.job import Job
    from tuner_tui.worker.training.start_logits import StartLogits


@dataclass(frozen=True)
class ResolvedBase:
    """The machine, the base's location, and its tokenizer."""

    machine: Machine
    location: str
    revision: str | None
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True)
class Policy:
    """What is trained."""

    model: Any
    peft_config: PeftConfig | None = None
    """A new adapter for the trainer to add; None when the model is complete."""
    exact: dict[str, torch.Tensor] = field(default_factory=dict)
    """Loaded weights, kept because a trainer may round them."""
    start_adapter: dict[str, torch.Tensor] = field(default_factory=dict)
    """Where a frozen copy of it is the reference: all tensors of the adapter that the run starts from."""
    logits: StartLogits | None = None
    began: float = field(default_factory=time.perf_counter)


def find_base(job: Job) -> ResolvedBase:
    """Resolve machine and model, and load the tokenizer. Raises TunerError."""
    machine = choose_machine(job.planned)
    job.emit(machine.choices)
    job.enter("loading", loading.what_finding_takes(job.plan))
    location, revision = loading.find_weights(job.plan)
    job.enter("preparing", "tokenising rows")
    tokenizer = loading.load_tokenizer(location, revision, job.spec.model)
    settle(job, choose_template(job.spec.data, tokenizer))
    return ResolvedBase(machine, location, revision, tokenizer)


def load_policy(job: Job, resolved: ResolvedBase, *, is_complete: bool = False) -> Policy:
    """Load the base with what is trained; with `is_complete` the adapter is added here and not by the trainer.

    If the run starts from an adapter, that one is trained further; TRL's trainers with a reference make a frozen copy
    of it. Raises TunerError.
    """
    job.enter("loading", job.plan.model_name)
    began = time.perf_counter()
    memory.begin(job)
    spec = job.spec
    has_head = method_traits(spec.method.kind).output == "scores"
    set_seed(spec.training.seed)  # a new head is drawn while loading
    base = loading.load_base(
        resolved.location, resolved.revision, spec.model, resolved.machine, has_head=has_head
    )
    preflight.require_pad_token(base, resolved.tokenizer)
    _report_model(job, base)
    logits = look_at_base(base, resolved.tokenizer)
    if job.plan.start is not None:
        make_plain(job, base)
        tuned = tuning.continued_adapter(spec, base, job.folder.started_from, has_head=has_head)
        logits = look_at_start(logits, tuned)
        copied = adapter_state(tuned) if _reference(job) == "frozen copy" else {}
        return Policy(tuned, None, tuning.trained_values(tuned), copied, logits, began)
    if is_complete:
        return Policy(tuning.new_adapter(spec, base, has_head=has_head), logits=logits, began=began)
    return Policy(base, tuning.peft_config(spec, base, has_head=has_head), logits=logits, began=began)


def make_plain(job: Job, base: Any) -> None:
    """Replace the run's copy of a start adapter of a changed base (PiSSA and similar) with plain LoRA of this base.

    Raises InputError where that is impossible.
    """
    folder = job.folder.started_from
    facts = read_adapter_facts(folder)
    if not changes_base(facts.init):
        return
    making = folder.with_name(f"{STAGING}start-{os.getpid()}")
    try:
        make_folder(making)
        convert(folder, base, making)
        settle_modes(making)
        replace_folder(making, folder, job.folder.owned)
    finally:
        job.folder.owned.discard(making)
    rank = read_adapter_facts(folder).rank
    reason = f"{facts.init} changes the base's weights; converted, the base stays as it is"
    job.emit(
        ChoicesMade(choices=(Choice(name="adapter", value=f"plain LoRA of rank {rank}", reason=reason),))
    )


def _report_model(job: Job, base: Any) -> None:
    """Report how the base was loaded and what of it is adapted, where that is not the usual."""
    spec, model_type = job.spec, base.config.model_type
    choices: list[Choice] = []
    setup = ModelSetup()
    if method_traits(spec.method.kind).output == "text" and not is_plain_language_model(base.config):
        reason = f"AutoModelForCausalLM does not know {model_type}; text alone is trained"
        choices.append(Choice(name=MODEL_CLASS, value="AutoModelForMultimodalLM", reason=reason))
        setup = setup.with_also(ModelSetup(is_multimodal=True))
    if tuning_traits(spec.tuning.kind).is_adapter and (unreached := parts_without_text(base)):
        reason = f"text never reaches {listed(unreached)}"
        choices.append(Choice(name=ADAPTED_PART, value="language model", reason=reason))
        setup = setup.with_also(ModelSetup(is_partly_adapted=True))
    if refused := tuning.left_out(spec, base):
        value = f"all linear layers but {listed(refused, 'and')}"
        reason = f"those of {model_type} cannot be adapted"
        choices.append(Choice(name=ADAPTED_LAYERS, value=value, reason=reason))
        setup = setup.with_also(ModelSetup(is_partly_adapted=True))
    if choices:
        job.emit(ChoicesMade(choices=tuple(choices), setup=setup))


def router_arguments(job: Job, policy: Policy) -> dict[str, Any]:
    """The trainer argument that turns TRL's auxiliary router loss off where it does not fit the model; else none."""
    model = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
    if router_loss_fits(model):
        return {}
    reason = f"TRL cannot compute the auxiliary loss of {model.config.model_type}'s router"
    choice = Choice(name=ROUTER_LOSS, value="off", reason=reason)
    job.emit(ChoicesMade(choices=(choice,), setup=ModelSetup(is_without_router_loss=True)))
    return {"router_aux_loss_coef": 0.0}


def load_reference(job: Job, resolved: ResolvedBase, *, is_precomputed: bool) -> Any:
    """A second model for full tuning, which changes the first; None if the adapter is disabled instead."""
    if is_precomputed:
        job.enter("preparing", "computing the reference's log-probabilities of all rows")
    if _reference(job) != "second model" or is_precomputed:
        return None
    return loading.load_base(resolved.location, resolved.revision, job.spec.model, resolved.machine)


def _reference(job: Job) -> Reference:
    """The run's reference."""
    return reference_of(job.spec.method.kind, job.spec.tuning.kind, is_continued=job.plan.start is not None)


def arguments(job: Job, resolved: ResolvedBase, *, has_evaluation: bool) -> dict[str, Any]:
    """The shared trainer arguments; chooses and reports the micro-batch."""
    training = job.planned.training
    traits = method_traits(job.spec.method.kind)
    micro_batch, reason = choose_micro_batch(
        training.micro_batch,
        training.batch_size,
        resolved.machine.is_gpu,
        sequences=traits.sequences_per_row,
        at_least=traits.fewest_rows,
    )
    chosen = Shape(
        micro_batch=micro_batch,
        batch_size=training.batch_size,
        is_checkpointing=checkpoints_activations(training.checkpointing, is_gpu=resolved.machine.is_gpu),
        at_least=traits.fewest_rows,
        concurrent=_concurrent(job, micro_batch) if not resolved.machine.is_gpu else 1,
    )
    job.shape = apply_fallbacks(chosen, job.plan.fallbacks)
    if job.spec.training.micro_batch is None and training.micro_batch is not None:
        reason = "as planned from the free memory"
    if job.shape.micro_batch != micro_batch:
        reason = "a larger one ran out of memory"
    size = str(job.shape.micro_batch)
    job.emit(ChoicesMade(choices=(Choice(name="micro-batch", value=size, reason=reason),)))
    return training_arguments(job, resolved.machine, job.shape, has_evaluation=has_evaluation)


def _concurrent(job: Job, micro_batch: int) -> int:
    """How many micro-batches are computed at a time: as planned, as far as a step has so many."""
    memory = job.plan.memory
    planned = job.spec.machine.concurrent_micro_batches or (1 if memory is None else memory.concurrent)
    return max(1, min(planned, job.planned.training.batch_size // micro_batch))


def fit(job: Job, trainer: Any, resolved: ResolvedBase, policy: Policy) -> result.Ending:
    """Train, save, and return how it ended."""
    trainer.job = job
    trainer.remove_callback(
        PrinterCallback
    )  # events have the same figures, and printing fails on a full disk
    tuning.keep_adapter_in_fp32(trainer.model)
    tuning.put_back(trainer.model, policy.exact)
    if policy.logits is not None:
        require_same(policy.logits, trainer.model)
    if getattr(trainer.args, "disable_dropout", False):
        tuning.quiet_dropout(trainer.model)
    require_first_loss(trainer)
    tuning.wake_dropout(trainer.model, job.spec)
    tuning.write_no_model_card(trainer.model)
    parameters, trained = tuning.count_parameters(trainer.model)
    job.emit(
        ModelLoaded(
            source=job.plan.model_name,
            precision=resolved.machine.precision,
            device=resolved.machine.device,
            parameters=parameters,
            trainable_parameters=trained,
            memory_bytes=trainer.model.get_memory_footprint(),
            seconds=time.perf_counter() - policy.began,
        )
    )

    require_rows_apart(trainer)
    preflight.before_first_step(job, trainer)
    begin_concurrent(job, trainer)
    can_answer = method_traits(job.spec.method.kind).output == "text"
    sampler = Sampler(job, trainer.model, resolved.tokenizer, can_answer=can_answer)
    reporting = ReportingCallback(job, sampler)
    trainer.add_callback(reporting)
    trainer.add_callback(memory.MemoryMeter(job, resolved.machine))
    trainer.profiler = StepProfiler(trainer, resolved.machine)
    if trainer.profiler.order is None:  # steps that are made for a profile alone are reported nowhere
        add_trackers(trainer, job)
    if resolved.machine.is_gpu:
        trainer.add_callback(SystemMemoryFallbackGuard())
    if job.spec.evaluation.early_stopping:
        trainer.add_callback(EarlyStoppingCallback(job.spec.evaluation.early_stopping))
    if sampler.needs_base_first():
        job.enter("sampling", "with the base, before it changes")
        sampler.answer_as_base(allowed_seconds=None)
    job.enter("training")
    if job.resume_from and is_at_end(job.resume_from):  # only the result is missing
        trainer.state = TrainerState.load_from_json(str(job.resume_from / "trainer_state.json"))
        trainer._load_from_checkpoint(str(job.resume_from))
    else:
        trainer.train(resume_from_checkpoint=str(job.resume_from) if job.resume_from else None)
    reporting.report_overhead()
    if job.stop.is_set() and trainer.state.global_step < trainer.state.max_steps:
        return result.stopped(job, trainer.state.global_step)

    job.enter("saving")
    result.restore_best(job, trainer)
    result.save(job, trainer.model, resolved.tokenizer)
    return result.finished(job, trainer)
