"""RunSpec: all options of a run, declared once with type, default, bounds, title, help and trade-off."""

from __future__ import annotations

from typing import Literal

from tuner_tui.config.data_section import DataShape, DataSpec
from tuner_tui.config.fields import Section, option
from tuner_tui.config.guards import GuardSpec
from tuner_tui.config.methods.options import Method
from tuner_tui.config.methods.sft import SftMethod
from tuner_tui.config.tunings.full import FullTuning
from tuner_tui.config.tunings.lora import LoraTuning
from tuner_tui.config.tunings.options import Tuning

__all__ = [
    "DataShape",
    "DataSpec",
    "FullTuning",
    "LoraTuning",
    "Method",
    "RunSpec",
    "Section",
    "SftMethod",
    "Tuning",
]

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8", "nf4"]
Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"]
Schedule = Literal["linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr"]
Device = Literal["auto", "cuda", "cpu"]
Switch = Literal["auto", "on", "off"]


class ModelSpec(Section):
    """The base model, and how it is loaded."""

    source: str = option(
        ...,
        "Model",
        'A Hub repository ("owner/name"), a local folder, a GGUF file, or "demo" for SmolLM2-135M-Instruct.',
        "Larger models answer better and need more memory and time.",
        min_length=1,
    )
    revision: str | None = option(
        None, "Revision", "Branch, tag or commit of a Hub repository; its main branch if unset."
    )
    precision: Precision = option(
        "auto",
        "Precision",
        "How the base is loaded: fp32, bf16, fp16, int8 (bitsandbytes) or nf4 (4-bit, double quantisation). "
        "auto uses the 16-bit dtype that is fast on this machine, else fp32. "
        "int8, nf4 and fp16 are for adapters, not for full tuning.",
        "nf4 needs about a quarter of the memory of bf16 and loses a little quality; int8 is in between.",
    )
    adapter: str | None = option(
        None,
        "Start from adapter",
        "A run's name, or a folder with an adapter of this base and of the run's tuning: its training continues, with "
        "its own targets and sizes; a method with a reference takes a frozen copy of it. If unset, a new adapter is "
        "created.",
        "Keeps the earlier training; a frozen copy beside it costs a few megabytes.",
        min_length=1,
    )
    adapter_base_confirmed: bool = option(
        False,
        "Adapter's base confirmed",
        "You know that the adapter was trained on this base, although its folder names another one, a path of another "
        "machine, or none. The shapes of its weights are compared all the same.",
        "An adapter of another base with the same shapes would silently give nonsense.",
    )
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = option(
        "auto",
        "Attention",
        "Which attention kernel runs; auto takes PyTorch's own (sdpa).",
        "flash_attention_2 needs its package and a recent GPU; eager is slow and always works.",
    )
    trust_remote_code: bool = option(
        False,
        "Trust remote code",
        "Run Python code that the model's repository ships. Only for authors you trust.",
        "Some models load only with it; it can do anything that you can do.",
    )


class TrainingSpec(Section):
    """Duration, learning rate, batches and optimizer."""

    epochs: float = option(
        3.0,
        "Epochs",
        "How many times each row is trained on.",
        "More epochs fit the data better, until the model overfits.",
        gt=0,
        le=1000,
    )
    max_steps: int | None = option(None, "Step limit", "Stop after this many optimizer steps.", ge=1)
    learning_rate: float | None = option(
        None,
        "Learning rate",
        "Peak learning rate; if unset, the usual value for method and tuning, such as 2e-4 for sft with LoRA.",
        "Too high forgets or diverges, too low learns nothing.",
        gt=0,
        le=1,
    )
    schedule: Schedule = option("cosine", "Schedule", "How the learning rate falls after warm-up.")
    warmup: float = option(
        0.05, "Warm-up", "Share of the steps over which the learning rate rises from zero.", ge=0, lt=1
    )
    weight_decay: float = option(0.0, "Weight decay", "Decoupled weight decay, as in AdamW.", ge=0, le=1)
    max_grad_norm: float = option(
        1.0, "Gradient clipping", "Largest gradient norm of a step; 0 turns clipping off.", ge=0, le=1000
    )
    batch_size: int = option(
        8,
        "Batch size",
        "Rows per optimizer step (the effective batch).",
        "Larger is steadier and takes fewer, longer steps; memory follows the micro-batch instead.",
        ge=1,
        le=65536,
    )
    micro_batch: int | None = option(
        None,
        "Micro-batch",
        "Rows computed at once; gradients are accumulated up to the batch size. "
        "If unset, chosen for this machine.",
        "Larger is faster on a GPU and needs more memory.",
        ge=1,
        le=65536,
    )
    max_length: int = option(
        1024,
        "Length limit",
        "Longest row in tokens; longer rows are truncated.",
        "Memory and time grow with the longest row; too short truncates answers.",
        ge=8,
        le=1_048_576,
    )
    checkpointing: Switch = option(
        "auto",
        "Gradient checkpointing",
        "Recompute activations in the backward pass instead of keeping them. auto: on for a GPU.",
        "On saves most activation memory and costs about a quarter more time.",
    )
    optimizer: Optimizer = option(
        "adamw",
        "Optimizer",
        "adamw; adamw_8bit and paged_adamw_8bit (bitsandbytes) keep their states in 8 bits.",
        "8-bit states need a quarter of the memory of adamw's.",
    )
    group_by_length: Literal["auto", True, False] = option(
        "auto",
        "Group by length",
        "Group rows by length. auto: where padding would be a fifth of the computation, and there "
        "are enough rows to keep their order random.",
        "Less padding; the order is less random.",
    )
    seed: int = option(42, "Seed", "Fixes the order of rows, adapter weights and dropout.", ge=0, lt=2**32)


