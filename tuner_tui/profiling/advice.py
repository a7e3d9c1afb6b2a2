"""The one change that would shorten a step most, computed from a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.profiling.profile import COMPUTED
from tuner_tui.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.profiling.profile import Profile

LEAST_SHARE = 0.05
"""A change that would save less than this share of a step is not worth proposing."""
UNKNOWN_ANSWERS = 0.5
"""The share of tokens that are answers, where a profile with loss on all tokens cannot tell."""
LEFT_PADDING = 0.2
"""The share of the padding that grouping or packing leaves."""
RARER = 4
"""By how much rarer evaluation, checkpoints and samples are proposed to be."""


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the run's settings, and what it would save."""

    key: str
    """The option to change; empty where no option does it."""
    change: str
    reason: str
    saving: float
    """Share of the time per step that it would save, from 0 to 1, everything between steps included."""
    is_bound: bool = False
    """Whether that is the most that it can save."""
    changes_result: bool = False
    """Whether another result is trained; otherwise only the speed changes, and rounding."""


def best_advice(profile: Profile) -> Advice | None:
    """The change that saves most; None if none saves a twentieth of a step."""
    return next(iter(all_advice(profile)), None)


def all_advice(profile: Profile) -> tuple[Advice, ...]:
    """Every change that saves at least a twentieth of a step, the largest saving first."""
    whole = _whole_ms(profile)
    if whole <= 0:
        return ()
    changes = [
        msgspec.structs.replace(advice, saving=advice.saving / whole) for advice in _candidates(profile)
    ]
    worthwhile = [advice for advice in changes if advice.saving >= LEAST_SHARE]
    return tuple(sorted(worthwhile, key=lambda advice: -advice.saving))


def _candidates(profile: Profile) -> Iterator[Advice]:
    """Changes with their saving in milliseconds."""
    yield from _larger_micro_batch(profile)
    yield from _no_checkpointing(profile)
    yield from _concurrent(profile)
    yield from _more_threads(profile)
    yield from _other_programs(profile)
    yield from _less_padding(profile)
    yield from _answers_alone(profile)
    yield from _rarer(profile)
    yield from _data(profile)
    yield from _trackers(profile)
    yield from _fewer_updates(profile)


def _larger_micro_batch(profile: Profile) -> Iterator[Advice]:
    """The smallest micro-batch that fits and reaches nearly the best of the measured speeds."""
    settings, speeds = profile.settings, profile.matrix_speeds
    options = []
    for rows, fits in profile.room.micro_batches.items():
        factor = rows / settings.micro_batch
        speed = next(
            (speed for speed in speeds[1:] if _is_near(speed.tokens, factor * speeds[0].tokens)), None
        )
        is_alone = rows * settings.concurrent > settings.micro_batch * settings.accumulation
        if not fits or factor <= 1 or speed is None or (settings.concurrent > 1 and is_alone):
            continue
        saved = profile.matrix_ms * max(0.0, 1 - speeds[0].gflops / speed.gflops)
        if settings.is_gpu:  # as many commands to the GPU compute more rows
            saved += profile.ms("waiting") * (1 - 1 / factor)
        options.append((saved, rows, speed))
    if not options:
        return
    most = max(saved for saved, _, _ in options)
    saved, rows, speed = min(
        (option for option in options if option[0] >= 0.9 * most), key=lambda option: option[1]
    )
    reason = (
        f"Matrix products of {counted(speeds[0].tokens, 'token')} run at {speeds[0].gflops:.0f} GFLOP/s here, those "
        f"of {speed.tokens} at {speed.gflops:.0f}; they are {profile.matrix_ms / profile.step_ms:.0%} of a step."
    )
    waiting = profile.ms("waiting") / profile.step_ms
    if settings.is_gpu and waiting >= LEAST_SHARE:
        reason += f" The GPU waits for commands {waiting:.0%} of the time."
    change = f"Set training.micro_batch = {rows} (now {settings.micro_batch}); it fits by the estimate."
    yield Advice(key="training.micro_batch", change=change, reason=reason, saving=saved)


def _is_near(one: float, other: float) -> bool:
    return abs(one - other) <= 0.02 * other


def _no_checkpointing(profile: Profile) -> Iterator[Advice]:
    if not profile.settings.is_checkpointing or profile.room.is_checkpointing_needed is not False:
        return
    forward = profile.ms("forward")
    yield Advice(
        key="training.checkpointing",
        change='Set training.checkpointing = "off"; by the estimate memory allows it.',
        reason=(
            "Gradient checkpointing computes the forward pass a second time in the backward pass; one takes "
            f"{forward:.0f} ms, {forward / profile.step_ms:.0%} of a step."
        ),
        saving=forward,
    )


def _concurrent(profile: Profile) -> Iterator[Advice]:
    """Micro-batches one after another, though there are several and a thread for each."""
    settings = profile.settings
    at_once, used = min(settings.threads, settings.accumulation), profile.threads_used
    if used is None or settings.is_gpu or settings.concurrent > 1 or at_once < 2:
        return
    if not tuning_traits(settings.tuning).is_adapter:
        return
    yield Advice(
        key="machine.concurrent_micro_batches",
        change=f"Set machine.concurrent_micro_batches = {at_once}, or leave it unset; the plan says whether it fits.",
        reason=(
            f"Micro-batches are computed one after another, and {used:.1f} of "
            f"{counted(settings.threads, 'thread')} computed at a time."
        ),
        saving=profile.ms(*COMPUTED) * max(0.0, 1 - used / at_once),
        is_bound=True,
    )


