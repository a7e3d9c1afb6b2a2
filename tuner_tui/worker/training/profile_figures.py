"""From a trace of torch.profiler to the figures of a profile."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch.utils.benchmark import Timer

from tuner_tui.config.methods import own_options
from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.hardware.system import usable_cpu_count
from tuner_tui.profiling.profile import (
    PARTS,
    MatrixSpeed,
    Operator,
    Outside,
    PartTime,
    Profile,
    Settings,
)
from tuner_tui.profiling.timeline import BACKWARD, WAITING, Interval, Kernel, Span, Threads, divide
from tuner_tui.worker.device.memory import MemoryMeter, device_name
from tuner_tui.worker.model.loading import is_out_of_memory
from tuner_tui.worker.training.step_time import HEAD_DONE, PREFIX
from tuner_tui.worker.training.trace_events import Recorded, recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner_tui.worker.training.profiled_steps import StepProfiler

STEP = "ProfilerStep"
"""How torch.profiler names its range around a step."""
OPTIMIZER = ("Optimizer.step#", "Optimizer.zero_grad#")
"""How PyTorch names its own ranges around an optimizer's methods."""
ENGINE = "autograd::engine::evaluate_function"
"""How PyTorch names the steps of a backward pass."""
HEAD_BACKWARD = "head backward"
MATRIX = (
    "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mv", "aten::_int_mm", "aten::_scaled_mm",
    "aten::_grouped_mm", "mkldnn::", "bitsandbytes::",
)  # fmt: skip
"""Operators that multiply matrices, or names that they begin with."""
MOST_OPERATORS, MOST_OF_PART = 12, 5
LARGER_BATCHES = 3
"""How many larger micro-batches are looked at."""
BENCHMARK_SECONDS = 0.15


def figures(profiler: StepProfiler, trace: Any) -> Profile:
    """The profile of the steps that a trace recorded."""
    trainer, job = profiler.trainer, profiler.job
    events = recorded(trace)
    steps = [event for event in events if event.is_on_cpu and event.name.startswith(STEP)]
    if not steps:
        raise RuntimeError("the trace has no complete step")
    main, count = steps[0].thread, len(steps)
    threads = Threads(_spans(events, main), main)
    kernels = _kernels(events, threads) if profiler.machine.is_gpu else None
    intervals = [Interval(event.start, event.end) for event in steps]
    division = divide(intervals, threads, _busy(events, main) if len(threads.flat) > 1 else (), kernels)
    head_backward = division.wall[HEAD_BACKWARD]
    division.wall[BACKWARD] += division.wall.pop(HEAD_BACKWARD, 0.0)
    division.threads[BACKWARD] += division.threads.pop(HEAD_BACKWARD, 0.0)
    operators = _operators(events, threads, intervals, count, on_gpu=kernels is not None)
    ms = 1000.0 * count  # of microseconds of all steps
    whole = sum(division.wall.values())
    parts = tuple(
        PartTime(
            name=name,
            ms=division.wall[name] / ms,
            share=division.wall[name] / whole,
            thread_ms=division.threads[name] / ms,
            operators=tuple(operator for operator in operators if operator.part == name)[:MOST_OF_PART],
        )
        for name in PARTS
    )
    measured = profiler.measured[:count]
    batches = [batch for step in measured for batch in step.batches]
    padded = sum(batch.padded for batch in batches) / count
    with_loss = [int(batch.with_loss) for batch in batches if batch.with_loss is not None]
    plain = profiler.plain_seconds(padded)
    settings = _settings(profiler)
    larger = _larger(job.spec.training.batch_size, settings.micro_batch)
    return Profile(
        at=time.time(), model_name=job.plan.model_name, device_name=device_name(is_gpu=profiler.machine.is_gpu),
        first_step=profiler.first_step, steps=count, step_ms=whole / ms,
        plain_step_ms=None if plain is None else 1000 * plain,
        parts=parts, operators=operators[:MOST_OPERATORS],
        tokens=sum(int(batch.tokens) for batch in batches) / count, padded_tokens=padded,
        tokens_with_loss=sum(with_loss) / count if with_loss else None,
        rows=sum(batch.sequences for batch in batches) / count / method_traits(job.spec.method.kind).sequences_per_row,
        head_backward_ms=head_backward / ms, matrix_ms=_matrix_ms(operators, parts, on_gpu=kernels is not None),
        matrix_speeds=_matrix_speeds(trainer, padded * count / max(1, len(batches)), settings.micro_batch, larger),
        cpu_ms=None if profiler.machine.is_gpu else 1000 * sum(step.cpu_seconds for step in measured) / count,
        others_cores=(
            sum(step.others_seconds for step in measured) / max(1e-9, sum(step.seconds for step in measured))
        ),
        settings=settings, room=_room(profiler, larger), outside=_outside(profiler),
    )  # fmt: skip


