"""Runs, driven by keys: marking, comparing, families, notes, cleaning up and undoing."""

from __future__ import annotations

import asyncio
import json
import os
from functools import partialmethod
from typing import TYPE_CHECKING

import msgspec
import pytest
from click.testing import CliRunner
from textual.widgets import Input

from tests.ui.looking import footer_keys, screen_lines, screen_text, until, wait_for
from tests.ui.recorded_runs import EVIL
from tuner_tui.cli import tuner_tui
from tuner_tui.config import paths
from tuner_tui.owned import MARK
from tuner_tui.planning.plan import StartAdapter, decode_plan, encode_plan
from tuner_tui.runs.notes import Note, read_note, write_note
from tuner_tui.runs.trash import deletions
from tuner_tui.ui.app import TunerApp, main_app
from tuner_tui.ui.screens.home import Home
from tuner_tui.ui.screens.monitor import Monitor
from tuner_tui.ui.screens.new_run.screen import NewRunScreen
from tuner_tui.ui.screens.runs import RunsScreen
from tuner_tui.ui.widgets.curves_chart import CurvesChart, CurvesPlot
from tuner_tui.ui.widgets.runs_table import Columns, RunsTable

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

    from tuner_tui.runs.folder import RunFolder


async def open_runs(pilot: Pilot[None]) -> RunsScreen:
    await wait_for(pilot, "2 live")
    await pilot.press("m")
    await wait_for(pilot, "[1 Curves]", "10 runs", "training loss")
    assert isinstance(pilot.app.screen, RunsScreen)
    return pilot.app.screen


async def mark(pilot: Pilot[None], *lines: int) -> None:
    """Mark the runs on these lines."""
    table = pilot.app.screen.query_one(RunsTable)
    for line in lines:
        table.cursor = line
        await pilot.press("space")


