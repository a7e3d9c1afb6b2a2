"""Home, driven by keys and fed with real run folders."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from textual.widgets import Input

from tests.ui.looking import footer_keys, screen_lines, until, wait_for
from tests.ui.recorded_runs import make_run, recorded_events, until_step
from tuner_tui.runs import queue
from tuner_tui.runs.control import take_requests
from tuner_tui.runs.events import Event, RunStarted, RunStopped
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.screens.home import Home
from tuner_tui.ui.screens.monitor import Monitor
from tuner_tui.ui.widgets.run_beside import RunBeside
from tuner_tui.ui.widgets.run_chart import Plot
from tuner_tui.ui.widgets.runs_table import RunsTable

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder


def line_with(app: TunerApp, part: str) -> str:
    return next(line for line in screen_lines(app) if part in line)


def table(app: TunerApp) -> RunsTable:
    return app.screen.query_one(RunsTable)


async def test_without_runs_three_ways_to_begin(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(TunerApp, "action_doctor", lambda self: asked.append("doctor"))
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        text = await wait_for(pilot, "No runs yet", "Try the demo", "New run", "Doctor", "$ tuner-tui demo")
        assert "▸ t" in text
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: asked == ["doctor"])
        assert "Again" not in footer_keys(app).values()


async def test_each_status_has_a_mark_and_a_word(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "10 runs, 2 live")
        for mark_and_word, name in (
            ("● running", "octopus-3f2a"),
            ("○ queued", "-77aa"),
            ("✓ finished", "first-try-94b2"),
            ("✗ failed", "-c01d"),
            ("■ stopped", "haiku-5e5e"),
            ("! interrupted", "pulled-plug"),
        ):
            assert mark_and_word in line_with(app, name)
        assert "16/36" in line_with(app, "octopus")
        assert "2.31" in line_with(app, "octopus")
        assert "left" in line_with(app, "octopus")
        assert "The GPU ran out of memory" in line_with(app, "-c01d")
        assert "half deleted: no run.toml" in line_with(app, "-cccc")
        assert "made by a newer tuner-tui" in line_with(app, "-dddd")
        assert "[red]evil[-eeee" in line_with(app, "-eeee")
        assert all(len(line) <= 80 for line in screen_lines(app))


async def test_the_footer_offers_what_the_chosen_run_allows(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        await until(pilot, lambda: "Stop" in footer_keys(app).values())
        assert "Resume" not in footer_keys(app).values()
        assert "Delete" not in footer_keys(app).values()
        await pilot.press("down", "down", "down")  # the failed one
        await until(pilot, lambda: "Resume" in footer_keys(app).values())
        assert "Delete" in footer_keys(app).values()
        assert "Stop" not in footer_keys(app).values()
        await wait_for(pilot, f"$ tuner-tui runs show {runs['failed'].name}"[:60])


async def test_enter_opens_the_run_and_escape_comes_back(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        await pilot.press("enter")
        await wait_for(pilot, "[1 Overview]", "● running")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Home))


async def test_stop_asks_first(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        await pilot.press("x")
        await wait_for(pilot, "Stop this run?")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Home))
        assert not list(runs["running"].control.iterdir())
        await pilot.press("x")
        await wait_for(pilot, "Stop this run?")
        await pilot.press("y")
        await until(pilot, lambda: bool(list(runs["running"].control.iterdir())))
        assert [asked.request for asked in take_requests(runs["running"])] == ["stop"]


async def test_stopping_a_run_that_waits_takes_it_out_of_the_queue(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        await pilot.press("down", "x")
        await wait_for(pilot, "Stop this run?")
        await pilot.press("y")
        await until(pilot, lambda: not queue.is_queued(runs["queued"].name))
        await wait_for(pilot, "10 runs, 1 live")


async def test_delete_asks_with_the_size_and_refuses_live_runs(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        await pilot.press("delete")
        await pilot.pause()
        assert isinstance(app.screen, Home)
        await pilot.press("down", "down", "delete")
        await wait_for(pilot, "Delete this run?", "kB")
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, Home))
        assert runs["finished"].path.is_dir()
        await pilot.press("delete")
        await wait_for(pilot, "Delete this run?")
        await pilot.press("y")
        await until(pilot, lambda: not runs["finished"].path.exists())
        await wait_for(pilot, "9 runs, 2 live")
        assert not list(runs["finished"].path.parent.glob(".deleting-*"))


async def test_filter_by_name_and_status(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        await pilot.press("slash", *"failed")
        text = await wait_for(pilot, "2 of 10 runs")
        assert "haiku" not in text
        await pilot.press(*"zz", "enter")
        await wait_for(pilot, "0 of 10 runs", "No run matches 'failedzz'; esc shows all.")
        await until(pilot, lambda: "Open" not in footer_keys(app).values(), lambda: f"{footer_keys(app)}")
        await pilot.press("escape")
        await wait_for(pilot, "10 runs, 2 live", "haiku")
        await until(pilot, lambda: "Open" in footer_keys(app).values(), lambda: f"{footer_keys(app)}")
        assert not app.screen.query(Input)


async def test_new_and_ended_runs_show_by_themselves(home: Path, runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "10 runs, 2 live")
        await pilot.press("down", "down")
        make_run(home, "2026-11-22-newest-0000", until_step(3))
        await wait_for(pilot, "newest-0000")
        assert table(app).chosen == runs["finished"]  # the cursor stays on its run
        shutil.rmtree(runs["stopped"].path)
        await wait_for(pilot, "10 runs")
        runs["running"].events.write_bytes(runs["finished"].events.read_bytes())
        await until(pilot, lambda: "✓ finished" in line_with(app, "octopus"))


async def test_five_thousand_runs_are_there_at_once(home: Path) -> None:
    first = make_run(home, "2026-01-01-old-00000", recorded_events()[:12], age=9000)
    for number in range(1, 5000):
        folder = first.path.with_name(f"2026-01-{number % 28 + 1:02}-old-{number:05}")
        folder.mkdir()
        for name in ("run.toml", "events.jsonl", "lock"):
            (folder / name).hardlink_to(first.path / name)
    newest = make_run(home, "2026-11-21-newest-0001", recorded_events())
    app = TunerApp()
    started = time.monotonic()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "newest-0001")
        assert time.monotonic() - started < 3.0
        await until(pilot, lambda: "✓ finished" in line_with(app, "newest-0001"))
        assert table(app).chosen == newest
        pressed = time.monotonic()
        await pilot.press("end")
        await until(pilot, lambda: table(app).cursor == 5000)
        await pilot.press("home", "down", "down")
        assert time.monotonic() - pressed < 2.0
        assert isinstance(app.screen, Home)


async def test_resizing_to_almost_nothing_and_back(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        before = await wait_for(pilot, "10 runs, 2 live", "c copies")
        await pilot.resize_terminal(20, 5)
        await wait_for(pilot, "● running")
        await pilot.press("down", "question_mark")
        await pilot.pause()
        await pilot.press("escape", "up", "enter")
        await until(pilot, lambda: isinstance(app.screen, Monitor))
        await pilot.press("2", "3", "4", "1", "escape")
        await until(pilot, lambda: isinstance(app.screen, Home))
        await pilot.resize_terminal(80, 24)
        after = await wait_for(pilot, "10 runs, 2 live", "c copies")
        assert before.splitlines()[4].split()[:4] == after.splitlines()[4].split()[:4]


async def test_what_would_ruin_a_run_stands_above_the_list(runs: dict[str, RunFolder]) -> None:
    from tuner_tui.ui.hardware_words import Machine
    from tuner_tui.ui.machine_watch import MachineRead

    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live", "CPU cores")
        app.screen._machine.end()  # type: ignore[attr-defined]  # its own looks at this machine end
        trouble = "torch: 2.13.0+cpu cannot use the [red]GPU: CPU-only build"
        await pilot.pause(0.1)
        machine = Machine(line="RTX 4070 · 10.3 of 12.0 GB free", troubles=(trouble, "another"))
        app.screen.post_message(MachineRead(machine))
        await wait_for(
            pilot, "! torch: 2.13.0+cpu cannot use the [red]GPU", "shows how to fix it", "RTX 4070"
        )
        app.screen.post_message(MachineRead(Machine(line="RTX 4070")))
        await until(pilot, lambda: not app.screen.query_one("#banner").display)


async def test_the_footer_fits_whatever_run_is_chosen(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        for _ in runs:
            await pilot.pause(0.1)
            await wait_for(pilot, "enter Open", "q Quit")
            assert screen_lines(app)[-1].rstrip().endswith("? Help")
            await pilot.press("down")


async def test_an_end_is_told_on_any_screen_and_rings(
    runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-kitty")
    app = TunerApp()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        written: list[str] = []
        monkeypatch.setattr(app._driver, "write", written.append)
        await wait_for(pilot, "2 live")
        await pilot.press("d")  # Home is not shown
        runs["running"].events.write_bytes(runs["failed"].events.read_bytes())
        await wait_for(pilot, "octopus-3f2a failed", "ran out of memory")
        await until(pilot, lambda: any("\x1b]9;" in text for text in written))
        [notice] = [text for text in written if "\x1b]9;" in text]
        assert notice.startswith("\a\x1b]9;tuner-tui: ")
        assert "The GPU ran out of memory" in notice


async def test_home_names_its_doors_and_its_columns(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        text = await wait_for(
            pilot, "10 runs, 2 live", "a Chat", "f Feedback", "w Queue", "h Downloads", "^p All"
        )
        assert "o Settings" in text
        assert all(word in line_with(app, "status") for word in ("run", "steps", "loss", "ended"))
        await until(pilot, lambda: screen_lines(app)[-1].rstrip().endswith("? Help"))
        await pilot.resize_terminal(50, 24)
        await until(pilot, lambda: screen_lines(app)[-1].rstrip().endswith("? Help"))


@pytest.mark.parametrize("size", [(80, 24), (140, 45)])
async def test_runs_are_sorted_by_a_column_and_back(
    runs: dict[str, RunFolder], size: tuple[int, int]
) -> None:
    spec = runs["stopped"].spec
    made_at = spec.stat().st_mtime
    spec.write_text(spec.read_text().replace('kind = "sft"', 'kind = "dpo"'))
    os.utime(spec, (made_at, made_at))  # which orders the list
    app = TunerApp()
    async with app.run_test(size=size) as pilot:
        await wait_for(pilot, "10 runs, 2 live")
        newest_first = table(app).folders
        await pilot.press("S")
        await wait_for(pilot, "loss ▼")
        known = [table(app).summaries[folder.name].loss for folder in table(app).folders]
        losses = [loss for loss in known if loss is not None]
        assert losses == sorted(losses)
        assert known[: len(losses)] == losses
        await pilot.press("S")
        await wait_for(pilot, "method ▼")
        await until(pilot, lambda: table(app).folders[0] == runs["stopped"])
        assert "dpo" in line_with(app, "haiku").split()
        await pilot.press("S", "S", "S")
        await until(pilot, lambda: table(app).folders == newest_first)


@pytest.mark.parametrize(
    ("words", "name"),
    [("dpo", "haiku"), ("16/36 dpo", "haiku"), ("2.312 haiku", "haiku"), ("short-and-sweet", "haiku")],
)
async def test_the_filter_looks_in_all_that_is_shown(
    runs: dict[str, RunFolder], words: str, name: str
) -> None:
    spec = runs["stopped"].spec
    text = spec.read_text().replace('kind = "sft"', 'kind = "dpo"')
    spec.write_text(text.replace('train = "demo"', 'train = "/data/short-and-sweet.jsonl"'))
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "10 runs, 2 live")
        await pilot.press("slash", *(" " if each == " " else each for each in words))
        text = await wait_for(pilot, "1 of 10 runs")
        assert name in text


async def test_a_big_screen_has_the_run_beside_the_list(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(140, 45)) as pilot:
        await wait_for(
            pilot, "10 runs, 2 live", "method    sft", "tuning    lora", "steps     16/36", "loss  · each"
        )
        beside = app.screen.query_one(RunBeside)
        await until(pilot, lambda: max(row(app, beside.query_one(Plot))) > "\u2801")
        await pilot.press("down", "down")
        await wait_for(pilot, "steps     36/36", "Finished at step 36")
        await until(pilot, lambda: beside.view is not None and beside.view.folder == runs["finished"])
        await pilot.resize_terminal(80, 24)
        await wait_for(pilot, "sft, lora of SmolLM2-135M-Instruct.Q4_1.gguf on demo, 3 min 30 s")
        assert not beside.display
        watch = beside._watch
        assert watch is None  # nothing reads a run that is not shown


def row(app: TunerApp, plot: Plot) -> str:
    """All that is drawn in a chart."""
    lines = screen_lines(app)[plot.region.y : plot.region.bottom]
    return "".join(line[plot.region.x : plot.region.right] for line in lines)


async def test_a_paused_run_took_the_time_that_it_ran(home: Path) -> None:
    started = RunStarted(protocol=1, at=1000.0)
    events: list[Event] = [
        started,
        RunStopped(step=0, checkpoint=None, seconds=60, is_pause=True, at=1060.0),
        RunStarted(protocol=1, at=8000.0, is_resumed=True),
        RunStopped(step=0, checkpoint=None, seconds=60, is_pause=True, at=8065.0),
    ]
    make_run(home, "demo-sft-brave-otter", events)
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "brave-otter", "sft, lora of demo on demo, 2 min 5 s")
