"""Ends an attempt: restores the best weights and saves the result."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.data.tokens.template import TEMPLATE_FILE
from tuner_tui.errors import TunerError
from tuner_tui.files import folder_size, settle_modes
from tuner_tui.runs.events import AdapterSaved, RunFinished, RunStopped, finite
from tuner_tui.text import shell_command
from tuner_tui.worker.export.older_readers import settle_for_older
from tuner_tui.worker.model.loading import is_out_of_memory
from tuner_tui.worker.training.checkpoints import STAGING, replace_folder
from tuner_tui.worker.training.template_findings import chosen_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tuner_tui.worker.job import Job

Ending = RunFinished | RunStopped


def stopped(job: Job, step: int) -> RunStopped:
    """The ending of a run that was asked to stop."""
    return RunStopped(
        step=step,
        checkpoint=job.newest_checkpoint(),
        seconds=job.seconds,
        is_pause=job.pause.is_set(),
    )


def finished(job: Job, trainer: Any) -> RunFinished:
    """The ending of a run that has made all its steps."""
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    is_early = trainer.state.global_step < trainer.state.max_steps
    return RunFinished(
        step=trainer.state.global_step,
        loss=finite(losses[-1]) if losses else None,
        seconds=job.seconds,
        reason="early_stopping" if is_early else "complete",
    )


def restore_best(job: Job, trainer: Any) -> None:
    """With early stopping, load the weights of the best evaluation."""
    best = trainer.state.best_global_step
    if not job.spec.evaluation.early_stopping or not best or best == trainer.state.global_step:
        return
    checkpoint = job.folder.checkpoints / f"step-{best:06d}"
    if not checkpoint.is_dir():
        job.warn(f"The best checkpoint (step {best}) is not on disk; the last weights are kept.")
        return
    trainer._load_from_checkpoint(str(checkpoint))


def save(job: Job, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the result to a staging folder and rename it into place.

    Raises TunerError when it cannot be written, and out-of-memory errors as they are, for the OOM fallback steps.
    """
    target = job.folder.adapter
    making = target.with_name(f"{STAGING}adapter-{os.getpid()}")
    try:
        if not tuning_traits(job.spec.tuning.kind).is_adapter:
            model.save_pretrained(making)
            tokenizer.save_pretrained(making)
            settle_for_older(making)
        else:  # without the frozen copy that may serve as the reference
            model.save_pretrained(making, selected_adapters=["default"])
            template = chosen_template(job.spec.data, tokenizer)
            if template is not None:
                (making / TEMPLATE_FILE).write_text(template, encoding="utf-8")
        job.folder.owned.discard(making / "README.md")  # PEFT's empty model card
        settle_modes(making)
        replace_folder(making, target, job.folder.owned)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Libraries raise four kinds of exception for a full disk; the checkpoints still exist.
        raise TunerError(
            "The result could not be saved",
            f"{job.folder.place / target.name}: {error}",
            f"Free disk space, then: {shell_command('runs resume', job.folder.name)}",
        ) from error
    finally:
        job.folder.owned.discard(making)
    job.emit(AdapterSaved(path=target.name, size_bytes=folder_size(target)))
