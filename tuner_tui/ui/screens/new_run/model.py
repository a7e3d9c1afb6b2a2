"""Step 1: the model: the demo's, then local ones; typing searches the Hub or names a path."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, on, work
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, OptionList, Static

from tuner_tui.config.draft import UNSET
from tuner_tui.errors import TunerError
from tuner_tui.models.listing import SEARCH_SHORTEST, ModelListing, list_models, search_hub, typed_model
from tuner_tui.text import count, size
from tuner_tui.ui.background import in_background
from tuner_tui.ui.path_suggester import PathSuggester
from tuner_tui.ui.widgets.literal import literal
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.ui.screens.new_run.state import NewRunState

DEBOUNCE_SECONDS = 0.3
PATH_BEGINNINGS = ("/", ".", "~")
PLACES = {
    "demo": "the demo's model",
    "cache": "in the Hub's cache on this machine",
    "folder": "a folder on this machine",
    "gguf": "a GGUF file on this machine; it is dequantised once",
    "hub": "on the Hub; downloaded when the run starts",
    "typed": "as given",
}


class ModelPane(Vertical):
    """A list filtered by typing, local models first, then results of the Hub."""

    BINDINGS = [  # noqa: RUF012
        Binding("slash", "search", "Search", priority=True, tooltip="Search the Hub, or type a path")
    ]

    class Picked(Message):
        """A model was chosen."""

        def __init__(self, listing: ModelListing, *, is_usable: bool = True) -> None:
            super().__init__()
            self.listing = listing
            self.is_usable = is_usable
            """Whether the next step can follow; a path without a model is chosen with its error."""

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._local: list[ModelListing] = []
        self._found: list[ModelListing] = []
        self._typed: ModelListing | None = None
        self._current = UNSET
        self._problem = ""
        self._hub_words = ""

    def compose(self) -> ComposeResult:
        yield SearchInput(
            placeholder="type to search the Hub, or the path of a folder or GGUF file",
            suggester=PathSuggester(),
            compact=True,
        )
        yield PickList(help_text="Local models first, then results of the Hub. Enter chooses one.")
        yield Static(classes="pane-detail")

    def on_mount(self) -> None:
        self._list_local()

    def focus_first(self) -> None:
        """In the input: what is typed here is a name, and never a key."""
        self.screen.set_focus(self.query_one(SearchInput))

    def show(self, state: NewRunState) -> None:
        """Follow the draft: select its model, and show its problem below the list."""
        problem = state.model.problem if state.model else None
        self._problem = problem.in_one_line if problem else ""
        source = state.draft.spec.model.source
        if source != self._current:
            self._current = source
            self._show_rows(source)
        self._explain()

    def listing(self, key: str | None) -> ModelListing | None:
        """The listing of a row."""
        return next((listing for listing in self._listings() if listing.source == key), None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A slash typed into an input is text."""
        return action != "search" or not isinstance(self.screen.focused, Input)

    def action_search(self) -> None:
        self.screen.set_focus(self.query_one(SearchInput))

    @work(exclusive=True, group="local-models")
    async def _list_local(self) -> None:
        self._local = await in_background(list_models, Path.cwd())
        self._show_rows(None if self._current == UNSET else self._current)

    @on(Input.Changed)
    def narrow(self, event: Input.Changed) -> None:
        event.stop()
        self._typed, self._found, self._hub_words = None, [], ""
        self._show_rows(None)
        self._search(event.value.strip())

    @work(exclusive=True, group="hub-search")
    async def _search(self, text: str, *, takes_it: bool = False) -> None:
        """Wait for the typing to pause, then ask; a newer text cancels this.

        `takes_it`: Enter came before the pause, so what was typed is looked up at once, and taken where it is a model.
        """
        if not takes_it:
            await asyncio.sleep(DEBOUNCE_SECONDS)
        if not text:
            return
        self._typed = await in_background(typed_model, text)
        self._show_rows(None)
        is_path = text.startswith(PATH_BEGINNINGS)
        if takes_it and self._typed is not None and (is_path or "/" in text or not self._typed.remark):
            self.post_message(self.Picked(self._typed))
            return
        if takes_it and is_path:
            self.app.bell()
            self.post_message(self.Picked(_as_typed(text), is_usable=False))
            return
        is_local = is_path or (self._typed is not None and not self._typed.remark)
        if len(text) < SEARCH_SHORTEST or is_local:
            return
        self._say("Searching the Hub ...")
        try:
            self._found = await in_background(search_hub, text)
        except TunerError as error:
            self._say(error.in_one_line)
        else:
            self._say("" if self._found else "No text model of this name on the Hub.")
        self._show_rows(None)

    @on(Input.Submitted)
    def take_first(self, event: Input.Submitted) -> None:
        """Take the selected line, or what was typed when that is a path or matches no line yet."""
        event.stop()
        text = event.value.strip()
        listing = self.listing(self.query_one(PickList).picked_key)
        is_other_path = text.startswith(PATH_BEGINNINGS) and (listing is None or listing.source != text)
        if text and (listing is None or is_other_path):
            self._search(text, takes_it=True)
        elif listing is not None:
            self.post_message(self.Picked(listing))

    @property
    def typed_choice(self) -> ModelListing | None:
        """What stands in the input and names a model, where it is not chosen yet; None for words to search for."""
        text = self.query_one(SearchInput).value.strip()
        if text == self._current or not (text.startswith(PATH_BEGINNINGS) or "/" in text):
            return self.listing(text) if text != self._current else None
        return self.listing(text) or _as_typed(text)

    @on(OptionList.OptionSelected)
    def pick(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        listing = self.listing(event.option_id)
        if listing is not None:
            self.post_message(self.Picked(listing))

    @on(OptionList.OptionHighlighted)
    def _explain(self) -> None:
        if not self.query(".pane-detail"):
            return
        listing = self.listing(self.query_one(PickList).picked_key)
        words = self._hub_words
        if not words and listing is not None:
            words = self._problem if listing.source == self._current and self._problem else _describe(listing)
        detail = self.query_one(".pane-detail", Static)
        is_problem = words == self._problem and bool(words)
        detail.set_class(is_problem, "-problem")
        detail.update(literal(f"! {words}" if is_problem else words))

    def _say(self, words: str) -> None:
        self._hub_words = words
        self._explain()

    def _listings(self) -> list[ModelListing]:
        """The visible listings, in order."""
        typed = self.query_one(SearchInput).value.strip().lower()
        local = [listing for listing in self._local if typed in f"{listing.name} {listing.source}".lower()]
        listings = [self._typed, *local] if self._typed and not self._is_known(self._typed, local) else local
        listings += [listing for listing in self._found if not self._is_known(listing, listings)]
        is_wanted = self._current != UNSET and typed in ("", self._current.lower())
        if is_wanted and self._current not in [listing.source for listing in listings]:
            listings.insert(1, _as_typed(self._current))
        return listings

    def _is_known(self, listing: ModelListing, listings: list[ModelListing]) -> bool:
        return listing.source in [other.source for other in listings]

    def _show_rows(self, key: str | None) -> None:
        if not self.query(PickList):  # the screen is being taken down
            return
        self.query_one(PickList).show(tuple(map(_row, self._listings())), key)
        self._explain()


class SearchInput(Input):
    """An input above a list, whose cursor moves while the person types."""

    BINDINGS = [  # noqa: RUF012
        *(
            Binding(key, f"move('{action}')", words, show=False)
            for key, action, words in (
                ("up", "cursor_up", "Line above"),
                ("down", "cursor_down", "Line below"),
                ("pageup", "page_up", "Page up"),
                ("pagedown", "page_down", "Page down"),
            )
        ),
        Binding("enter", "submit", "Choose", show=True, tooltip="Choose the selected line"),
    ]
    help_text = (
        "A name searches the Hub; a path is a folder or a file on this machine, and the right arrow completes it. Up "
        "and down move in the list meanwhile, Enter chooses, tab goes to the list."
    )

    def action_move(self, action: str) -> None:
        """Move the cursor of the list below."""
        for pick_list in self.parent.query_children(PickList) if self.parent else ():
            getattr(pick_list, f"action_{action}")()

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape" and self.value:
            event.stop()
            event.prevent_default()
            self.value = ""


def _as_typed(source: str) -> ModelListing:
    """A model that is in no list."""
    return ModelListing(source, source, "typed", remark="as given")


def _row(listing: ModelListing) -> PickRow:
    gated = {True: "gated", False: "open", None: ""}[listing.gated]
    cells = (
        size(listing.size_bytes) if listing.size_bytes else "",
        _short_count(listing.parameters) if listing.parameters else "",
        listing.licence or "",
        gated,
        listing.remark or {"hub": "on the Hub", "typed": ""}.get(listing.origin, ""),
    )
    name = f"demo: {listing.name}" if listing.origin == "demo" else listing.name
    return PickRow(listing.source, name, cells)


def _short_count(parameters: int) -> str:
    """Parameters as in model names: 135M, 1.7B."""
    for unit, scale in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if parameters >= scale:
            value = parameters / scale
            return f"{value:.1f}{unit}" if value < 10 else f"{value:.0f}{unit}"
    return str(parameters)


def _describe(listing: ModelListing) -> str:
    gated = {True: "gated: accept its terms on the Hub first", False: "not gated", None: ""}[listing.gated]
    parts = (
        PLACES[listing.origin],
        f"{count(listing.parameters)} parameters" if listing.parameters else "",
        f"licence {listing.licence or 'unknown'}",
        gated,
        listing.remark if listing.remark != PLACES[listing.origin] else "",
    )
    return f"{listing.name}: {', '.join(part for part in parts if part)}"