def _spans(events: Iterable[Recorded], main: int) -> list[Span]:
    """Our ranges and PyTorch's around the optimizer; of a backward pass that nobody marked, its parts."""
    spans: list[Span] = []
    markers: list[tuple[int, float]] = []
    unmarked: list[Span] = []
    for event in events:
        if not event.is_on_cpu:
            continue
        start, end = event.start, event.end
        if event.name.startswith(PREFIX):
            part = event.name.removeprefix(PREFIX)
            if part == HEAD_DONE:
                markers.append((event.thread, start))
            else:
                spans.append(Span(event.thread, part, start, end))
        elif event.name.startswith(OPTIMIZER):
            spans.append(Span(event.thread, "optimizer", start, end))
        elif event.name.startswith(ENGINE) and event.is_outermost:
            unmarked.append(Span(event.thread, BACKWARD, start, end))
    marked = {span.thread for span in spans if span.part == BACKWARD}
    spans += [span for span in unmarked if span.thread != main and span.thread not in marked]
    return spans + [span for span in (_head_backward(spans, main, *mark) for mark in markers) if span]


def _head_backward(spans: Sequence[Span], main: int, thread: int, moment: float) -> Span | None:
    """The beginning of the backward pass up to the marker, in the marker's thread or else in the main thread."""
    around = [span for span in spans if span.part == BACKWARD and span.start <= moment <= span.end]
    for owner in (thread, main):
        for span in around:
            if span.thread == owner:
                return Span(owner, HEAD_BACKWARD, span.start, moment)
    return None


def _busy(events: Iterable[Recorded], main: int) -> list[Interval]:
    """The moments in which the main thread is within an operator."""
    return [
        Interval(event.start, event.end)
        for event in events
        if event.is_on_cpu and event.thread == main and event.is_outermost and not event.is_range
    ]


def _kernels(events: Iterable[Recorded], threads: Threads) -> list[Kernel]:
    """What ran on the GPU, by the part that was under way when it was launched."""
    launches = {event.number: event for event in events if event.is_on_cpu}
    kernels = []
    for event in events:
        if event.is_on_cpu or event.is_range or event.name.startswith((PREFIX, STEP)):
            continue
        launch = launches.get(event.launcher)
        thread, moment = (launch.thread, launch.start) if launch else (threads.main, event.start)
        part = threads.part_at(thread, moment) or WAITING
        kernels.append(Kernel(part, event.start, event.end))
    return kernels


def _operators(
    events: Iterable[Recorded], threads: Threads, steps: Sequence[Interval], count: int, *, on_gpu: bool
) -> tuple[Operator, ...]:
    """Each operator of each part, without those that it calls, the longest first; our ranges are none."""
    times: defaultdict[tuple[str, str], float] = defaultdict(float)
    calls: Counter[tuple[str, str]] = Counter()
    device_times: defaultdict[int, float] = defaultdict(float)
    for event in events:
        if not event.is_on_cpu and not event.is_range:
            device_times[event.launcher] += event.end - event.start
    for event in events:
        if not event.is_on_cpu or event.is_range or event.name.startswith(PREFIX):
            continue
        microseconds = device_times[event.number] if on_gpu else event.own
        start = event.start
        if microseconds <= 0 or not any(step.start <= start < step.end for step in steps):
            continue
        part = threads.part_at(event.thread, start) or WAITING
        key = (event.name, BACKWARD if part == HEAD_BACKWARD else part)
        times[key] += microseconds
        calls[key] += 1
    return tuple(
        Operator(name=name, part=part, ms=microseconds / 1000 / count, calls=calls[name, part] / count)
        for (name, part), microseconds in sorted(times.items(), key=lambda item: -item[1])
    )


def _matrix_ms(operators: Iterable[Operator], parts: Iterable[PartTime], *, on_gpu: bool) -> float:
    """Matrix products of forward and backward pass, in milliseconds of wall time."""
    scales = {
        part.name: 1.0 if on_gpu or not part.thread_ms else part.ms / part.thread_ms
        for part in parts
        if part.name in ("forward", "backward")
    }
    return sum(
        operator.ms * scales[operator.part]
        for operator in operators
        if operator.part in scales and operator.name.startswith(MATRIX)
    )


