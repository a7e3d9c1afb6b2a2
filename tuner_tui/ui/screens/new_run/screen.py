"""The New run screen: from a preset through five steps to a started run."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.app import SuspendNotSupported
from textual.binding import Binding
from textual.containers import Container, Vertical
from textual.message import Message
from textual.widgets import ContentSwitcher, Input, TextArea

from tuner_tui import guarded
from tuner_tui.config.draft import Draft
from tuner_tui.config.spec_paths import resolve_paths
from tuner_tui.config.spec_writer import spec_text, write_spec
from tuner_tui.config.unfinished import forget_unfinished, keep_unfinished
from tuner_tui.errors import TunerError
from tuner_tui.files import path_problem
from tuner_tui.guarded import Unreadable
from tuner_tui.models.untrusted_code import UntrustedCode
from tuner_tui.text import shell_command
from tuner_tui.ui.data_looks import of_file
from tuner_tui.ui.editor import edit_text
from tuner_tui.ui.hub_words import ProgressReporter, WorkProgress
from tuner_tui.ui.modals.confirm import ConfirmModal
from tuner_tui.ui.modals.pick_path import PickPath
from tuner_tui.ui.modals.save_preset import SavePreset
from tuner_tui.ui.screens.base import ActionFailed, RunMade, tell_result
from tuner_tui.ui.screens.new_run.data import DataPane
from tuner_tui.ui.screens.new_run.looks import NewRunLooks
from tuner_tui.ui.screens.new_run.method import MethodPane
from tuner_tui.ui.screens.new_run.model import ModelPane
from tuner_tui.ui.screens.new_run.review import ReviewPane
from tuner_tui.ui.screens.new_run.settings import SettingsPane
from tuner_tui.ui.screens.new_run.start import StartPane
from tuner_tui.ui.screens.new_run.state import STEPS, NewRunState, Step, problem_words, step_of
from tuner_tui.ui.screens.new_run.steps import StepList, StepPicked
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.option_field import OptionField
from tuner_tui.ui.widgets.probe_line import ProbeLine

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.listing import ModelListing
    from tuner_tui.planning.proposals import Proposal
    from tuner_tui.runs.folder import RunFolder

KEEPING_SECONDS = 1.0
"""A draft is written after a pause in changes."""
MEMORY_SECONDS = 3.0
"""How often free memory is read."""
FILES_SECONDS = 2.0
"""How often the files of model and data are compared with what was read."""


class RunLaunched(RunMade):
    """The run was created and queued."""


class LaunchRefused(ActionFailed):
    """The run could not be started."""


class LaunchCancelled(Message):
    """The person cancelled a download that the run needs."""


class NewRunScreen(NewRunLooks):
    """One immutable draft; panes show it and report changes, each of which gives a new draft."""

    CSS_PATH = "screen.tcss"
    TITLE_WORDS = "New run"
    HELP_TEXT = (
        "Five steps. Enter chooses a line and continues; ctrl+n continues without a change, ctrl+o goes back, and 1 to "
        "5 go to a step. The table shows the run's memory in each precision and is updated with every change; m shows "
        "its terms, and f4 what would fit on another GPU."
    )
    BINDINGS = [  # noqa: RUF012
        Binding("ctrl+n", "move(1)", "Next step", tooltip="Continue without a change"),
        Binding("ctrl+o", "move(-1)", "Back", tooltip="Previous step"),
        *(
            Binding(
                str(number),
                f"go_to('{step}')",
                f"Step {number}",
                show=False,
                tooltip=f"To {step.capitalize()}",
            )
            for number, step in enumerate(STEPS, 1)
        ),
        Binding("x", "cancel_download", "Cancel", tooltip="Cancel the download; what arrived is kept"),
        Binding("escape", "leave", "Leave", tooltip="Back to where you came from"),
        Binding("q", "app.quit", "Quit", show=False, tooltip="Close the app"),
    ]

    def __init__(self, spec: RunSpec | None = None, text: str | None = None) -> None:
        super().__init__()
        self._given = Draft.of_spec(spec, text) if spec is not None else None
        self._is_starting = False
        self._is_downloading = False
        self._cancel = threading.Event()
        """Ends the downloads that a start needs."""
        self._file = "run.toml"
        """The file that the command names, where the run needs one."""
        self._has_kept = False
        """Whether the unfinished run on disk is this one."""
        self._goal = ""
        """The title of the goal that it started from; empty without one."""
        self._launched: RunFolder | None = None
        """The run that was started here and is to be shown."""
        self._steps = StepList()

    @property
    def headless_command(self) -> str:
        return self.state.draft.command(self._file) if self.state else "tuner-tui presets list"

    def prepare_command(self) -> str:
        """The command, with the run.toml that it names written: into this folder, over no other file."""
        if self.state is None or not self.state.draft.needs_file:
            return self.headless_command
        draft = self.state.draft
        if draft.problems:
            raise TunerError("There is no run to copy yet", problem_words(draft.problems[0]))
        spec = resolve_paths(draft.spec, Path.cwd())
        text = spec_text(spec, draft.text, is_recipe=draft.is_recipe)
        numbered = ("run.toml", *(f"run-{number}.toml" for number in range(2, 1000)))
        path = next(path for path in map(Path, numbered) if not path.exists() or _has_text(path, text))
        if not path.exists():
            try:
                write_spec(spec, path, base_text=draft.text, is_recipe=draft.is_recipe)
            except OSError as error:
                raise TunerError(
                    "run.toml cannot be written", path_problem(error, path.absolute())
                ) from error
        self._file = path.name
        self.refresh_command()
        return self.headless_command

    def compose_body(self) -> ComposeResult:
        with Container(id="new-run"):
            with Vertical(id="aside"):
                yield self._steps
                yield self._panel
            if self._given is None:
                yield ContentSwitcher(StartPane(id="start-pane"), initial="start-pane", id="panes")
            else:
                yield ContentSwitcher(id="panes")

    def on_mount(self) -> None:
        self._read_measured()
        self._read_memory()
        self.set_interval(MEMORY_SECONDS, self._read_memory)
        self.set_interval(FILES_SECONDS, self._look_for_changes)
        if self._given is None:
            self.query_one(StartPane).focus_first()
            self._show_memory()
        self.call_after_refresh(self._open)

    async def _open(self) -> None:
        """Once the screen is painted: the panes of the steps, and the run that was given."""
        await self._add_panes()
        if self._given is not None:
            self._begin(self._given, "model" if "model.source" in self._given.missing else "settings")

    async def _add_panes(self) -> None:
        """Add the panes of the steps, once."""
        if self.query(ReviewPane):
            return
        draft = self._given or Draft.blank()
        panes = (
            ModelPane(id="model"),
            DataPane(draft, id="data"),
            MethodPane(id="method"),
            SettingsPane(draft, id="settings"),
            ReviewPane(id="review"),
        )
        for pane in panes:
            pane.display = False
        await self.query_one(ContentSwitcher).mount_all(panes)
        self.query_one(ReviewPane).show_error(None)

    # Steps -------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[Any, ...]) -> bool | None:
        is_typing = isinstance(self.focused, Input | TextArea)
        match action:
            case "move":
                index = STEPS.index(self.step) + parameters[0] if self.step else -1
                return 0 <= index < len(STEPS)
            case "go_to":
                return self.step is not None and not is_typing
            case "cancel_download":
                return self._is_downloading
            case "show_terms":
                return self._panel.view.table is not None and not is_typing
        return True

    def action_move(self, by: int) -> None:
        if self.step is not None:
            self.action_go_to(STEPS[STEPS.index(self.step) + by])

    def action_go_to(self, step: Step) -> None:
        """Go to a step, with the path that was typed in this one: the run would else use the one before."""
        pane = self.query_one(f"#{self.step}") if self.step is not None else None
        if isinstance(pane, ModelPane) and (listing := pane.typed_choice) is not None:
            self._take_listing(listing)
        elif isinstance(pane, DataPane) and (name := pane.typed_choice) is not None:
            self._take_file(name)
        self.step = step

    @on(StepPicked)
    def go_to_clicked(self, message: StepPicked) -> None:
        if self.step is not None:
            self.action_go_to(message.step)

    async def watch_step(self, step: Step | None) -> None:
        if step is None:
            return
        await self._add_panes()
        self._steps.current = step
        self.query_one(ContentSwitcher).current = step
        pane = self.query_one(f"#{step}", ModelPane | DataPane | MethodPane | SettingsPane | ReviewPane)  # type: ignore[arg-type]
        if isinstance(pane, SettingsPane):
            await pane.build()
        await self._show_pane(step)
        self._show_plan()
        pane.focus_first()
        self._show_title()
        self.refresh_bindings()

    def _begin(self, draft: Draft, step: Step) -> None:
        self.state = NewRunState(draft)
        self.step = step

    # The draft ---------------------------------------------------------------------------------------------

    @on(StartPane.Picked)
    def begin(self, message: StartPane.Picked) -> None:
        if message.unfinished is not None:
            self._has_kept = True
            self._begin(message.unfinished, "review" if message.unfinished.broken else "model")
            return
        try:
            draft = Draft.of_preset(message.preset) if message.preset else Draft.blank()
        except TunerError as error:
            self.show_error(error)
            return
        self._begin(draft, "model")

    @on(StartPane.GoalWanted)
    def choose_goal(self) -> None:
        from tuner_tui.ui.screens.pick import PickScreen

        self.app.push_screen(PickScreen(self._begin_for_goal))

    def _begin_for_goal(self, proposal: Proposal) -> None:
        """Begin with what was proposed: only the data are missing."""
        self._goal = proposal.goal.title
        self._begin(replace(Draft.blank(), spec=proposal.spec), "data")

    @on(ModelPane.Picked)
    def take_model(self, message: ModelPane.Picked) -> None:
        self._take_listing(message.listing)
        if message.is_usable:
            self.step = "data"

    def _take_listing(self, listing: ModelListing) -> None:
        self._hub_parameters[listing.source] = listing.parameters
        self._change("model.source", listing.source)

    @on(DataPane.Picked)
    def take_data(self, message: DataPane.Picked) -> None:
        self._take_file(message.name)
        if message.is_usable:
            self.step = "review" if self._goal else "method"  # the rest was proposed

    def _take_file(self, name: str) -> None:
        """Use other data, without the previous column mapping."""
        self._take_back_defaults()
        if self.state is not None:
            data = of_file(self.state.draft.spec, name).data
            for key in ("split", "encoding", "mapping", "fixes", "shape", "also"):
                if getattr(self.state.draft.spec.data, key) != getattr(data, key):
                    self._change(f"data.{key}", "")
            self._change("data.train", name)
            self._is_newly_taken = True

    @on(DataPane.Inspected)
    def inspect(self, message: DataPane.Inspected) -> None:
        if self.state is None:
            return
        from tuner_tui.ui.screens.data.screen import DataScreen

        spec = of_file(self.state.draft.spec, message.name)
        self.app.push_screen(
            DataScreen(spec, lambda changes: self._take_changes(message.name, changes), message.part)
        )

    def _take_changes(self, name: str, changes: dict[str, str]) -> None:
        """Apply changes made while inspecting data, which becomes the data of this run."""
        if not changes or self.state is None:
            return
        if self.state.draft.spec.data.train != name:
            self._take_file(name)
        for key, text in changes.items():
            self._change(key, text)

    @on(MethodPane.Picked)
    def take_kind(self, message: MethodPane.Picked) -> None:
        self._change(f"{message.section}.kind", message.kind)
        if message.is_last:
            self.step = "settings"

    @on(SettingsPane.WentOn)
    def review(self) -> None:
        self.step = "review"

    @on(OptionField.Changed)
    def take_option(self, message: OptionField.Changed) -> None:
        self._change(message.key, message.text)

    @on(ReviewPane.ProblemPicked)
    async def go_to_problem(self, message: ReviewPane.ProblemPicked) -> None:
        self.step = step_of(message.key)
        self.call_after_refresh(self._focus_option, message.key)

    async def _focus_option(self, key: str) -> None:
        pane = self.query_one(f"#{step_of(key)}")
        if isinstance(pane, DataPane | MethodPane | SettingsPane):
            await pane.focus_option(key)

    def _change(self, key: str, text: str) -> None:
        if self.state is not None:
            self.state = replace(self.state, draft=self.state.draft.with_option(key, text))

    async def watch_state(self, old: NewRunState | None, state: NewRunState | None) -> None:
        """Reload what a change affects, and show the rest at once."""
        if state is None or not self._is_whole:
            return
        if old is not None and old.draft != state.draft:
            self._keep_soon(state.draft)
        before, now = old.draft.spec if old else None, state.draft.spec
        if before is None or (before.model.source, before.model.revision) != (
            now.model.source,
            now.model.revision,
        ):
            self._look_at_model(now)
        if before is None or (before.data, before.method.kind) != (now.data, now.method.kind):
            self._look_at_data(now)
        if before is None or (before.data, before.model.source) != (now.data, now.model.source):
            self._count_rows(now)
        if before is None or before.machine.device != now.machine.device:
            self._read_memory()
        self._steps.show(state)
        self._show_memory()
        self._show_title()
        self.refresh_command()
        if self.step is not None:
            await self._show_pane(self.step)

    async def _show_pane(self, step: Step) -> None:
        """Update the visible pane; others are updated when they become visible."""
        if self.state is None:
            return
        pane = self.query_one(f"#{step}")
        if isinstance(pane, DataPane | SettingsPane):
            await pane.show(self.state)
        elif isinstance(pane, ModelPane | MethodPane | ReviewPane):
            pane.show(self.state)

    def _show_title(self) -> None:
        bar = self.query_one(TitleBar)
        if self.state is None or self.step is None:
            return
        preset = self.state.draft.preset
        bar.words = (
            f"New run from {preset}" if preset else f"New run: {self._goal}" if self._goal else "New run"
        )
        state = self.state.step(self.step)
        bar.state = f"step {STEPS.index(self.step) + 1} of {len(STEPS)}: {state.words}"

    # Review ------------------------------------------------------------------------------------------------

    @on(ReviewPane.Asked)
    def do(self, message: ReviewPane.Asked) -> None:
        match message.what:
            case "start":
                self._start()
            case "probe" if self.state and not self.state.problems:
                self.query_one(ReviewPane).probe.start(resolve_paths(self.state.draft.spec, Path.cwd()))
                self.refresh_bindings()
            case "end probe":
                self.query_one(ReviewPane).probe.cancel()
            case "edit":
                self._edit()
            case "write":
                self._write()
            case "preset":
                self._save_preset()
            case "drop" if self.state:
                self.state = replace(self.state, draft=self.state.draft.without_broken())

    @on(ProbeLine.Ended)
    def learn_from_probe(self) -> None:
        self._read_measured()
        self.refresh_bindings()

    def _start(self) -> None:
        if self.state is None or self._is_starting or self.state.problems:
            return
        self._is_starting = True
        self._cancel.clear()
        pane = self.query_one(ReviewPane)
        pane.probe.cancel()
        pane.show_error(None)
        pane.say("Starting ... its Monitor opens in a few seconds.")
        self.opening = "starting the run"
        self._launch(resolve_paths(self.state.draft.spec, Path.cwd()))

    @work(thread=True, group="launch")
    def _launch(self, spec: RunSpec) -> None:
        """Check everything and queue the run; in a thread, since it reads all rows and may use the Hub."""
        from tuner_tui.sharing.start_run import start_run
        from tuner_tui.sharing.worker_job import Cancelled

        app = self.app  # a closed screen has none
        try:
            folder = start_run(spec, ProgressReporter(self.post_message), is_cancelled=self._cancel.is_set)
        except Cancelled:
            self.post_or_tell(LaunchCancelled(), app)
        except TunerError as error:
            self.post_or_tell(LaunchRefused(error), app)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            refusal = TunerError(
                "The operating system reports an error",
                f"{where}{error.strerror or error}.",
                "See: tuner-tui doctor",
            )
            self.post_or_tell(LaunchRefused(refusal), app)
        else:
            self.post_or_tell(RunLaunched(folder), app)

    def on_work_progress(self, message: WorkProgress) -> None:
        """Progress of a download that the run needs."""
        transfer = f" {message.transfer.words}; x cancels" if message.transfer else ""
        self.query_one(ReviewPane).say(f"{message.steps[-1]}{transfer}")
        self._tell_downloading(self._is_starting)

    def _tell_downloading(self, is_downloading: bool) -> None:
        """The key that cancels is shown while there is a download."""
        if is_downloading != self._is_downloading:
            self._is_downloading = is_downloading
            self.refresh_bindings()

    def action_cancel_download(self) -> None:
        self._cancel.set()

    @on(LaunchCancelled)
    def tell_cancelled(self) -> None:
        self._is_starting, self.opening = False, ""
        self._tell_downloading(False)
        self.query_one(ReviewPane).say("Cancelled. The partial download is kept, and s resumes it.")

    @on(LaunchRefused)
    def show_refusal(self, message: LaunchRefused) -> None:
        self._is_starting, self.opening = False, ""
        self._tell_downloading(False)
        pane = self.query_one(ReviewPane)
        pane.show_error(message.error)
        pane.say("The run did not start.")
        if not self.is_in_front:
            self.show_error(message.error)
        elif isinstance(message.error, UntrustedCode):
            self.ask_to_trust(message.error, self._start)

    @on(RunLaunched)
    def open_monitor(self, message: RunLaunched) -> None:
        self._launched = message.folder
        self._forget()
        if self.is_in_front:
            self._open_launched()
        else:
            tell_result(self.app, message)

    def on_screen_resume(self) -> None:
        """Back from a dialog during which the run was started."""
        if self._launched is not None:
            self._open_launched()

    def _open_launched(self) -> None:
        app, folder = self.tuner, self._launched
        assert folder is not None
        self._launched = None
        self.dismiss(None)
        app.open_monitor(folder)

    def _edit(self) -> None:
        if self.state is None:
            return
        text = self.state.draft.toml()
        try:
            with self.app.suspend():
                edited = edit_text(text, "run.toml")
        except SuspendNotSupported:
            self.show_error(
                TunerError(
                    "The editor cannot be opened",
                    "This terminal cannot be suspended for an editor.",
                    "w writes run.toml to a file.",
                )
            )
        except TunerError as error:
            self.show_error(error)
        else:
            self.refresh(layout=True)
            if edited != text:
                self.state = replace(self.state, draft=self.state.draft.with_text(edited))

    @work
    async def _write(self) -> None:
        if self.state is None:
            return
        draft = self.state.draft
        path = await self.app.push_screen_wait(PickPath("Write run.toml to", Path("run.toml")))
        if path is None:
            return
        if draft.broken is None:
            spec = resolve_paths(draft.spec, Path.cwd())
            self.perform(lambda: _written(spec, path, draft))
        else:
            text = draft.broken.text
            self.perform(lambda: _kept(text, path))

    @work
    async def _save_preset(self) -> None:
        if self.state is None or self.state.problems:
            return
        preset = await self.app.push_screen_wait(SavePreset(self.state.draft))
        if preset is not None:
            self.notify(f"Saved as preset {preset.name}: {preset.path}", markup=False)

    # Leaving -----------------------------------------------------------------------------------------------

    @property
    def leaving(self) -> ConfirmModal | None:
        if self.state is None or not self.state.draft.is_changed or self._launched is not None:
            return None
        message = 'Your choices and input are kept: the next new run offers them as "unfinished".'
        return ConfirmModal("Leave this new run?", message, "Leave", "Stay")

    def prepare_to_leave(self) -> None:
        """Write the draft now, without the pause after a change."""
        if self.leaving is not None and self.state is not None:
            self._kept(self.state.draft)

    @work
    async def action_leave(self) -> None:
        question = self.leaving
        if question is not None and not await self.app.push_screen_wait(question):
            return
        self.prepare_to_leave()
        with contextlib.suppress(IndexError):
            self.dismiss(None)

    @work(exclusive=True, group="keep")
    async def _keep_soon(self, draft: Draft) -> None:
        """Keep the draft after a pause in changes, for a terminal that is closed."""
        await asyncio.sleep(KEEPING_SECONDS)
        if draft.is_changed and not self._is_starting and self._launched is None:
            self._kept(draft)

    def _kept(self, draft: Draft) -> None:
        """A draft that cannot be written is told when the run is started or written to a file."""
        with contextlib.suppress(OSError, TunerError):
            keep_unfinished(draft)
            self._has_kept = True

    def _forget(self) -> None:
        """The run was started: nothing is unfinished."""
        self.workers.cancel_group(self, "keep")
        with contextlib.suppress(OSError, TunerError):
            if self._has_kept:
                forget_unfinished()


def _written(spec: RunSpec, path: Path, draft: Draft) -> str:
    write_spec(spec, path, base_text=draft.text, is_recipe=draft.is_recipe)
    return f"Wrote {path}. Next: {shell_command('train', str(path))}"


def _has_text(path: Path, text: str) -> bool:
    try:
        return guarded.read_text(path) == text
    except Unreadable:
        return False


def _kept(text: str, path: Path) -> str:
    path.write_text(text, encoding="utf-8")
    return f"Wrote {path}; it still has problems."
