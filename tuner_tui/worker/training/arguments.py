"""The trainer arguments that all methods share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import SchedulerType

from tuner_tui.planning.optimizers import TRANSFORMERS_NAMES

if TYPE_CHECKING:
    from tuner_tui.planning.oom_fallback import Shape
    from tuner_tui.worker.device.machine import Machine
    from tuner_tui.worker.job import Job


def training_arguments(job: Job, machine: Machine, shape: Shape, *, has_evaluation: bool) -> dict[str, Any]:
    """Keyword arguments for transformers' TrainingArguments and its children."""
    spec = job.spec
    training, evaluation, checkpoints = spec.training, spec.evaluation, spec.checkpoints
    arguments: dict[str, Any] = {
        "output_dir": str(job.folder.path / "checkpoints"),
        "num_train_epochs": training.epochs,
        "max_steps": training.max_steps or -1,
        "learning_rate": job.plan.learning_rate,
        "lr_scheduler_type": SchedulerType(training.schedule),
        "lr_scheduler_kwargs": {"min_lr_rate": 0.1} if training.schedule == "cosine_with_min_lr" else None,
        "warmup_steps": training.warmup,  # below 1: a share of all steps
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "per_device_train_batch_size": shape.micro_batch,
        "per_device_eval_batch_size": shape.micro_batch,
        "gradient_accumulation_steps": shape.batch_size // shape.micro_batch,
        "activation_checkpointing": shape.is_checkpointing,
        "optim": TRANSFORMERS_NAMES[training.optimizer],
        "seed": training.seed,
        "use_cpu": not machine.is_gpu,
        "bf16": machine.autocast == "bf16",
        "fp16": machine.autocast == "fp16",
        "eval_strategy": "no",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": _strategy(checkpoints.every_steps),
        "save_steps": checkpoints.every_steps or 500,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": machine.is_gpu,
        "remove_unused_columns": True,
    }
    if job.planned.training.group_by_length is True:
        arguments["train_sampling_strategy"] = "group_by_length"
    if has_evaluation:
        arguments |= {
            "eval_strategy": _strategy(evaluation.every_steps),
            "eval_steps": evaluation.every_steps,
            "metric_for_best_model": "eval_loss",
            "greater_is_better": False,
        }
        if evaluation.early_stopping:  # the best adapter must be on disk to be kept
            arguments |= {
                "save_strategy": arguments["eval_strategy"],
                "save_steps": evaluation.every_steps or 500,
                "restore_callback_states_from_checkpoint": True,  # early stopping's patience counter
            }
    return {name: value for name, value in arguments.items() if value is not None}


def _strategy(every_steps: int | None) -> str:
    return "steps" if every_steps else "epoch"
