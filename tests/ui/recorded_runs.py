"""Run folders as tests of screens need them: cut from a recorded run's events, so that what is folded is real."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuner_tui.hardware.telemetry import TelemetrySample
from tuner_tui.profiling.profile import MatrixSpeed, Operator, PartTime, Profile, Room, Settings
from tuner_tui.runs import lock
from tuner_tui.runs.events import (
    PROTOCOL,
    Event,
    RunFailed,
    RunStarted,
    RunStopped,
    Sampled,
    StepLogged,
    Warned,
    decode_lines,
    encode,
)
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.profiles import write_profile
from tuner_tui.runs.queue import enqueue
from tuner_tui.runs.summary import write_summary

RECORDED = Path(__file__).resolve().parent.parent / "data" / "run_recorded"
STEPS_SHOWN = 16
EVIL = "[bold red]x[/] [link=http://evil]\x1b[31mred\x1b]0;title\x07 [@click=app.quit]q[/]"
RIGHT_TO_LEFT = "שלום עולם \u202e‮ and 你好世界 👩‍👩‍👧 e\u0301"


def recorded_events() -> list[Event]:
    """The whole recorded run, moved so that it has just begun."""
    events = decode_lines((RECORDED / "events.jsonl").read_bytes())
    shift = time.time() - 230 - events[0].at
    return [_replaced(event, at=event.at + shift) for event in events]


def until_step(step: int) -> list[Event]:
    """The recorded run up to a step."""
    events = recorded_events()
    last = next(
        index for index, each in enumerate(events) if isinstance(each, StepLogged) and each.step == step
    )
    return events[: last + 1]


def make_run(
    home: Path, name: str, events: Iterable[Event], *, age: float = 0.0, with_spec: bool = True
) -> RunFolder:
    """A run's folder; `age` orders it among others."""
    folder = RunFolder(home / "data" / "runs" / name)
    for inner in (folder.control, folder.checkpoints):
        inner.mkdir(parents=True)
    folder.events.write_bytes(b"".join(map(encode, events)))
    folder.lock.touch()
    for file in ("plan.json", "telemetry.jsonl", "worker.log"):
        shutil.copy(RECORDED / file, folder.path / file)
    if with_spec:
        shutil.copy(RECORDED / "run.toml", folder.spec)
        os.utime(folder.spec, (time.time() - age,) * 2)
    return folder


FAILED = RunFailed(
    kind="out_of_memory",
    title="The GPU ran out of memory",
    message="It asked for 2.1 GB more than the 11.2 GB that were free.",
    hint="Take a smaller micro-batch, or 4-bit precision.",
    log_tail=("Traceback (most recent call last):", "torch.OutOfMemoryError: CUDA out of memory."),
    step=20,
)
NOT_FINITE = RunFailed(
    kind="not_finite", title="The loss is not finite", message="It became NaN at step 13.", step=13
)


def went_nan(events: list[Event], from_step: int) -> list[Event]:
    """The same steps, with losses that were no numbers from some step on."""
    return [
        _replaced(event, loss=None, grad_norm=None)
        if isinstance(event, StepLogged) and event.step >= from_step
        else event
        for event in events
    ]


def recorded_profile() -> Profile:
    """A profile of a step of two seconds, half of it in products of few tokens."""
    times = {
        "data": 12.0, "forward": 700.0, "head": 90.0, "backward": 1100.0, "optimizer": 40.0, "callbacks": 8.0,
        "waiting": 50.0,
    }  # fmt: skip
    shares = {"aten::mm": 0.5, "aten::mul": 0.1, EVIL: 0.05}
    parts = tuple(
        PartTime(
            name=name, ms=ms, share=ms / 2000, thread_ms=ms,
            operators=tuple(
                Operator(name=operator, part=name, ms=share * ms, calls=40.0) for operator, share in shares.items()
            ),
        )
        for name, ms in times.items()
    )  # fmt: skip
    settings = Settings(
        method="sft", tuning="lora", micro_batch=2, accumulation=4, is_checkpointing=False, is_gpu=False, threads=2,
        cores=2, all_cores=2, loss_on="answers", max_length=512,
    )  # fmt: skip
    return Profile(
        at=1.0, model_name="SmolLM2-135M-Instruct", device_name="x86_64", first_step=9, steps=5, step_ms=2000.0,
        plain_step_ms=1900.0, parts=parts, operators=(), tokens=810.0, padded_tokens=900.0, tokens_with_loss=300.0,
        rows=8.0, head_backward_ms=120.0, matrix_ms=900.0, cpu_ms=3600.0, others_cores=0.1, settings=settings,
        matrix_speeds=(MatrixSpeed(tokens=225, gflops=31.0), MatrixSpeed(tokens=450, gflops=62.0)),
        room=Room(micro_batches={4: True}),
    )  # fmt: skip


