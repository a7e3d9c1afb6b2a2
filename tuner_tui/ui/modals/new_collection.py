"""Asks for a new collection's name, models and prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from textual import on, work
from textual.binding import Binding
from textual.containers import Vertical
from textual.reactive import var
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tuner_tui.errors import TunerError
from tuner_tui.feedback.collections import collection_path, open_or_create
from tuner_tui.feedback.importing import read_import
from tuner_tui.feedback.records import MODES, CollectionSettings
from tuner_tui.feedback.saved_rows import keep_rows
from tuner_tui.generation.candidates import candidate_of
from tuner_tui.ui.widgets.literal import literal

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.feedback.records import Mode
    from tuner_tui.generation.messages import Candidate


class SidesField(Static, can_focus=True):
    """The chosen models, on one line."""

    DEFAULT_CSS = """
    SidesField { height: 1; background: $surface; }
    SidesField:focus { background: $primary 30%; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("space", "choose", "Models"),
        Binding("backspace", "clear", "No models"),
        Binding("enter", "app.focus_next", "Next field", show=False),
    ]

    sides: var[tuple[Candidate, ...]] = var((), init=False)

    def on_mount(self) -> None:
        self.sides = (candidate_of("demo"),)

    def watch_sides(self, sides: tuple[Candidate, ...]) -> None:
        self.update(literal(", ".join(side.name for side in sides) or "none"))

    @work
    async def action_choose(self) -> None:
        from tuner_tui.ui.modals.pick_sides import PickSides

        marked = tuple(side.text for side in self.sides)
        chosen = await self.app.push_screen_wait(PickSides(marked, title="Models that answer"))
        if chosen:
            self.sides = chosen

    def action_clear(self) -> None:
        self.sides = ()


class NewCollection(ModalScreen[str | None]):
    """Returns the name of the created collection, or None."""

    BINDINGS = [("escape", "dismiss(None)", "Back")]  # noqa: RUF012

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("New collection", classes="title")
            yield Static("Name")
            yield Input(placeholder="evening-1", id="name", compact=True)
            yield Static("Models: space chooses them, backspace none (answers from a file)")
            yield SidesField(id="sides")
            yield Static("A file of prompts, or of rows with answers")
            yield Input(placeholder="prompts.jsonl", id="file", compact=True)
            yield Static(f"Mode: {', '.join(MODES)}")
            yield Input("pairs", id="mode", compact=True)
            yield Static(
                "Enter goes to the next field and creates it after the last; esc goes back.", classes="hint"
            )

    def on_mount(self) -> None:
        self.query_one("#name").focus()

    @on(Input.Submitted)
    def go_on(self, event: Input.Submitted) -> None:
        if event.input.id != "mode":
            self.focus_next()
            return
        try:
            self.dismiss(self._make())
        except (TunerError, OSError) as error:
            self.query_one(".hint", Static).update(literal(str(error)))

    def _make(self) -> str:
        """Create it. Raises TunerError."""
        value = {field.id: field.value.strip() for field in self.query(Input)}
        name = value["name"]
        if collection_path(name).exists():
            raise TunerError("The collection exists already", name)
        if value["mode"] not in MODES:
            raise TunerError("Unknown mode", value["mode"])
        mode: Mode = next(known for known in MODES if known == value["mode"])
        sides = self.query_one(SidesField).sides
        imported = None
        if value["file"]:
            from tuner_tui.data.files.rows import locate

            imported = read_import(locate(value["file"]), prompts_only=bool(sides))
        settings = msgspec.structs.replace(CollectionSettings(), mode=mode, candidates=sides)
        with open_or_create(name, settings) as store:
            if imported is not None:
                report = keep_rows(store, imported.rows, annotator=f"file:{value['file'].rpartition('/')[2]}")
                if remarks := [*imported.lines(), *report.lines()[1:]]:
                    self.app.notify("\n".join(remarks), title=report.lines()[0], timeout=20, markup=False)
        return name