class EvaluationSpec(Section):
    """Evaluation on held-out rows during training."""

    every_steps: int | None = option(
        None, "Evaluate every", "Optimizer steps between evaluations; if unset, at each epoch's end.", ge=1
    )
    early_stopping: int | None = option(
        None,
        "Early stopping",
        "Stop after this many evaluations without a better loss; the best adapter is kept.",
        "Saves time and limits overfitting; needs evaluation data.",
        ge=1,
    )


class CheckpointSpec(Section):
    """Which checkpoints are saved."""

    every_steps: int | None = option(
        None, "Save every", "Optimizer steps between checkpoints; if unset, at each epoch's end.", ge=1
    )
    keep: int = option(
        2,
        "Keep",
        "How many of the latest checkpoints are kept, besides the best; each new best evaluation saves one.",
        "Each costs disk.",
        ge=1,
        le=1000,
    )
    every_minutes: float | None = option(
        None,
        "Save every (minutes)",
        "Minutes of training between checkpoints, besides the steps.",
        gt=0,
        le=100_000,
    )


class SamplesSpec(Section):
    """Fixed prompts, answered during training and once by the base."""

    prompts: tuple[str, ...] = option((), "Prompts", "Prompts that are answered during training.")
    every_steps: int | None = option(
        None, "Sample every", "Optimizer steps between samples; if unset, about five times per run.", ge=1
    )
    max_new_tokens: int = option(48, "Answer length", "Longest sampled answer in tokens.", ge=1, le=4096)
    budget_percent: float = option(
        5.0,
        "Time budget",
        "Largest share of the run's time that samples may take; samples beyond it are skipped and reported.",
        ge=0,
        le=100,
    )


class MachineSpec(Section):
    """The device and threads of a run."""

    device: Device = option("auto", "Device", "cuda, cpu, or auto: the GPU if there is one that works.")
    threads: int | None = option(
        None,
        "CPU threads",
        "Threads the worker computes with; if unset, a share is left for the app.",
        ge=1,
        le=1024,
    )
    concurrent_micro_batches: int | None = option(
        None,
        "Micro-batches at a time",
        "How many micro-batches of a step a CPU computes at the same time, each with its share of the threads. If "
        "unset, one for each thread where they fit; 1 computes them one after another. Losses and gradients are the "
        "same.",
        "Faster on two cores and more; each takes its own activations in memory.",
        ge=1,
        le=1024,
    )


class RunSpec(Section):
    """All options of a run, as set by the user (run.toml)."""

    name: str | None = option(
        None,
        "Name",
        "A short name for the run's folder; if unset, made from model and data.",
        max_length=60,
    )
    model: ModelSpec
    data: DataSpec
    method: Method = SftMethod()
    tuning: Tuning = LoraTuning()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    checkpoints: CheckpointSpec = CheckpointSpec()
    samples: SamplesSpec = SamplesSpec()
    guards: GuardSpec = GuardSpec()
    machine: MachineSpec = MachineSpec()
