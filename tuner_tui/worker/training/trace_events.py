"""What torch.profiler recorded, as light records; its own event objects take kilobytes each, and a minute to make."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.autograd.profiler_util import DeviceType, _filter_name  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(slots=True)
class Recorded:
    """An operator, a named range, or what ran on the GPU; times are in microseconds of one clock."""

    name: str
    thread: int
    start: float
    end: float
    number: int = 0
    """By which a kernel names the operator that launched it."""
    launcher: int = 0
    """The number of the operator that launched it; 0 for operators and ranges."""
    is_on_cpu: bool = True
    is_range: bool = False
    """Whether it is a named range (record_function), and no operator."""
    own: float = 0.0
    """Its time without what it called."""
    is_outermost: bool = True
    """Whether no operator called it; ranges around it do not count."""


def recorded(trace: Any) -> list[Recorded]:
    """The records of a profile that has ended, `trace`: a torch.profiler.profile. CUDA's own calls are left out."""
    results = trace.profiler.kineto_results
    begin = results.trace_start_ns()
    records = []
    for event in results.events():
        name, launcher = event.name(), event.linked_correlation_id()
        is_on_cpu = event.device_type() == DeviceType.CPU
        is_elsewhere = is_on_cpu and (launcher or event.is_async())
        if is_elsewhere or event.start_thread_id() != event.end_thread_id() or _filter_name(name):  # type: ignore[no-untyped-call]
            continue
        start, end = event.start_ns() - begin, event.end_ns() - begin
        records.append(
            Recorded(
                name, event.start_thread_id(), start / 1000, end / 1000, event.correlation_id(), launcher,
                is_on_cpu, event.is_user_annotation(),
            )
        )  # fmt: skip
    nest(records)
    return records


def nest(records: Iterable[Recorded]) -> None:
    """Find each record's own time, and whether it is outermost, from how they are nested in their threads."""
    threads: defaultdict[int, list[Recorded]] = defaultdict(list)
    for record in records:
        record.own = record.end - record.start
        if record.is_on_cpu:
            threads[record.thread].append(record)
    for own in threads.values():
        stack: list[Recorded] = []
        for record in sorted(own, key=lambda record: (record.start, -record.end)):
            while stack and stack[-1].end <= record.start:
                stack.pop()
            if stack:
                stack[-1].own -= record.end - record.start
                record.is_outermost = stack[-1].is_range and stack[-1].is_outermost
            stack.append(record)