def every_status(home: Path) -> dict[str, RunFolder]:
    """A run of every status and of every kind of trouble; `running` needs its lock held to be so."""
    events = recorded_events()
    early = until_step(STEPS_SHOWN)
    stopped = RunStopped(step=STEPS_SHOWN, checkpoint=f"checkpoints/step-{STEPS_SHOWN:06}", seconds=90)
    future = [
        _replaced(event, protocol=PROTOCOL + 98) if isinstance(event, RunStarted) else event
        for event in events
    ]
    runs = {
        "running": make_run(home, "2026-11-21-octopus-3f2a", early),
        "queued": make_run(home, "2026-11-21-waiting-for-the-gpu-77aa", [], age=5),
        "finished": make_run(home, "2026-11-20-first-try-94b2", events, age=20),
        "failed": make_run(
            home, "2026-11-19-mistral-7b-instruct-customer-support-tickets-c01d", [*early, FAILED], age=40
        ),
        "stopped": make_run(home, "2026-11-18-haiku-5e5e", [*early, stopped], age=60),
        "interrupted": make_run(home, "2026-11-17-pulled-plug-aaaa", early, age=80),
        "nan": make_run(home, "2026-11-16-went-nan-bbbb", [*went_nan(early, 13), NOT_FINITE], age=100),
        "half": make_run(home, "2026-11-15-half-deleted-cccc", events, with_spec=False),
        "future": make_run(home, "2026-11-14-from-the-future-dddd", future, age=140),
        "evil": make_run(home, "2026-11-13-[red]evil[-eeee", evil_events(), age=160),
    }
    runs["evil"].log.write_bytes(b"plain line\n" + EVIL.encode() + b"\nlast line\n")
    with _data_home(home):
        enqueue(runs["queued"])
    for name in ("finished", "failed"):
        write_summary(runs[name])
    write_profile(runs["stopped"].path, recorded_profile())
    return runs


def evil_events() -> list[Event]:
    """Names, prompts, answers and warnings that try to be markup, escape sequences and links."""
    events: list[Event] = []
    for event in recorded_events():
        changes: dict[str, Any] = {}
        if isinstance(event, Sampled):
            changes = {"prompt": f"{EVIL} prompt", "answer": f"{EVIL} {RIGHT_TO_LEFT}\nsecond line"}
        elif type(event).__name__ == "ModelLoaded":
            changes = {"source": f"{EVIL} model"}
        events.append(_replaced(event, **changes))
    return [*events[:-1], Warned(message=f"{EVIL} warning"), events[-1]]


@contextmanager
def held(home: Path, *folders: RunFolder) -> Iterator[None]:
    """Be the worker of these runs, and the keeper, so that no real one is started."""
    locks = [lock.acquire(home / "data" / "keeper.lock"), *(lock.acquire(folder.lock) for folder in folders)]
    try:
        yield
    finally:
        for each in locks:
            assert each is not None
            each.release()


def gpu_telemetry(
    folder: RunFolder, change: Callable[[TelemetrySample], TelemetrySample] | None = None
) -> None:
    """Readings of a card where the recorded run had none."""
    import math

    import msgspec

    lines = []
    for second in range(200):
        wave = math.sin(second / 9)
        sample = TelemetrySample(
            at=time.time() - 200 + second,
            gpu_percent=88 + 8 * wave,
            gpu_memory_used_bytes=int(8.9e9 + 2e8 * wave),
            gpu_memory_run_bytes=int(7.6e9),
            gpu_memory_others_bytes=int(1.3e9),
            gpu_memory_total_bytes=int(12.3e9),
            temperature_celsius=66 + 4 * wave,
            power_watts=170 + 25 * wave,
            cpu_percent=31 + 9 * wave,
            run_cpu_percent=14,
            ram_available_bytes=int(19e9),
            ram_total_bytes=int(32e9),
            run_ram_bytes=int(2.4e9),
            energy_wh=second / 20,
            energy_source="gpu counter",
        )
        lines.append(msgspec.json.encode(change(sample) if change else sample))
    folder.telemetry.write_bytes(b"\n".join(lines) + b"\n")


@contextmanager
def _data_home(home: Path) -> Iterator[None]:
    before = os.environ.get("TUNER_TUI_HOME")
    os.environ["TUNER_TUI_HOME"] = str(home)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TUNER_TUI_HOME"]
        else:
            os.environ["TUNER_TUI_HOME"] = before


def _replaced(event: Event, **changes: Any) -> Event:
    import msgspec

    return msgspec.structs.replace(event, **changes)
