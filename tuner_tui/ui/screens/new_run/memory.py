"""The memory of New run: free memory, row lengths, and the draft's estimate, updated after each change."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import work
from textual.binding import Binding
from textual.reactive import reactive

from tuner_tui.config.draft import UNSET
from tuner_tui.errors import TunerError
from tuner_tui.feedback.as_data import with_collections
from tuner_tui.hardware.free_memory import FreeMemory, read_free_memory
from tuner_tui.planning.measurement import Measured
from tuner_tui.planning.place import UNCOUNTED, Place, Rows, leave_free_bytes, place_of
from tuner_tui.planning.planner import MemoryPlan, plan_memory
from tuner_tui.planning.run_time import UNKNOWN, Outlook, outlook_of
from tuner_tui.planning.storage import storage_of
from tuner_tui.planning.table import MemoryTable, memory_table
from tuner_tui.planning.this_machine import rows_of
from tuner_tui.planning.what_if import gpu_of
from tuner_tui.runs.lineage import as_started
from tuner_tui.runs.measurements import all_measured
from tuner_tui.ui.background import in_background
from tuner_tui.ui.modals.memory_terms import MemoryTermsModal
from tuner_tui.ui.modals.pick_gpu import PickGpu
from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.screens.new_run.review import ReviewPane
from tuner_tui.ui.screens.new_run.state import NewRunState, Step, model_name
from tuner_tui.ui.widgets.memory_panel import MemoryPanel, MemoryView

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.listing import ModelLook

COALESCE_SECONDS = 0.02
"""Changes within this time are shown as one."""
COUNTING_SECONDS = 0.3
"""Rows are counted after a pause in typing."""


class NewRunMemory(TunerScreen):
    """Owns the memory panel; the screen reports changes of the draft."""

    BINDINGS = [  # noqa: RUF012
        Binding("m", "show_terms", "Memory", tooltip="All terms of the memory, and the plan's reasons"),
        Binding(
            "f4", "what_if", "GPU", tooltip="See what would fit on another GPU; the run stays on this machine"
        ),
    ]

    state: reactive[NewRunState | None] = reactive[NewRunState | None](None, init=False)
    step: reactive[Step | None] = reactive[Step | None](None, init=False)
    free: reactive[FreeMemory | None] = reactive[FreeMemory | None](None, init=False)

    def __init__(self) -> None:
        super().__init__()
        self._hub_parameters: dict[str, int | None] = {}
        self._panel = MemoryPanel()
        self._rows = UNCOUNTED
        self._measured: list[Measured] = []
        self._leave_bytes = leave_free_bytes()
        self._is_memory_due = False
        self._what_if = ""
        """Advertised memory of a GPU that the panel shows in place of this machine, such as `24 GB`."""

    @work(exclusive=True, group="measured")
    async def _read_measured(self) -> None:
        self._measured = await in_background(all_measured)
        self._show_memory()

    @work(exclusive=True, group="memory")
    async def _read_memory(self) -> None:
        device = self.state.draft.spec.machine.device if self.state else "auto"
        self.free = await in_background(read_free_memory, device)

    def watch_free(self) -> None:
        self._show_memory()

    @work(exclusive=True, group="row-count")
    async def _count_rows(self, spec: RunSpec) -> None:
        """Row lengths, which decide the memory of the longest batch."""
        self._take_rows(UNCOUNTED)
        if UNSET in (spec.model.source, spec.data.train):
            return
        await asyncio.sleep(COUNTING_SECONDS)
        self._take_rows(await in_background(_rows_of, spec))
        self._show_memory()

    def _take_rows(self, rows: Rows) -> None:
        """Use what was counted; Review reads the token IDs in it."""
        self._rows = rows
        if self.state is not None and self.state.rows != rows:
            self.state = replace(self.state, rows=rows)

    @property
    def _place(self) -> Place | None:
        return None if self.free is None else place_of(self.free, self._leave_bytes, self._measured)

    @work
    async def action_what_if(self) -> None:
        """Show the memory on a GPU that is not here, until this machine is chosen again."""
        place = self._place
        chosen = await self.app.push_screen_wait(PickGpu(place.name if place else "", self._what_if))
        if chosen is not None:
            self._what_if = chosen
            self._show_memory()

    def action_show_terms(self) -> None:
        view = self._panel.view
        row = view.table.chosen_row if view.table else None
        if row is None or view.place is None or self.state is None or self.state.model is None:
            return
        outlook = view.outlook.words or view.outlook.rough_words
        look, beside = self.state.model, [outlook] if outlook else []
        if look.source is not None and look.facts is not None:
            beside += storage_of(self._started(self.state), look.source, look.facts, row.estimate).lines
        beside += [
            f"{name} uses {used_bytes / 1e9:.1f} GB of {view.place.name}" for name, used_bytes in view.holders
        ]
        beside += [view.note] if view.note else []
        self.app.push_screen(
            MemoryTermsModal(view.model, row, view.place, self._plan(view.place), tuple(beside))
        )

    @property
    def _is_whole(self) -> bool:
        """False while the screen is being taken down, when an answer may still arrive."""
        return self._panel.is_attached

    def _show_memory(self) -> None:
        """Update soon, once for a burst of changes."""
        if not self._is_memory_due:
            self._is_memory_due = True
            self.set_timer(COALESCE_SECONDS, self._show_memory_now)

    def _show_memory_now(self) -> None:
        self._is_memory_due = False
        if not self._is_whole:
            return
        state, panel, what_if = self.state, self._panel, self._what_if
        place = gpu_of(what_if) if what_if else self._place
        if state is None or state.draft.spec.model.source == UNSET:
            panel.view = MemoryView(place=place, what_if=what_if)
            return
        spec, look = self._started(state), state.model
        table = None
        if look is not None:
            table = memory_table(spec, look.facts, place or Place(is_gpu=False), self._rows)
        panel.view = MemoryView(
            model=model_name(state),
            table=table,
            parameters=self._parameters(spec, look),
            place=place,
            holders=self.free.holders if self.free and not what_if else (),
            is_waiting=look is None,
            note=self.free.note if self.free and not what_if else "",
            outlook=self._outlook(spec, table, place),
            what_if=what_if,
        )
        self._show_plan()
        self.refresh_bindings()

    def _parameters(self, spec: RunSpec, look: ModelLook | None) -> int | None:
        """The model's parameter count, by its headers or the Hub; None for quantised weights."""
        if look is None or look.facts is None:
            return self._hub_parameters.get(spec.model.source)
        return None if look.facts.quantisation else look.facts.parameters

    def _outlook(self, spec: RunSpec, table: MemoryTable | None, place: Place | None) -> Outlook:
        """The expected time of the run, from earlier runs, or else by arithmetic."""
        row = table.chosen_row if table else None
        look = self.state.model if self.state else None
        if row is None or place is None or look is None or look.source is None:
            return UNKNOWN
        data = self.state.data if self.state else None
        count = data.rows if data and not data.problem and not data.is_partial else None
        name, shape = look.source.name, row.estimate.shape
        return outlook_of(spec, row.load, self._rows, place.measured, name, shape=shape, count=count)

    def _started(self, state: NewRunState) -> RunSpec:
        """The draft's spec, with rank and targets of the adapter that it starts from."""
        spec, source = state.draft.spec, state.model.source if state.model else None
        if spec.model.adapter is None or source is None:
            return spec
        try:
            return as_started(spec, source)
        except TunerError:  # shown on the Model step
            return spec

    def _plan(self, place: Place | None) -> MemoryPlan | None:
        """The plan by memory at a place, for the chosen model."""
        if self.state is None or self.state.model is None or place is None:
            return None
        return plan_memory(self._started(self.state), self.state.model.facts, place, self._rows)

    def _show_plan(self) -> None:
        """Show the plan for this machine in Review."""
        if self.step == "review" and (panes := self.query(ReviewPane)):
            outlook = UNKNOWN if self._what_if else self._panel.view.outlook
            panes.only_one().show_plan(self._plan(self._place), outlook)


def _rows_of(spec: RunSpec) -> Rows:
    """The rows of files and of collections alike."""
    try:
        return rows_of(with_collections(spec))
    except TunerError:  # shown on the Data step
        return UNCOUNTED
