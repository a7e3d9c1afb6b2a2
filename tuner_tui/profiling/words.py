"""A profile in words: the lines that the command prints and the Monitor shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui.profiling.advice import all_advice, best_advice
from tuner_tui.text import counted, plain

if TYPE_CHECKING:
    from tuner_tui.profiling.advice import Advice
    from tuner_tui.profiling.profile import PartTime, Profile

NAMES = {
    "data": "data",
    "forward": "forward",
    "head": "loss head",
    "backward": "backward",
    "optimizer": "optimizer",
    "callbacks": "callbacks",
    "waiting": "idle, other",
}
NAME_CELLS = 13
BAR_CELLS = 20
SHOWN_OPERATORS = 3
OPERATORS_TITLE = "Longest operators, in ms per step"
BAR, BAR_REST = "█", "·"


def title_line(profile: Profile) -> str:
    """Which steps of which model, and where."""
    last = profile.first_step + profile.steps - 1
    steps = f"step {last}" if profile.steps == 1 else f"steps {profile.first_step} to {last}"
    return plain(f"{profile.model_name} on {profile.device_name}, {steps}")


def settings_line(profile: Profile) -> str:
    """The settings that decide the speed."""
    settings = profile.settings
    words = [
        f"{settings.method}, {settings.tuning}",
        f"micro-batch {settings.micro_batch} x {settings.accumulation}",
        f"checkpointing {'on' if settings.is_checkpointing else 'off'}",
    ]
    if not settings.is_gpu:
        words.append(f"{settings.threads} of {counted(settings.cores, 'core')}")
    return ", ".join(words)


def part_line(part: PartTime) -> str:
    """For example `backward         812.4 ms  54.0 %  ██████████··········`."""
    filled = round(BAR_CELLS * part.share)
    bar = BAR * filled + BAR_REST * (BAR_CELLS - filled)
    return f"{NAMES[part.name]:<{NAME_CELLS}}{part.ms:>9.1f} ms {part.share:>6.1%}  {bar}"


def operators_of(profile: Profile) -> list[tuple[str, str]]:
    """Each part that has operators, and those that took most of it with their milliseconds."""
    return [
        (
            NAMES[part.name],
            ", ".join(
                f"{plain(operator.name)} {operator.ms:.1f}" for operator in part.operators[:SHOWN_OPERATORS]
            ),
        )
        for part in profile.parts
        if part.operators
    ]


def speed_lines(profile: Profile) -> list[str]:
    """Tokens per second and per step, padding, loss, threads."""
    lines = [
        f"{profile.tokens_per_second:,.0f} tokens/s: {profile.tokens:,.0f} tokens a step in "
        f"{profile.plain_step_ms or profile.step_ms:,.0f} ms, {1000 / profile.tokens_per_second:.3g} ms a token"
        if profile.tokens_per_second
        else "no tokens were counted"
    ]
    more = [f"padding {profile.padding:.0%} of the computed tokens"]
    if profile.tokens_with_loss is not None and profile.tokens:
        more.append(f"loss on {profile.tokens_with_loss / profile.tokens:.0%} of the tokens")
    if profile.threads_used is not None:
        more.append(f"{profile.threads_used:.1f} of {counted(profile.settings.threads, 'thread')} busy")
    return [*lines, ", ".join(more)]


def head_line(profile: Profile) -> str:
    """How much of the backward pass was the loss head; empty where unknown."""
    if not profile.head_backward_ms:
        return ""
    return f"{profile.head_backward_ms:.1f} ms of backward are the loss head's"


def threads_line(profile: Profile) -> str:
    """The parts that several threads computed side by side; empty if none were."""
    beside = [
        f"{NAMES[part.name]} {part.thread_ms:.0f} ms"
        for part in profile.parts
        if part.name != "waiting" and part.thread_ms > 1.05 * part.ms and not profile.settings.is_gpu
    ]
    return f"rows side by side, summed over their threads: {', '.join(beside)}" if beside else ""


def overhead_line(profile: Profile) -> str:
    """What the profiler itself costs."""
    overhead = profile.overhead
    if overhead is None:
        return "Measured with the profiler on; no step without it was made to compare."
    if overhead < 0.005:
        return (
            "Measured with the profiler on; steps take no longer than without, as far as could be measured."
        )
    return f"Measured with the profiler on: steps take {overhead:.0%} longer than without."


def figures_lines(profile: Profile) -> list[str]:
    """Everything but the parts and the advice, a sentence or a list of figures each."""
    lines = [
        *speed_lines(profile), head_line(profile), threads_line(profile), outside_line(profile), overhead_line(profile),
    ]  # fmt: skip
    return [line for line in lines if line]


def outside_line(profile: Profile) -> str:
    """Time between steps; empty if there is none."""
    outside = profile.outside
    spent = [
        f"{name} {ms:.0f} ms"
        for name, ms in (
            ("evaluation", outside.evaluation_ms),
            ("checkpoints", outside.checkpoints_ms),
            ("samples", outside.samples_ms),
        )
        if ms and ms >= 0.5
    ]
    by = " (by arithmetic)" if outside.is_estimated else ""
    return f"between steps, per step: {', '.join(spent)}{by}" if spent else ""


def advice_lines(advice: Advice | None) -> list[str]:
    """The change, its reason and what it saves."""
    if advice is None:
        return ["No single change would save a twentieth of a step."]
    saves = f"{'at most ' if advice.is_bound else 'about '}{advice.saving:.0%}"
    result = " It changes what is trained." if advice.changes_result else ""
    return [advice.change, f"{advice.reason} It would save {saves} of the time.{result}"]


def as_dict(profile: Profile) -> dict[str, Any]:
    """The profile for JSON, with what it comes to."""
    figures: dict[str, Any] = msgspec.to_builtins(profile)
    overhead = profile.overhead
    advice = best_advice(profile)
    return figures | {
        "tokens_per_second": round(profile.tokens_per_second, 2),
        "padding": round(profile.padding, 4),
        "profiler_overhead": None if overhead is None else round(overhead, 4),
        "advice": None if advice is None else msgspec.to_builtins(advice),
        "other_advice": msgspec.to_builtins(all_advice(profile)[1:]),
    }
