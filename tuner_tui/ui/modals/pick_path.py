"""Asks where to write a file; overwriting needs a second Enter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tuner_tui.files import expanded
from tuner_tui.ui.path_suggester import PathSuggester
from tuner_tui.ui.widgets.literal import literal

if TYPE_CHECKING:
    from textual.app import ComposeResult


class PickPath(ModalScreen[Path | None]):
    """Returns a path to write, or None."""

    BINDINGS = [("escape", "dismiss(None)", "Close")]  # noqa: RUF012

    def __init__(self, title: str, path: Path) -> None:
        super().__init__()
        self._title = title
        self._path = path
        self._asked: Path | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(literal(self._title), classes="title")
            yield Input(str(self._path), suggester=PathSuggester(), compact=True, select_on_focus=False)
            yield Static("Enter writes it, → completes the path, esc cancels.", classes="hint")

    @on(Input.Changed)
    def forget_question(self) -> None:
        self._asked = None

    @on(Input.Submitted)
    def take(self, event: Input.Submitted) -> None:
        hint = self.query_one(".hint", Static)
        if not event.value.strip():
            hint.update("Name a file.")
            return
        path = expanded(Path(event.value.strip()))
        if path.is_dir():
            path = path / self._path.name
        if path.exists() and path != self._asked:
            self._asked = path
            hint.update(literal(f"{path} exists. Enter again overwrites it."))
        elif not path.absolute().parent.is_dir():
            hint.update(literal(f"There is no folder {path.absolute().parent}."))
        else:
            self.dismiss(path)
