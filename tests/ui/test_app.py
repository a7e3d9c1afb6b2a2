"""The app around its screens: what it loads, help, palette, commands to copy, themes and plain terminals."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.ui.looking import screen_text, until, wait_for
from tests.ui.recorded_runs import make_run, recorded_events
from tuner_tui.config.settings import read_settings
from tuner_tui.errors import TunerError
from tuner_tui.ui import theme
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.app_services import AppServices
from tuner_tui.ui.modals.help import HelpModal
from tuner_tui.ui.plain_terminal import draws_braille, plain_characters, speaks_utf8
from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.screens.doctor import report_content
from tuner_tui.ui.screens.home import Home

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder

WORKERS_OWN = ("torch", "transformers", "trl", "peft", "datasets", "bitsandbytes", "accelerate")
NOT_FOR_THE_FIRST_SCREEN = ("pydantic", "plotext", "tomlkit", "pynvml", "numpy", "huggingface_hub", "psutil")

AT_FIRST_PAINT = """
import json, sys
from tuner_tui.ui.screens.home import Home
from tuner_tui.ui.app import TunerApp
def report(home):
    lines = home._compositor.render_strips()
    shown = any("first-try" in segment.text for line in lines for segment in line)
    print(json.dumps([shown, sorted(sys.modules)]), file=sys.stderr)
    home.app.exit()
Home._begin_reading = report
TunerApp().run(headless=True, size=(120, 40))
"""
AFTER_A_LOOK_AROUND = """
import json, sys
from tuner_tui.ui.app import TunerApp
async def walk(pilot):
    await pilot.pause(1.5)
    await pilot.press("enter")
    await pilot.pause(1.5)
    await pilot.press("2", "3", "4", "question_mark", "escape", "escape", "n")
    await pilot.pause(1.5)
    pilot.app.exit()
TunerApp().run(headless=True, size=(120, 40), auto_pilot=walk)
print(json.dumps([True, sorted(sys.modules)]), file=sys.stderr)
"""


def modules_after(code: str, home: Path) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded; the run's name must have been on screen."""
    make_run(home, "2026-11-20-first-try-94b2", recorded_events())
    child = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TUNER_TUI_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    shown, modules = json.loads(child.stderr.splitlines()[-1])
    assert shown
    return {name.partition(".")[0] for name in modules}


def test_the_first_screen_loads_little(home: Path) -> None:
    modules = modules_after(AT_FIRST_PAINT, home)
    assert "textual" in modules
    assert modules.isdisjoint((*WORKERS_OWN, *NOT_FOR_THE_FIRST_SCREEN))


def test_no_screen_loads_torch(home: Path) -> None:
    modules = modules_after(AFTER_A_LOOK_AROUND, home)
    assert "plotext" in modules
    assert modules.isdisjoint(WORKERS_OWN)


async def test_help_names_the_keys_and_the_focused_part(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 40)) as pilot:
        await wait_for(pilot, "2 live")
        await pilot.press("question_mark")
        await wait_for(
            pilot, "Help: Home", "Your runs, the newest first", "Leave; runs continue without the app"
        )
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Home))
        await pilot.press("enter")
        await wait_for(pilot, "[1 Overview]")
        await pilot.press("3", "f1")
        await wait_for(pilot, "What happened in this run, with times", "Save a checkpoint now")
        assert isinstance(app.screen, HelpModal)