def _more_threads(profile: Profile) -> Iterator[Advice]:
    settings = profile.settings
    usable = settings.cores - 1 if settings.cores > 2 else settings.cores  # one is left for the app
    if settings.is_gpu or settings.threads >= usable:
        return
    used = profile.threads_used
    busy = 1.0 if used is None else min(1.0, used / settings.threads)
    computed = profile.ms(*COMPUTED, "optimizer")
    yield Advice(
        key="machine.threads",
        change=f"Set machine.threads = {usable} (now {settings.threads}), or leave it unset.",
        reason=f"The worker computes with {settings.threads} of {counted(settings.cores, 'core')}.",
        saving=computed * busy * (1 - settings.threads / usable),
        is_bound=True,
    )


def _other_programs(profile: Profile) -> Iterator[Advice]:
    """Threads that were ready and did not compute, as far as other programs had the cores."""
    settings, used, others = profile.settings, profile.threads_used, profile.others_cores
    if settings.is_gpu or used is None or not others or not settings.all_cores:
        return
    lost = profile.step_ms * max(0.0, 1 - used / settings.threads)
    yield Advice(
        key="",
        change="Close other programs that compute, or train when they are done.",
        reason=(
            f"Other programs keep {others:.1f} of {counted(settings.all_cores, 'core')} busy; of the worker's "
            f"{counted(settings.threads, 'thread')} {used:.1f} computed at a time."
        ),
        saving=min(lost, profile.step_ms * min(1.0, others / settings.all_cores)),
        is_bound=True,
    )


def _less_padding(profile: Profile) -> Iterator[Advice]:
    settings, padding = profile.settings, profile.padding
    computed = profile.ms(*COMPUTED) * padding
    if padding <= 0:
        return
    reason = f"Padding is {padding:.0%} of the tokens that are computed."
    if settings.can_pack and not settings.is_packed and settings.is_grouped:
        key, change = "method.packing", "Set method.packing = true: short rows share a sequence."
    elif not settings.is_grouped and not settings.is_packed:
        key, change = "training.group_by_length", "Set training.group_by_length = true."
    else:
        key = "training.max_length"
        change = f"Lower training.max_length (now {settings.max_length}): few long rows make the others long."
    yield Advice(
        key=key, change=change, reason=reason, saving=computed * (1 - LEFT_PADDING), is_bound=True,
        changes_result=key != "training.group_by_length",
    )  # fmt: skip


def _answers_alone(profile: Profile) -> Iterator[Advice]:
    if profile.settings.loss_on != "all":
        return
    head = profile.ms("head") + profile.head_backward_ms
    yield Advice(
        key="method.loss_on",
        change='Set method.loss_on = "answers": prompts are then read without a loss.',
        reason=(
            f"The loss head takes {head / profile.step_ms:.0%} of a step, {profile.head_backward_ms:.0f} ms of it in "
            "the backward pass; on answers alone it computes those tokens only."
        ),
        saving=head * (1 - UNKNOWN_ANSWERS),
        is_bound=True,
        changes_result=True,
    )


def _rarer(profile: Profile) -> Iterator[Advice]:
    settings, outside = profile.settings, profile.outside
    for key, every, ms, doing in (
        ("evaluation.every_steps", settings.evaluation_every, outside.evaluation_ms, "Evaluation"),
        ("checkpoints.every_steps", settings.checkpoints_every, outside.checkpoints_ms, "Saving checkpoints"),
        ("samples.every_steps", settings.samples_every, outside.samples_ms, "Answering sample prompts"),
    ):
        if not ms:
            continue
        share = ms / _whole_ms(profile)
        now = f"now {every}" if every else "now unset"
        set_to = f"{key} = {RARER * every}" if every else key
        by = ", by arithmetic" if outside.is_estimated and key.startswith("evaluation") else ""
        yield Advice(
            key=key,
            change=f"Set {set_to} ({now})." if every else f"Set {set_to} to a larger interval ({now}).",
            reason=f"{doing} takes {share:.0%} of the run's time ({ms:.0f} ms per step{by}).",
            saving=ms * (1 - 1 / RARER),
        )


def _data(profile: Profile) -> Iterator[Advice]:
    data = profile.ms("data")
    yield Advice(
        key="",
        change="Keep the data folder on a local disk, and close programs that use the processor.",
        reason=f"Reading and padding rows takes {data:.0f} ms, {data / profile.step_ms:.0%} of a step.",
        saving=data / 2,
        is_bound=True,
    )


def _trackers(profile: Profile) -> Iterator[Advice]:
    if not profile.settings.has_trackers:
        return
    callbacks = profile.ms("callbacks")
    yield Advice(
        key="trackers.report_to",
        change="Turn the setting trackers.report_to off: tuner-tui config unset trackers.report_to",
        reason=f"Reporting a step takes {callbacks:.0f} ms, {callbacks / profile.step_ms:.0%} of it.",
        saving=callbacks,
        is_bound=True,
    )


def _fewer_updates(profile: Profile) -> Iterator[Advice]:
    optimizer = profile.ms("optimizer")
    yield Advice(
        key="training.batch_size",
        change="Double training.batch_size: half as many updates for the same rows.",
        reason=(
            f"The optimizer takes {optimizer:.0f} ms, {optimizer / profile.step_ms:.0%} of a step, however few rows "
            "the step has."
        ),
        saving=optimizer / 2,
        changes_result=True,
    )


def _whole_ms(profile: Profile) -> float:
    """The run's time per step: a step, and what comes between beyond the measured steps' own callbacks."""
    outside = profile.outside
    between = sum(ms or 0.0 for ms in (outside.evaluation_ms, outside.checkpoints_ms, outside.samples_ms))
    return profile.step_ms + max(0.0, between - profile.ms("callbacks"))
