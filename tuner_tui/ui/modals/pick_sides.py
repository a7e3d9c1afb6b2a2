"""Asks which models answer: runs and their bases to mark, and any other model by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from tuner_tui.errors import TunerError
from tuner_tui.generation.candidates import candidate_of, sides_here
from tuner_tui.generation.messages import Candidate
from tuner_tui.ui.background import in_background
from tuner_tui.ui.widgets.literal import literal
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult

    from tuner_tui.runs.folder import RunFolder

MOST_CANDIDATES = 4
KINDS = {True: "tuned", False: "as it is"}


class SideList(PickList):
    """The sides; space marks, Enter starts with the marked ones."""

    BINDINGS = [  # noqa: RUF012
        Binding("space", "mark", "Mark", tooltip="Mark this model to answer, or unmark it"),
        Binding("enter", "start", "Start", tooltip="Start with the marked models"),
    ]

    def action_mark(self) -> None:
        self.screen.mark(self.picked_key)  # type: ignore[attr-defined]

    def action_start(self) -> None:
        self.screen.start()  # type: ignore[attr-defined]


class PickSides(ModalScreen[tuple[Candidate, ...] | None]):
    """Returns one to four candidates, or None."""

    DEFAULT_CSS = """
    PickSides SideList { height: auto; max-height: 12; }
    PickSides Input { margin-top: 1; }
    """
    BINDINGS = [Binding("escape", "dismiss(None)", "Back", key_display="esc")]  # noqa: RUF012

    def __init__(
        self, marked: Sequence[str] = (), run: RunFolder | None = None, title: str = "Models to chat with"
    ) -> None:
        """`marked` are sides as `candidate_of` reads them; without any, a run (the last one) and its base."""
        super().__init__()
        self._title = title
        self._marked = list(marked)
        self._sides = list(marked)
        self._run = run
        self._is_read = self._is_due = False
        """Whether the sides are known, and whether Enter came before they were."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._title, classes="title", markup=False)
            yield SideList(help_text="Space marks a model, Enter starts with the marked ones.")
            yield Input(placeholder="another: MODEL, or MODEL+ADAPTER; Enter adds it", compact=True)
            yield Static(_HINT, classes="hint")

    def on_mount(self) -> None:
        self.query_one(SideList).focus()
        self._read()

    @work(exclusive=True)
    async def _read(self) -> None:
        run = None if self._run is None else self._run.name
        chosen, sides = await in_background(sides_here, run)
        marked = {_known(side) for side in self._marked}
        self._sides = list(
            dict.fromkeys((*self._marked, *(side for side in sides if _known(side) not in marked)))
        )
        self._marked = self._marked or list(chosen)
        self._is_read = True
        self._show()
        if self._is_due:
            self.start()

    def _show(self) -> None:
        rows = [
            PickRow(side, f"{'●' if side in self._marked else '○'} {side}", (KINDS["+" in side],))
            for side in self._sides
        ]
        self.query_one(SideList).show(tuple(rows))

    def mark(self, side: str | None) -> None:
        """Mark a side to answer, or unmark it."""
        if side is None:
            return
        if side in self._marked:
            self._marked.remove(side)
        elif len(self._marked) == MOST_CANDIDATES:
            self._say(f"At most {MOST_CANDIDATES} models answer at once: unmark one first.")
            return
        else:
            self._marked.append(side)
        self._say(_HINT)
        self._show()

    def start(self) -> None:
        """Return the marked sides, in the order of the list; as soon as they are known, when Enter came before."""
        self._is_due = not self._is_read
        if self._is_due:
            return
        chosen = [side for side in self._sides if side in self._marked]
        if not chosen:
            self._say("Mark at least one model with space.")
            return
        try:
            candidates = tuple(dict.fromkeys(map(candidate_of, chosen)))
        except (TunerError, OSError) as error:
            self._say(str(error))
            return
        self.dismiss(candidates)

    @on(OptionList.OptionSelected)
    def mark_clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.mark(event.option_id)

    @on(Input.Submitted)
    def add(self, event: Input.Submitted) -> None:
        event.stop()
        side = event.value.strip()
        if not side:
            return
        try:
            candidate_of(side)
        except (TunerError, OSError) as error:
            self._say(str(error))
            return
        event.input.clear()
        if side not in self._sides:
            self._sides.insert(0, side)
        if side not in self._marked:
            self.mark(side)
        self._show()
        self.query_one(SideList).focus()

    def _say(self, words: str) -> None:
        self.query_one(".hint", Static).update(literal(words))


def _known(side: str) -> tuple[str, str | None] | str:
    """What a side stands for: a run's name and its adapter's folder are the same one."""
    try:
        candidate = candidate_of(side)
    except (TunerError, OSError):
        return side
    return candidate.base.source, candidate.adapter


_HINT = "space marks, Enter starts, tab goes to the field, esc cancels."
