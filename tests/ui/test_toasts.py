"""Confirmations: each is shown once, and leaves the command and the keys below it in view."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from textual.widgets._toast import Toast

from tests.ui.looking import screen_lines, until, wait_for
from tuner_tui import ui
from tuner_tui.ui.app import TunerApp

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder


async def test_a_deletion_is_confirmed_once_above_the_command(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await wait_for(pilot, "2 live")
        await pilot.press("down", "down", "delete")
        await wait_for(pilot, "Delete this run?")
        await pilot.press("y")
        await wait_for(pilot, "Deleted 2026-11-20-first-try-94b2")
        await wait_for(pilot, "9 runs")
        assert len(app.screen.query(Toast)) == 1
        *_, command, footer = screen_lines(app)
        assert command.startswith(" $ tuner-tui runs show") and command.rstrip().endswith("  c copies")
        assert "New" in footer


async def test_a_restored_run_is_confirmed_once(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await wait_for(pilot, "2 live")
        await pilot.press("m")
        await wait_for(pilot, "[1 Curves]")
        await pilot.press("down", "down", "delete")
        await wait_for(pilot, "Delete this run?")
        await pilot.press("y")
        await wait_for(pilot, "9 runs")
        await pilot.press("u")
        await wait_for(pilot, "10 runs")
        await until(pilot, lambda: len(words(app)) >= 2)
        assert [text.partition(" ")[0] for text in words(app)] == ["Deleted", "2026-11-20-first-try-94b2"]


def words(app: TunerApp) -> list[str]:
    return [notification.message for notification in app._notifications]


def test_no_handler_calls_the_one_of_its_base_class() -> None:
    """Textual calls the handlers of all base classes itself."""
    calls = [
        f"{path.name}: super().{node.func.attr}"
        for path in Path(ui.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr.startswith("on_")
        and isinstance(node.func.value, ast.Call)
        and isinstance(node.func.value.func, ast.Name)
        and node.func.value.func.id == "super"
    ]
    assert calls == []
