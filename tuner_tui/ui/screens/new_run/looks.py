"""What New run reads of its model and data: after each change of the draft, and when their files change meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import work

from tuner_tui.config.draft import UNSET
from tuner_tui.config.options import as_text, find_option, value_of
from tuner_tui.data.own_data import own_data_options
from tuner_tui.errors import TunerError
from tuner_tui.feedback.as_data import is_collection
from tuner_tui.models.listing import ModelLook, look_at_model
from tuner_tui.models.state_on_disk import Mark, mark_of_model, mark_of_path
from tuner_tui.ui.background import in_background
from tuner_tui.ui.data_looks import evaluation_of, look_at_evaluation, look_at_training, reading_of
from tuner_tui.ui.screens.new_run.memory import NewRunMemory

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec

TYPING_SECONDS = 0.15
"""Typed text is processed after a pause, not at each key."""


class NewRunLooks(NewRunMemory):
    """Owns the state's looks at model, data and held-out data."""

    def __init__(self) -> None:
        super().__init__()
        self._is_newly_taken = False
        """Whether data were taken that get their held-out rows and sample prompts once they have been read."""
        self._with_data: dict[str, str] = {}
        """What the data that were taken last began with, by key."""
        self._model_mark: Mark = ()
        self._data_mark: Mark = ()

    @work(exclusive=True, group="model-look")
    async def _look_at_model(self, spec: RunSpec) -> None:
        if self.state is None:
            return
        self.state = replace(self.state, model=None)
        self._model_mark, look = (), ModelLook()
        if spec.model.source != UNSET:
            await asyncio.sleep(TYPING_SECONDS)
            self._model_mark = await in_background(mark_of_model, spec.model.source, spec.model.revision)
            look = await in_background(look_at_model, spec.model.source, spec.model.revision)
        self.state = replace(self.state, model=look)

    @work(exclusive=True, group="data-look")
    async def _look_at_data(self, spec: RunSpec) -> None:
        if self.state is None:
            return
        data = spec.data
        self.state = replace(self.state, data=None, evaluation=None)
        await asyncio.sleep(TYPING_SECONDS)
        self._data_mark = await in_background(_mark_of_data, spec)
        train = evaluation = None
        if data.train != UNSET:
            train = await in_background(look_at_training, spec)
            evaluation = await in_background(look_at_evaluation, spec)
        self.state = replace(self.state, data=train, evaluation=evaluation)
        if self._is_newly_taken and train is not None and train.problem is None:
            self._is_newly_taken = False
            self._begin_with(await in_background(own_data_options, spec))

    def _take_back_defaults(self) -> None:
        """Other data are taken: what the data before began with goes, unless the person has changed it since."""
        if self.state is None:
            return
        draft = self.state.draft
        for key, text in self._with_data.items():
            option = find_option(draft.spec, key)
            if option is not None and draft.with_option(key, text).spec == draft.spec:
                draft = draft.with_option(key, as_text(option, value_of(draft.base, key)))
        self._with_data = {}
        self.state = replace(self.state, draft=draft)

    def _begin_with(self, options: dict[str, str]) -> None:
        """Hold rows out of newly taken data and sample their prompts, where the person has not said otherwise."""
        if self.state is None:
            return
        draft = self.state.draft
        for key, text in options.items():
            if value_of(draft.spec, key) == value_of(draft.base, key):
                draft = draft.with_option(key, text)
                self._with_data[key] = text
        if draft != self.state.draft:
            self.state = replace(self.state, draft=draft)
            self.notify(
                "A tenth of the prompts is held out to evaluate on, and some of them are answered during training; "
                "change it in the steps Data and Settings.",
                markup=False,
            )

    @work(exclusive=True, group="files")
    async def _look_for_changes(self) -> None:
        """Read model and data again when their files were added, changed or removed since."""
        state = self.state
        if state is None or not self.is_in_front or state.model is None or state.data is None:
            return
        spec = state.draft.spec
        model = await in_background(mark_of_model, spec.model.source, spec.model.revision)
        data = await in_background(_mark_of_data, spec)
        if self.state != state:  # what is read now is newer
            return
        if model != self._model_mark:
            self._look_at_model(spec)
        if data != self._data_mark:
            self._look_at_data(spec)
        if (model, data) != (self._model_mark, self._data_mark):
            self._count_rows(spec)


def _mark_of_data(spec: RunSpec) -> Mark:
    """The files of training and held-out rows; empty with collections, whose rows are read from a database."""
    if spec.data.train == UNSET or is_collection(spec.data.train) or is_collection(spec.data.evaluation):
        return ()
    try:
        readings = (reading_of(spec), evaluation_of(spec))
    except (TunerError, OSError):
        return ()
    return tuple(mark for reading in readings if reading is not None for mark in mark_of_path(reading.path))