async def test_marked_runs_are_drawn_together(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_runs(pilot)
        await mark(pilot, 0, 2)
        await wait_for(pilot, "2 marked", "A 2.205", "B 1.699")
        lines = screen.query_one(CurvesPlot).lines
        assert [(line.letter, line.points[0][-1]) for line in lines] == [("A", 16), ("B", 36)]
        assert any(line.lstrip().startswith("A● running") for line in screen_lines(app))
        assert screen.headless_command.startswith("tuner-tui runs compare ")
        await pilot.press("X")
        await wait_for(pilot, "by tokens")
        await until(pilot, lambda: screen.query_one(CurvesPlot).lines[1].points[0][-1] == 16524)
        await pilot.press("Y")
        await wait_for(pilot, "No held-out rows")
        await pilot.press("Y")
        await wait_for(pilot, "learning rate, by tokens")
        await pilot.press("Y")
        await wait_for(pilot, "gradient norm, smoothed, by tokens")
        await pilot.press("Y", "space")  # the run under the cursor goes, its letter is free again
        await wait_for(pilot, "1 marked")
        await mark(pilot, 3)
        await wait_for(pilot, "B 2.205")
        assert all(len(line) <= 80 for line in screen_lines(app))


async def test_six_runs_are_the_most(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        screen = await open_runs(pilot)
        await mark(pilot, *range(7))
        await wait_for(pilot, "6 marked", "A chart shows at most 6 runs")
        assert [letter for letter, _ in screen.marks.values()] == list("ABCDEF")


async def test_settings_that_differ_stand_in_columns(runs: dict[str, RunFolder]) -> None:
    spec = runs["stopped"].spec
    made_at = spec.stat().st_mtime
    spec.write_text(spec.read_text().replace("[training]", "[training]\nseed = 99"))
    os.utime(spec, (made_at, made_at))  # which orders the list
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_runs(pilot)
        await mark(pilot, 2, 4)
        await pilot.press("2")
        await wait_for(pilot, "last loss")
        await until(pilot, lambda: "training.seed" in str(screen.query_one("#settings-table").render()))
        table = str(screen.query_one("#settings-table").render())
        assert "stopped" in table
        assert "tuning.rank" not in table


async def test_with_one_run_the_parts_are_about_it(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await open_runs(pilot)
        await pilot.press("tab")
        await wait_for(pilot, "[2 Settings]", "16 of 36", "Mark two or more runs")
        await pilot.press("down", "down")
        await wait_for(pilot, "36 of 36")
        await pilot.press("3")
        await wait_for(pilot, "It started from the base model", "No checkpoints")
        await pilot.press("1", "enter")
        await until(pilot, lambda: isinstance(app.screen, Monitor))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Home))


async def test_a_branch_begins_at_a_checkpoint(runs: dict[str, RunFolder]) -> None:
    run, child = runs["finished"], runs["stopped"]
    for step in (20, 36):
        checkpoint = run.checkpoints / f"step-{step:06}"
        checkpoint.mkdir()
        (checkpoint / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    start = StartAdapter(name=run.name, is_run=True, path=str(run.adapter), base="demo", rank=8, alpha=16)
    plan = decode_plan(child.plan.read_bytes())
    child.plan.write_bytes(encode_plan(msgspec.structs.replace(plan, start=start)))
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_runs(pilot)
        screen.query_one(RunsTable).cursor = 2
        await pilot.press("3")
        await wait_for(pilot, "from its adapter", "step-000036", "step-000020", "2 checkpoints below")
        await pilot.press("enter", "down", "down", "down", "enter")  # into the family's list, to step 20
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        await until(pilot, lambda: app.screen.state is not None)  # type: ignore[attr-defined]
        spec = app.screen.state.draft.spec  # type: ignore[attr-defined]
        assert spec.model.adapter == str(run.checkpoints / "step-000020")
        assert spec.name.endswith("-from-20")


async def test_notes_and_tags_are_kept_and_sought(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_runs(pilot)
        screen.query_one(RunsTable).cursor = 2
        await pilot.press("ctrl+e")
        await wait_for(pilot, "Note on", "ctrl+s saves it")
        await pilot.press(*"good", "shift+tab", *"keep best", "ctrl+s")
        await wait_for(pilot, "[4 Note]", "#keep #best", "good")
        assert read_note(runs["finished"].name) == Note(text="good", tags=("keep", "best"))
        await pilot.press("slash", *"#keep")
        await wait_for(pilot, "1 of 10 runs")
        await pilot.press("enter", "escape")
        await wait_for(pilot, "10 runs")
        assert not app.screen.query(Input)


async def test_a_note_is_shown_literally(runs: dict[str, RunFolder]) -> None:
    write_note(runs["running"].name, Note(text=f"{EVIL}\nsecond"))
    app = TunerApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await open_runs(pilot)
        await pilot.press("4")
        text = await wait_for(pilot, "[bold red]x[/]", "second")
        assert "\x1b" not in text


async def delete(pilot: Pilot[None], run: RunFolder, line: int) -> None:
    """Delete the run on a line, with the answers that a person gives."""
    pilot.app.screen.query_one(RunsTable).cursor = line
    await until(pilot, lambda: "Delete" in footer_keys(pilot.app).values())
    await pilot.press("delete")
    await wait_for(pilot, "Delete this run?", "30 days", "u on the Runs screen")
    await pilot.press("y")
    await until(pilot, lambda: not run.path.exists())


async def test_a_deleted_run_comes_back_in_the_app(runs: dict[str, RunFolder]) -> None:
    run = runs["finished"]
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await open_runs(pilot)
        await until(pilot, lambda: "Delete" not in footer_keys(app).values())  # it is live
        await delete(pilot, run, 2)
        await wait_for(pilot, "9 runs")
        await pilot.press("5")
        await wait_for(pilot, "In the trash", "1 deletion; u restores the last, E empties it.")
        await pilot.press("u")
        await wait_for(pilot, "10 runs")
        assert run.events.stat().st_size > 1000


async def test_closing_the_app_keeps_the_trash(
    runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a person: Home, delete, quit; then a command restores it, or the next app does."""
    run, other = runs["finished"], runs["stopped"]

    async def deletes_and_quits(pilot: Pilot[None]) -> None:
        await wait_for(pilot, "2 live")
        await delete(pilot, run, 2)
        await delete(pilot, other, 3)
        await pilot.press("q")

    with monkeypatch.context() as patch:
        patch.setattr(
            TunerApp, "run", partialmethod(TunerApp.run, headless=True, auto_pilot=deletes_and_quits)
        )
        await asyncio.to_thread(main_app)
    command = CliRunner().invoke(tuner_tui, ["runs", "restore", "first-try-94b2"], catch_exceptions=False)
    assert command.output.splitlines()[-1] == f"{run.name} is restored."
    assert run.events.stat().st_size > 1000
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "9 runs, 2 live")
        await pilot.press("m")
        await wait_for(pilot, "[1 Curves]", "9 runs")
        await until(pilot, lambda: app.screen.check_action("undo", ()) is True)
        await pilot.press("u")
        await wait_for(pilot, "10 runs")
        assert other.spec.is_file()


async def test_cleaning_up_says_first_what_it_frees(runs: dict[str, RunFolder]) -> None:
    run = runs["finished"]
    run.adapter.mkdir()
    checkpoint = run.checkpoints / "step-000020"
    checkpoint.mkdir()
    (checkpoint / "weights").write_bytes(b"x" * 123_400)
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await open_runs(pilot)
        await pilot.press("5")
        await wait_for(pilot, "Removable: 123.4 kB", "first-try-94b2")
        await pilot.press("enter")
        await wait_for(pilot, "Move it to the trash?", "Frees 123.4 kB", "The adapter stays")
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        assert checkpoint.is_dir()
        await pilot.press("enter")
        await wait_for(pilot, "Move it to the trash?")
        await pilot.press("y")
        await until(pilot, lambda: not checkpoint.exists())
        await wait_for(pilot, "In the trash: 123.4 kB")
        await pilot.press("u")
        await until(pilot, lambda: checkpoint.is_dir())
        await wait_for(pilot, "Removable: 123.4 kB")
        await pilot.press("enter")
        await wait_for(pilot, "Move it to the trash?")
        await pilot.press("y")
        await until(pilot, lambda: not checkpoint.exists())
        await wait_for(pilot, "E empties it")
        await pilot.press("E")
        await wait_for(pilot, "Empty the trash?", "permanently, 123.4 kB in 1 deletion", "94b2 checkpoints")
        await pilot.press("y")
        await until(pilot, lambda: not deletions())
        assert [path.name for path in (paths.runs_dir() / ".trash").iterdir()] == [MARK]
        assert run.adapter.is_dir()


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (80, 24), (200, 50)])
async def test_every_part_fits_every_size(runs: dict[str, RunFolder], size: tuple[int, int]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await open_runs(pilot)
        await mark(pilot, 0, 2, 3)
        await pilot.resize_terminal(*size)
        for part in "12345":
            await pilot.press(part)
            await pilot.pause(0.1)
            assert all(len(line) <= size[0] for line in screen_lines(app))
        assert isinstance(app.screen, RunsScreen)


async def test_a_live_run_grows_on_the_chart(home: Path, runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_runs(pilot)
        chart = screen.query_one(CurvesChart)
        assert chart.compared[0].run.step == 16
        runs["running"].events.write_bytes(runs["finished"].events.read_bytes())
        await until(pilot, lambda: chart.compared[0].run.step == 36)
        assert "1.6" in screen_text(app)


@pytest.mark.parametrize("width", [80, 100, 120, 140, 200])
def test_a_run_s_name_keeps_its_room(width: int) -> None:
    """Names such as qwen3-4b-sft-brave-otter are told apart by their end."""
    assert Columns.at(width).name >= (14 if width < 94 else 22)
    assert Columns.at(120).name >= len("qwen3-4b-sft-brave-otter")
