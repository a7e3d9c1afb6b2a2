"""The plan: the spec's open settings as resolved on this machine, each with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tuner_tui import guarded
from tuner_tui.config.learning_rate import usual_learning_rate
from tuner_tui.hardware.system import usable_cpu_count
from tuner_tui.planning.oom_fallback import FallbackStep
from tuner_tui.planning.threads import choose_threads

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.source import ModelSource
    from tuner_tui.planning.planner import MemoryPlan


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One setting that was resolved, and why."""

    name: str
    value: str
    reason: str


class StartAdapter(msgspec.Struct, frozen=True, kw_only=True):
    """The adapter that a run starts from; the run's folder has a copy of it."""

    name: str
    """The run's name, or the folder as given."""
    is_run: bool
    path: str
    base: str
    rank: int
    alpha: float


class PlannedMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Open settings resolved by the memory plan, and the expected memory."""

    precision: str
    """A value of model.precision; empty for weights that are used as they are stored."""
    micro_batch: int
    is_checkpointing: bool
    allocated_bytes: int
    low_bytes: int
    high_bytes: int
    is_grouped: bool = False
    """Whether rows are grouped by length."""
    is_sorted: bool = False
    """Whether each step's rows are sorted by length into micro-batches."""
    concurrent: int = 1
    """How many micro-batches a CPU computes at the same time."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to do. What needs torch to decide (device, dtype), the worker decides and reports."""

    model_kind: str
    model_location: str
    """A folder, a GGUF file or a Hub repository's name."""
    model_name: str
    revision: str | None
    learning_rate: float
    threads: int
    choices: tuple[Choice, ...]
    start: StartAdapter | None = None
    fallbacks: tuple[FallbackStep, ...] = msgspec.field(default=(), name="rungs")
    """The OOM fallback steps taken so far."""
    memory: PlannedMemory | None = None
    """None if the model's sizes are unknown."""
    skipped_steps: tuple[int, ...] = ()
    """Steps to skip, since their loss was bad."""
    base_digest: str = ""
    """Of the base's weights (`models.weights_digest`), which tells it from others; empty if it was not here."""


def make_plan(
    spec: RunSpec, source: ModelSource, start: StartAdapter | None = None, memory: MemoryPlan | None = None
) -> Plan:
    """Resolve a spec without torch; `memory` is the result of `planning.this_machine.plan_here`."""
    choices = []
    rate = spec.training.learning_rate
    if rate is None:
        rate = usual_learning_rate(spec.method.kind, spec.tuning.kind)
        choices.append(
            Choice(
                name="learning rate",
                value=f"{rate:g}",
                reason=f"the usual value for {spec.method.kind} with {spec.tuning.kind} tuning",
            )
        )
    if start is not None:
        choices.append(
            Choice(
                name="adapter",
                value=f"rank {start.rank}, alpha {start.alpha:g}" if start.rank else "no rank",
                reason=f"same as the run it starts from: {start.name}",
            )
        )
    threads = spec.machine.threads
    if threads is None:
        threads, reason = choose_threads(usable_cpu_count())
        choices.append(Choice(name="CPU threads", value=str(threads), reason=reason))
    if memory is not None:
        choices += [
            Choice(name=choice.name, value=choice.value, reason=choice.reason) for choice in memory.choices
        ]
    return Plan(
        model_kind=source.kind,
        model_location=str(source.path or source.repo_id),
        model_name=source.name,
        revision=source.revision,
        learning_rate=rate,
        threads=threads,
        choices=tuple(choices),
        start=start,
        memory=None if memory is None else planned_memory(memory),
    )


def planned_memory(memory: MemoryPlan) -> PlannedMemory:
    """A memory plan as stored in a run's plan."""
    return PlannedMemory(
        precision="" if memory.loaded_as == "stored" else memory.loaded_as,
        micro_batch=memory.micro_batch,
        is_checkpointing=memory.is_checkpointing,
        allocated_bytes=memory.estimate.allocated,
        low_bytes=memory.estimate.low,
        high_bytes=memory.estimate.high,
        is_grouped=memory.is_grouped,
        is_sorted=memory.is_sorted,
        concurrent=memory.load.concurrent,
    )


def planned(spec: RunSpec, plan: Plan) -> RunSpec:
    """The spec with its open settings filled in by the memory plan; the worker chooses the 16-bit dtype."""
    memory = plan.memory
    if memory is None:
        return spec
    model, training = spec.model, spec.training
    if model.precision == "auto" and memory.precision in ("int8", "nf4"):
        model = model.model_copy(update={"precision": memory.precision})
    if training.micro_batch is None:
        training = training.model_copy(update={"micro_batch": memory.micro_batch})
    if training.checkpointing == "auto":
        switch = "on" if memory.is_checkpointing else "off"
        training = training.model_copy(update={"checkpointing": switch})
    if training.group_by_length == "auto":
        training = training.model_copy(update={"group_by_length": memory.is_grouped})
    return spec.model_copy(update={"model": model, "training": training})


def encode_plan(plan: Plan) -> bytes:
    """The plan as plan.json stores it."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n"


def read_plan(path: Path) -> Plan:
    """The plan in a run's folder. Raises Unreadable."""
    return guarded.read_json(path, Plan)


def decode_plan(data: bytes) -> Plan:
    """The plan of a run. Raises ValueError when it is not one."""
    return msgspec.json.decode(data, type=Plan)
