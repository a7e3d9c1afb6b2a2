"""The monitor, fed by real run folders: live, ended well and badly, and with hostile or missing content."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from textual.widgets import Static

from tests.ui.looking import footer_keys, screen_lines, screen_text, until, wait_for
from tests.ui.recorded_runs import (
    STEPS_SHOWN,
    evil_events,
    gpu_telemetry,
    held,
    make_run,
    recorded_events,
    until_step,
)
from tuner_tui.keeper.start import hold_queue
from tuner_tui.planning.oom_fallback import FallbackStep
from tuner_tui.runs.control import is_to_end_now, take_requests
from tuner_tui.runs.events import (
    CheckpointSaved,
    ChoicesMade,
    ChosenMachine,
    Evaluated,
    FallbackTaken,
    RequestAccepted,
    RunFailed,
    RunStarted,
    RunStopped,
    StepLogged,
    Warned,
)
from tuner_tui.runs.journal import append_event
from tuner_tui.runs.queue import enqueue
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.chart_points import measures_of
from tuner_tui.ui.screens.home import Home
from tuner_tui.ui.screens.monitor import Monitor
from tuner_tui.ui.widgets.log_pane import LogPane
from tuner_tui.ui.widgets.run_chart import Plot, RunChart
from tuner_tui.ui.widgets.timeline_pane import TimelinePane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from textual.pilot import Pilot

    from tuner_tui.runs.folder import RunFolder

from contextlib import asynccontextmanager


@asynccontextmanager
async def monitor(
    folder: RunFolder, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[TunerApp, Pilot[Any]]]:
    app = TunerApp()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Home))
        app.open_monitor(folder)
        await until(pilot, lambda: isinstance(app.screen, Monitor) and app.screen.view is not None)
        yield app, pilot


def chart(app: TunerApp) -> str:
    """The drawing alone."""
    region = app.screen.query_one(Plot).region
    return "\n".join(screen_lines(app)[region.y : region.bottom])


async def test_no_frame_stands_around_a_chart_before_its_run_is_read(
    runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner_tui.ui.run_watch.RunWatch.run", lambda _: None)
    app = TunerApp()
    async with app.run_test(size=(140, 45)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Home))
        app.open_monitor(runs["running"])
        await wait_for(pilot, "Overview", runs["running"].name)
        await until(pilot, lambda: app.screen.query_one(Plot).size.height > 0)
        assert "┌" not in screen_text(app)


async def test_a_live_run_is_there_at_once_and_moves(runs: dict[str, RunFolder]) -> None:
    steps = [event for event in recorded_events() if isinstance(event, StepLogged)]
    async with monitor(runs["running"]) as (app, pilot):
        text = await wait_for(
            pilot, "● running", "16/36", "44%", "left", "loss 2.31", "tokens/s", "lr 3.40e-04"
        )
        assert f"$ tuner-tui runs follow {runs['running'].name}" in text
        drawn = chart(app)
        assert any("\u2801" <= character <= "\u28ff" for character in drawn)
        for step in steps[STEPS_SHOWN : STEPS_SHOWN + 6]:
            append_event(runs["running"].events, step)
        await wait_for(pilot, "22/36")
        await until(pilot, lambda: chart(app) != drawn)


async def test_requests_are_left_and_answered(runs: dict[str, RunFolder]) -> None:
    folder = runs["running"]
    async with monitor(folder) as (app, pilot):
        await until(pilot, lambda: {"Stop", "Save", "Sample"} <= set(footer_keys(app).values()))
        for key, request, words in (
            ("v", "save", "Checkpoint requested"),
            ("g", "sample", "Samples requested"),
        ):
            await pilot.press(key)
            await wait_for(pilot, words)
            await until(pilot, lambda: bool(list(folder.control.glob("*.json"))))
            (asked,) = take_requests(folder)
            assert asked.request == request
            append_event(
                folder.events,
                RequestAccepted(id=asked.id, request=asked.request, takes_effect="after this step"),
            )
            await wait_for(pilot, f"{request}: accepted, takes effect after this step.")


async def test_stop_asks_and_its_end_is_told(runs: dict[str, RunFolder]) -> None:
    folder = runs["running"]
    async with monitor(folder) as (app, pilot):
        await until(pilot, lambda: "Stop" in footer_keys(app).values())
        await pilot.press("x")
        await wait_for(pilot, "Stop this run?", folder.name)
        await pilot.press("n")
        await pilot.pause(0.2)
        assert not list(folder.control.iterdir())
        await pilot.press("x")
        await wait_for(pilot, "Stop this run?", "w  Stop now")
        await pilot.press("w")
        await until(pilot, lambda: is_to_end_now(folder))
        await pilot.press("x")
        await wait_for(pilot, "Stop this run?")
        await pilot.press("y")
        await wait_for(pilot, "Stop requested")
        append_event(folder.events, RunStopped(step=16, checkpoint="checkpoints/step-000016", seconds=60))
        text = await wait_for(pilot, "■ Stopped at step 16, saved as checkpoints/step-000016", "■ stopped")
        assert "runs show" in text
        await until(pilot, lambda: "Resume" in footer_keys(app).values())
        assert "Stop" not in footer_keys(app).values()


async def test_a_failure_is_told_with_what_to_do_and_the_log(runs: dict[str, RunFolder]) -> None:
    async with monitor(runs["failed"]) as (app, pilot):
        await wait_for(
            pilot,
            "✗ Failed at step 20: The GPU ran out of memory",
            "2.1 GB more",
            "Next: Take a smaller micro-batch",
            "torch.OutOfMemoryError",
        )
        assert app.screen.query_one(Plot).region.height >= 5


async def test_nan_is_said_and_drawn_around(runs: dict[str, RunFolder]) -> None:
    async with monitor(runs["nan"]) as (_, pilot):
        await wait_for(
            pilot, "loss not finite", "grad norm not finite", "! not finite in places", "✗ Failed at step 13"
        )


async def test_interrupted_and_queued_say_so(runs: dict[str, RunFolder]) -> None:
    async with monitor(runs["interrupted"]) as (app, pilot):
        await wait_for(pilot, "! interrupted", "r resumes from", "step 12.", "16/36")
        assert "Resume" in footer_keys(app).values()
    async with monitor(runs["queued"]) as (_, pilot):
        name = runs["running"].name  # and not the GPU, which this machine may not have
        await wait_for(pilot, "○ queued", f"Queued: starts when {name} has ended.", "no steps yet")


async def test_a_run_that_was_taken_out_of_the_queue_has_not_started(home: Path) -> None:
    """It was said to be interrupted, and its process to have ended."""
    folder = make_run(home, "2026-11-21-only-0001", [])
    with held(home):
        async with monitor(folder) as (app, pilot):
            await wait_for(pilot, "! Not started: it is not in the queue any more. r queues it again.")
            assert "Resume" in footer_keys(app).values()


async def test_the_only_queued_run_waits_for_no_other(home: Path) -> None:
    folder = make_run(home, "2026-11-21-only-0001", [])
    enqueue(folder)
    with held(home):
        async with monitor(folder) as (_, pilot):
            await wait_for(pilot, "○ queued", "Queued: starts when enough memory is free.")
            hold_queue()
            await wait_for(pilot, "Queued: the queue is on hold; release it: tuner-tui queue go.")


@pytest.mark.parametrize(("device", "freed"), [("cpu", "its memory is free"), ("cuda", "the GPU is free")])
async def test_a_pause_frees_what_the_run_had(home: Path, device: str, freed: str) -> None:
    machine = ChosenMachine(device=device, precision="bf16", arithmetic="bf16")  # type: ignore[arg-type]
    events = [*until_step(3), ChoicesMade(choices=(), machine=machine)]
    paused = RunStopped(step=3, checkpoint="step-000003", seconds=9, is_pause=True)
    async with monitor(make_run(home, "2026-11-21-paused-0001", [*events, paused])) as (_, pilot):
        await wait_for(pilot, f"‖ Paused at step 3; {freed}.")


async def test_the_line_of_a_request_goes_when_it_is_done(runs: dict[str, RunFolder]) -> None:
    folder = runs["running"]
    async with monitor(folder) as (app, pilot):
        await until(pilot, lambda: "Save" in footer_keys(app).values())
        await pilot.press("v")
        await answered(pilot, folder, "after step 17")
        await wait_for(pilot, "save: accepted, takes effect after step 17.")
        append_event(
            folder.events, CheckpointSaved(step=16, path="checkpoints/step-000016", size_bytes=1, seconds=1)
        )
        await wait_for(pilot, "save: accepted")  # that one was due anyway
        append_event(
            folder.events,
            CheckpointSaved(
                step=17, path="checkpoints/step-000017", size_bytes=1, seconds=1, reason="request"
            ),
        )
        await until(pilot, lambda: "accepted" not in screen_text(app))
        await pilot.press("g")
        await answered(pilot, folder, "never: this run has no samples.prompts to answer")
        await wait_for(pilot, "sample: not done, this run has no samples.prompts to answer.")


async def test_a_pause_that_is_over_is_not_told_any_more(home: Path) -> None:
    """Paused while it loads, resumed, and training in its second attempt."""
    folder = make_run(home, "2026-11-21-again-0001", until_step(1)[:3])  # its worker has begun to load
    with held(home, folder):
        async with monitor(folder) as (app, pilot):
            await until(pilot, lambda: "Pause" in footer_keys(app).values())
            for key in "vgp":
                await pilot.press(key)
                await answered(pilot, folder, "when the model is loaded")
            await wait_for(pilot, "pause: accepted, takes effect when the model is loaded.")
            append_event(folder.events, RunStopped(step=0, checkpoint=None, seconds=1, is_pause=True))
            text = await wait_for(
                pilot, "‖ Paused at step 0", "ended before it saved the checkpoint that you"
            )
            assert "answered the sample prompts" in text and "accepted" not in text
            for event in until_step(4):
                append_event(folder.events, event)
            text = await wait_for(pilot, "● running, attempt 2", "4/36")
            assert "accepted" not in text and "ended before" not in text


async def answered(pilot: Pilot[Any], folder: RunFolder, takes_effect: str) -> None:
    """Be the worker: read a request and answer it."""
    await until(pilot, lambda: bool(list(folder.control.glob("*.json"))))
    (asked,) = take_requests(folder)
    answer = RequestAccepted(id=asked.id, request=asked.request, takes_effect=takes_effect)
    append_event(folder.events, answer)
    await wait_for(pilot, answer.words[:60])


async def test_missing_telemetry_is_called_unknown(runs: dict[str, RunFolder]) -> None:
    runs["running"].telemetry.unlink()
    async with monitor(runs["running"]) as (_, pilot):
        await wait_for(pilot, "no readings yet")
        gpu_telemetry(
            runs["running"],
            lambda sample: msgspec.structs.replace(
                sample, power_watts=None, energy_wh=None, temperature_celsius=None
            ),
        )
        await wait_for(pilot, "GPU memory 8.9/12.3 GB", "heat unknown", "power unknown")


async def test_hostile_text_is_shown_as_it_is(home: Path, runs: dict[str, RunFolder]) -> None:
    runs["evil"].telemetry.write_bytes(b"\x1b[2J not json\n")
    async with monitor(runs["evil"], size=(120, 40)) as (app, pilot):
        for key, parts in {
            "2": ("[bold red]x[/]", "\\x1b[31mred", "[@click=app.quit]q[/] prompt", "\\u202e", "second line"),
            "3": ("plain line", "[link=http://evil]\\x1b[31m", "last line"),
            "4": ("[bold red]x[/] [link=http://evil]", "Warnings"),
        }.items():
            await pilot.press(key)
            text = await wait_for(pilot, *parts)
            assert "\x1b" not in text
            assert "\u202e" not in text
        widths = {sum(map(_cells, line)) for line in screen_lines(app)}
        assert widths <= {120}
    held_run = make_run(
        home, "2026-11-21-warns-0001", [*evil_events()[:-3], Warned(message="[red]beware\x1b[0m")]
    )
    with held_lock(home, held_run):
        async with monitor(held_run) as (_, pilot):
            append_event(held_run.events, Warned(message="[red]again\x1b[0m"))
            await wait_for(pilot, "[red]again\\x1b[0m")


def _cells(character: str) -> int:
    from rich.cells import cell_len

    return cell_len(character)


def held_lock(home: Path, folder: RunFolder) -> Any:
    """Only the run's lock: the keeper's is held by the fixture."""
    from contextlib import contextmanager

    from tuner_tui.runs import lock

    @contextmanager
    def hold() -> Any:
        taken = lock.acquire(folder.lock)
        assert taken is not None
        try:
            yield
        finally:
            taken.release()

    return hold()


async def test_samples_side_by_side_and_back_in_time(runs: dict[str, RunFolder]) -> None:
    async with monitor(runs["finished"]) as (app, pilot):
        await pilot.press("2")
        text = await wait_for(
            pilot, "after step 36 (3 of 3)", "tuned, step 36", "Please tell me about yourself."
        )
        assert any("base" in line and "tuned" in line for line in text.splitlines())
        await pilot.press("left", "left")
        await wait_for(pilot, "after step 8 (1 of 3)", "I am Ember, a brave")
        await pilot.press("right", "right")
        await wait_for(pilot, "after step 36 (3 of 3)")
        assert app.screen.query_one(RunChart).display


async def test_a_large_log_costs_its_end_only(runs: dict[str, RunFolder]) -> None:
    log = runs["running"].log
    with log.open("wb") as file:
        file.truncate(100 * 10**6)
        file.seek(0, 2)
        file.write(b"\n" + b"".join(b"line %d [bold]\n" % number for number in range(5000)))
    async with monitor(runs["running"]) as (app, pilot):
        await pilot.press("3")
        await wait_for(pilot, "line 4999 [bold]")
        assert "last 2,000 lines (100.1 MB)" in app.screen.query_one(LogPane)._lines[0]
        with log.open("ab") as file:
            file.write(b"and one more\n")
        await wait_for(pilot, "and one more")
        await pilot.press("L", "F", "pageup")
        with log.open("ab") as file:
            file.write(b"unseen\n" * 3)
        await asyncio.sleep(0.6)
        await pilot.pause()
        assert "unseen" not in screen_text(app)
        await pilot.press("F")
        await wait_for(pilot, "unseen")


async def test_details_tell_choices_with_reasons(runs: dict[str, RunFolder]) -> None:
    async with monitor(runs["finished"], size=(120, 40)) as (_, pilot):
        await pilot.press("4")
        await wait_for(
            pilot,
            "Choices",
            "PyTorch is a CPU build",
            "139.4 million parameters",
            "96 rows of messages",
            "Saved",
        )


@pytest.mark.parametrize("size", [(80, 24), (140, 45)])
async def test_the_log_part_has_what_happened_beside_the_raw_log(home: Path, size: tuple[int, int]) -> None:
    start, *steps = until_step(4)
    assert isinstance(start, RunStarted)
    fallback = FallbackStep(
        kind="micro_batch", before="8 x 1", after="4 x 2", reason="it [b]fits", micro_batch=4
    )
    later = start.at + 7200
    events = [
        start,
        *steps,
        Evaluated(step=4, loss=1.25, seconds=1, is_best=True, at=start.at + 20),
        FallbackTaken(fallback=fallback, at=start.at + 30),
        Warned(message="[red]beware\x1b[0m", at=start.at + 40),
        RunStopped(step=4, checkpoint="step-000004", seconds=9, is_pause=True, at=start.at + 50),
        msgspec.structs.replace(start, is_resumed=True, at=later),
        RunFailed(kind="error", title="No such file", at=later + 10),
    ]
    async with monitor(make_run(home, "2026-11-21-story-0001", events), size) as (app, pilot):
        await wait_for(pilot, "took 1 min 0 s")  # and not two hours
        await pilot.press("3")
        await wait_for(pilot, "Failed: No such file", "train_runtime")
        await until(pilot, lambda: isinstance(app.focused, TimelinePane))
        pane = app.screen.query_one(TimelinePane)
        story = str(pane.query_one("#timeline", Static).content)
        clock = time.strftime("%H:%M:%S", time.localtime(start.at + 20))
        assert f"{clock}  Evaluation at step 4: loss 1.25  best so far" in story
        assert [
            story.count(f"  {words}") for words in ("Starting", "Resuming", "Warning: [red]beware\\x1b[0m")
        ] == [
            1,
            1,
            1,
        ]
        flat = " ".join(story.split())
        for words in (
            "Data: 96 rows (messages)",
            "Training: 36 steps, batch 8 x 1",
            "Trying a smaller micro-batch: 8 x 1 -> 4 x 2 (it [b]fits)",
            "Paused at step 4; saved as step-000004",
            "1 h 59 min between two attempts",
        ):
            assert words in flat
        await pilot.press("home")
        await wait_for(pilot, "Starting")
        await pilot.press("L")
        await until(pilot, lambda: isinstance(app.focused, LogPane))
        await pilot.press("L")
        await until(pilot, lambda: isinstance(app.focused, TimelinePane))


async def test_learning_rate_and_gradient_norm_have_curves(runs: dict[str, RunFolder]) -> None:
    async with monitor(runs["finished"]) as (app, pilot):
        drawn = {}
        for title in ("loss", "learning rate", "gradient norm", "tokens/s"):
            await wait_for(pilot, f"{title}  · each step")
            drawn[title] = chart(app)
            if title == "learning rate":  # its peak is the one of run.toml
                assert app.screen.query_one(Plot).points.y_range[1] == pytest.approx(0.0005)
            await pilot.press("Y")
        await wait_for(pilot, "entropy  · each step")  # a metric of the method
        assert isinstance(app.screen, Monitor) and app.screen.view is not None
        more = measures_of(app.screen.view.run.curves)[4:]
        await pilot.press(*["Y"] * len(more))
        await wait_for(pilot, "loss  · each step")
        assert len(set(drawn.values())) == 4
        await pilot.resize_terminal(140, 45)
        await wait_for(pilot, "loss  · each step", "learning rate  · each step", "gradient norm  · each step")


async def test_a_metrics_value_stands_apart_from_its_title(home: Path) -> None:
    *events, step = until_step(3)
    assert isinstance(step, StepLogged)
    step = msgspec.structs.replace(step, metrics={"rewards/chosen": 0.5896, "logps/rejected": -12.5})
    async with monitor(make_run(home, "2026-11-21-pairs-0001", [*events, step])) as (_, pilot):
        await pilot.press("4")
        await wait_for(pilot, "reward of chosen  0.5896", "log-prob. of rejected  -12.5")


async def test_axis_and_zoom_turn(runs: dict[str, RunFolder]) -> None:
    async with monitor(runs["finished"]) as (_, pilot):
        await wait_for(pilot, "by steps, whole run")
        await pilot.press("X")
        await wait_for(pilot, "by tokens, whole run")
        await pilot.press("X", "z")
        await wait_for(pilot, "by time, last half")
        await pilot.press("z")
        await wait_for(pilot, "by time, last tenth")


async def test_two_apps_on_one_run(runs: dict[str, RunFolder]) -> None:
    async with monitor(runs["running"]) as (first, one), monitor(runs["running"], (120, 40)) as (second, two):
        await wait_for(one, "16/36")
        await wait_for(two, "16/36")
        (step,) = [each for each in until_step(STEPS_SHOWN + 1) if isinstance(each, StepLogged)][-1:]
        append_event(runs["running"].events, step)
        await wait_for(one, "17/36")
        await wait_for(two, "17/36")
        first.exit()
        append_event(runs["running"].events, RunStopped(step=17, checkpoint=None, seconds=1))
        await wait_for(two, "■ stopped", "nothing is saved, the last 17 steps")
        assert second.is_running


async def test_survives_a_deleted_folder_and_tiny_terminals(runs: dict[str, RunFolder]) -> None:
    import shutil

    async with monitor(runs["finished"]) as (app, pilot):
        before = await wait_for(pilot, "✓ Finished at step 36", "by steps")
        for key in "1234":
            await pilot.resize_terminal(20, 5)
            await pilot.press(key)
            await pilot.pause(0.1)
            assert len(screen_lines(app)) == 5
            await pilot.resize_terminal(200, 50)
            await pilot.pause(0.1)
        await pilot.press("1")
        await pilot.resize_terminal(80, 24)
        await until(
            pilot, lambda: screen_text(app) == before, lambda: f"{before}\nis not\n{screen_text(app)}"
        )
        shutil.rmtree(runs["finished"].path)
        await wait_for(pilot, "The run cannot be read: its folder is missing")