async def test_the_palette_holds_every_key(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        await until(pilot, lambda: "Stop" in {c.title for c in app.get_system_commands(app.screen)})
        titles = {command.title for command in app.get_system_commands(app.screen)}
        shown = {
            active.binding.description
            for active in app.screen.active_bindings.values()
            if active.enabled and active.binding.show
        }
        assert shown <= titles
        assert {"Doctor", "Dark or light", "Try the demo", "Suspend", "Copy command"} <= titles
        await pilot.press("ctrl+p", *"stop")
        await pilot.pause(0.3)
        await pilot.press("enter")
        await wait_for(pilot, "Stop this run?")


async def test_the_command_is_copied_also_inside_tmux(
    runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMUX", "/tmp/tmux,1,0")
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        written: list[str] = []
        assert app._driver is not None
        monkeypatch.setattr(app._driver, "write", written.append)
        await pilot.press("c")
        command = f"tuner-tui runs show {runs['running'].name}"
        await until(pilot, lambda: app.clipboard == command)
        coded = base64.b64encode(command.encode()).decode()
        assert f"\x1b]52;c;{coded}\a" in written
        assert f"\x1bPtmux;\x1b\x1b]52;c;{coded}\a\x1b\\" in written


async def test_every_screen_has_its_command(
    runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner_tui.ui.screens.doctor.DoctorScreen._look", lambda self: None)
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        for keys, command in (
            ((), "tuner-tui runs show "),
            (("enter",), "tuner-tui runs follow "),
            (("escape", "d"), "tuner-tui doctor"),
        ):
            await pilot.press(*keys)
            await wait_for(pilot, f"$ {command}")
            assert isinstance(app.screen, TunerScreen)
            assert app.screen.headless_command.startswith(command)


async def test_the_theme_is_remembered(home: Path) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.theme == theme.DARK.name
        app.action_other_theme()
        await until(pilot, lambda: read_settings().text("app.theme") == theme.LIGHT.name)
    assert TunerApp().theme == theme.LIGHT.name


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("COLORFGBG", "0;15", theme.LIGHT.name),
        ("COLORFGBG", "15;0", theme.DARK.name),
        ("NO_COLOR", "1", theme.TERMINAL.name),
        ("TEXTUAL_COLOR_SYSTEM", "standard", theme.DARK.name),
    ],
)
def test_the_terminal_chooses_the_first_theme(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert TunerApp().theme == expected


def test_sixteen_colours_are_the_terminals_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLORTERM")
    assert TunerApp().theme == theme.TERMINAL.name


async def test_without_colours_nothing_is_lost(
    runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "▸ ● running", "✗ failed")
        await pilot.press("enter")
        await wait_for(pilot, "[1 Overview]", "· each step", "─ smoothed")
        colours = {
            segment.style.color
            for strip in app.screen._compositor.render_strips()
            for segment in strip
            if segment.style is not None and segment.style.color is not None
        }
        assert not {colour.name for colour in colours if not colour.is_default}


async def test_without_utf8_every_character_is_plain(
    runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "de_DE.ISO-8859-1")
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "> * running", "+ finished", "x failed")
        await pilot.press("enter")
        await wait_for(pilot, "[1 Overview]", "16/36")
        for key in "1234":
            await pilot.press(key)
            assert screen_text(app).isascii()


def test_which_terminals_are_plain() -> None:
    assert speaks_utf8({"LANG": "en_GB.UTF-8"})
    assert speaks_utf8({})
    assert not speaks_utf8({"LANG": "C"})
    assert not speaks_utf8({"LC_ALL": "POSIX", "LANG": "en_GB.UTF-8"})
    assert not speaks_utf8({"LANG": "en_GB.UTF-8", "TUNER_TUI_PLAIN": "1"})
    assert draws_braille({"LANG": "en_GB.UTF-8", "TERM": "xterm"})
    assert not draws_braille({"LANG": "en_GB.UTF-8", "TERM": "linux"})


def test_plain_characters_keep_their_width() -> None:
    from rich.cells import cell_len

    for text in ("━━╸ 50 %", "▁▂▃▄▅▆▇█", "│ café …", "你好 👩", "⠁⠉⣿", "e\u0301x", "±½"):
        assert plain_characters(text).isascii()
        assert cell_len(plain_characters(text)) == cell_len(text)


async def test_a_refusal_is_shown_with_what_to_do(runs: dict[str, RunFolder]) -> None:
    def refuse() -> str:
        raise TunerError("It cannot be [bold]done[/]", "Because \x1b[31m.", "Do that.")

    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        assert isinstance(app.screen, TunerScreen)
        app.screen.perform(refuse)
        await wait_for(pilot, "It cannot be [bold]done[/]", "Because \\x1b[31m.", "Do that.")
        await pilot.press("escape")
        assert isinstance(app.screen, TunerScreen)

        def break_down() -> str:
            raise ZeroDivisionError("oh [red]no")

        app.screen.perform(break_down)
        await wait_for(pilot, "A part of the app failed", "oh [red]no")


def test_the_doctor_shows_what_to_do() -> None:
    from tuner_tui.hardware.doctor import Check

    checks = [
        Check("Python", "ok", "3.11"),
        Check("torch", "problem", "[red]cpu", "a detail", "Install it:\npip install torch"),
    ]
    lines = report_content(checks, None).plain.splitlines()
    assert lines[0].startswith("✗ problem")
    assert lines[-1].startswith("✓ ok")
    assert any(line.strip() == "pip install torch" for line in lines)
    assert any("[red]cpu" in line for line in lines)


def test_the_app_gives_what_screens_may_ask_for() -> None:
    services: AppServices = TunerApp()  # mypy compares the signatures
    asked = [name for name in vars(AppServices) if not name.startswith("_")]
    assert asked and all(hasattr(services, name) for name in asked)