def _settings(profiler: StepProfiler) -> Settings:
    from tuner_tui.config.settings import usable_settings

    job, args = profiler.job, profiler.trainer.args
    spec = job.planned
    method = spec.method
    return Settings(
        method=method.kind, tuning=spec.tuning.kind, micro_batch=args.per_device_train_batch_size,
        accumulation=args.gradient_accumulation_steps, concurrent=profiler.trainer.concurrent,
        is_checkpointing=bool(job.shape and job.shape.is_checkpointing), is_gpu=profiler.machine.is_gpu,
        threads=torch.get_num_threads(), cores=usable_cpu_count(), all_cores=psutil.cpu_count() or 1,
        loss_on=own_options.loss_on(method),
        is_grouped=spec.training.group_by_length is True, is_packed=own_options.is_packed(method),
        can_pack=own_options.can_pack(method) and not tuning_traits(spec.tuning.kind).has_virtual_tokens,
        max_length=spec.training.max_length, evaluation_every=spec.evaluation.every_steps,
        checkpoints_every=spec.checkpoints.every_steps, samples_every=spec.samples.every_steps,
        has_trackers=profiler.order is None and bool(usable_settings()[0].words("trackers.report_to")),
    )  # fmt: skip


def _larger(batch_size: int, micro_batch: int) -> list[int]:
    """The next larger micro-batches that divide the batch."""
    return [rows for rows in range(micro_batch + 1, batch_size + 1) if batch_size % rows == 0][
        :LARGER_BATCHES
    ]


def _room(profiler: StepProfiler, larger: Sequence[int]) -> Any:
    from tuner_tui.profiling.profile import Room

    for callback in profiler.trainer.callback_handler.callbacks:
        if isinstance(callback, MemoryMeter):
            fits = {rows: callback.would_fit(micro_batch=rows) for rows in larger}
            without = callback.would_fit(is_checkpointing=False)
            return Room(
                micro_batches={rows: fit for rows, fit in fits.items() if fit is not None},
                is_checkpointing_needed=None if without is None else not without,
            )
    return Room()


def _outside(profiler: StepProfiler) -> Outside:
    """What the run spent between steps so far; a run that was made for its profile has nothing of it."""
    job = profiler.job
    steps = job.step - profiler.began_at
    if profiler.order is not None or steps <= 0:
        return Outside()
    times = job.times
    return Outside(
        evaluation_ms=1000 * times.evaluations / steps,
        checkpoints_ms=1000 * times.checkpoints / steps,
        samples_ms=1000 * times.samples / steps,
    )


def _matrix_speeds(
    trainer: Any, tokens: float, micro_batch: int, larger: Sequence[int]
) -> tuple[MatrixSpeed, ...]:
    """The speed of x W, (tokens, hidden) times (hidden, intermediate), for this micro-batch and larger ones."""
    config = trainer.model.config.get_text_config()
    hidden = int(getattr(config, "hidden_size", 0) or 0)
    wide = getattr(config, "intermediate_size", None)
    wide = wide if isinstance(wide, int) and wide > 0 else 4 * hidden
    if not hidden or not tokens:
        return ()
    dtype = _compute_dtype(trainer)
    speeds = []
    threads = torch.get_num_threads()
    if trainer.concurrent > 1:
        torch.set_num_threads(trainer.threads_each)
    try:
        weight = torch.full((wide, hidden), 1e-3, device=trainer.args.device, dtype=dtype)
        for rows in (micro_batch, *larger):
            count = max(1, round(tokens * rows / micro_batch))
            given = torch.full((count, hidden), 1e-3, device=trainer.args.device, dtype=dtype)
            timer = Timer(
                "linear(given, weight)",
                globals={"linear": torch.nn.functional.linear, "given": given, "weight": weight},
                num_threads=torch.get_num_threads(),
            )
            with torch.no_grad():
                seconds = timer.blocked_autorange(min_run_time=BENCHMARK_SECONDS).median
            speeds.append(MatrixSpeed(tokens=count, gflops=2 * count * hidden * wide / seconds / 1e9))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    finally:
        torch.set_num_threads(threads)
    return tuple(speeds)


def _compute_dtype(trainer: Any) -> torch.dtype:
    if trainer.args.bf16:
        return torch.bfloat16
    if trainer.args.fp16:
        return torch.float16
    kinds = (parameter.dtype for parameter in trainer.model.parameters())
    return next((kind for kind in kinds if kind.is_floating_point), torch.float32)
