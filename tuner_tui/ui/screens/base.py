"""The base of all screens: a title, the headless command, help, and actions that run in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import work
from textual._styles_cache import StylesCache
from textual.message import Message
from textual.reactive import var
from textual.screen import Screen
from textual.worker import WorkerState

from tuner_tui.errors import TunerError
from tuner_tui.models.untrusted_code import UntrustedCode
from tuner_tui.ui.feeders import FeederFailed
from tuner_tui.ui.widgets.bars import CommandBar, KeysFooter, TitleBar

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App, ComposeResult
    from textual.worker import Worker

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.ui.app_services import AppServices
    from tuner_tui.ui.modals.confirm import ConfirmModal


class ActionDone(Message):
    """An action succeeded; `words` confirm it."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words


class ActionFailed(Message):
    """An action failed."""

    def __init__(self, error: TunerError, again: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.error = error
        self.again = again
        """Retries it."""


class RunMade(Message):
    """A run was created and is to be shown."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder


class SpecRead(Message):
    """A run's spec, to start a new run from."""

    def __init__(self, spec: RunSpec, text: str | None) -> None:
        """`text` is the file that it came from; None for a spec without one."""
        super().__init__()
        self.spec = spec
        self.text = text


def tell_result(app: App[Any], message: Message) -> None:
    """Show a result's words wherever the person is now."""
    match message:
        case RunMade():
            words = f"Started {message.folder.name}; Enter on Home shows it."
            app.notify(words, markup=False, timeout=10)
        case ActionDone() if message.words:
            app.notify(message.words, markup=False)
        case ActionFailed(error=error):
            words = f"{error.title}: {error.message}" if error.message else error.title
            app.notify(words, severity="error", markup=False, timeout=10)


def set_breakpoints(screen: Screen[Any]) -> None:
    """Give a screen the classes of the terminal's size before it has widgets, which Textual would all style anew."""
    (width, height), app = screen.app.size, screen.app
    both = (width, app.HORIZONTAL_BREAKPOINTS), (height, app.VERTICAL_BREAKPOINTS)
    names = [name for size, steps in both for name in screen._get_breakpoint_classes(size, list(steps or ()))]
    screen.update_classes(dict.fromkeys(names, True), update=False)


class TunerScreen(Screen[None]):
    """A title bar, the screen's own body (`compose_body`), its headless command and its keys."""

    TITLE_WORDS: ClassVar[str] = ""
    HELP_TEXT: ClassVar[str] = ""
    """What the screen is for, shown by `?`; a focused widget's own `help_text` is shown above it."""
    opening: var[str] = var("", init=False)
    """What is being made and will be shown, such as "starting the demo"; empty while nothing is."""

    @property
    def is_in_front(self) -> bool:
        """Whether keys come here. Nothing opens by itself over another screen, which would get keys meant for that."""
        return self.app.screen is self

    @property
    def leaving(self) -> ConfirmModal | None:
        """The question to ask before this screen is left; None where nothing is unsaved."""
        return None

    def prepare_command(self) -> str:
        """The command to copy, once what it names is there. Raises TunerError with what keeps it from working."""
        return self.headless_command

    def prepare_to_leave(self) -> None:
        """Called before the app closes with this screen open."""

    @property
    def tuner(self) -> AppServices:
        """The app, as a protocol for screens."""
        return cast("AppServices", self.app)

    @property
    def headless_command(self) -> str:
        """The equivalent shell command."""
        return "tuner-tui"

    def compose(self) -> ComposeResult:
        set_breakpoints(self)
        yield TitleBar(self.TITLE_WORDS)
        yield from self.compose_body()
        bar = CommandBar()
        bar.set_reactive(CommandBar.command, self.headless_command)
        yield bar
        yield KeysFooter(show_command_palette=False, compact=True)

    def on_unmount(self) -> None:
        """Release drawn lines: a cache in Textual 8.2.8 keeps those of 1024 removed widgets."""
        StylesCache.get_inner_outer.cache_clear()

    def compose_body(self) -> ComposeResult:
        """The screen's own widgets."""
        yield from ()

    def refresh_command(self) -> None:
        """Update the headless command."""
        self.query_one(CommandBar).command = self.headless_command

    def perform(self, action: Callable[[], str]) -> None:
        """Run a blocking action in a thread; its confirmation or error comes back as a message."""
        self.report(lambda: ActionDone(action()))

    def watch_opening(self, words: str) -> None:
        self.query_one(TitleBar).busy = words

    def perform_and_open(self, action: Callable[[], RunFolder], words: str) -> None:
        """Run a blocking action that returns a run to show, one at a time; `words` say meanwhile what it does."""
        if not self.opening:
            self.opening = words
            self.report(lambda: RunMade(action()))

    def open_same_again(self, read: Callable[[], tuple[RunSpec, str | None]]) -> None:
        """Read a run's spec and show it as a new run."""
        self.report(lambda: SpecRead(*read()))

    @work(thread=True, group="actions", exit_on_error=False)
    def report(self, action: Callable[[], Message]) -> None:
        """In a thread: post an action's result or error."""
        app = self.app  # a closed screen has none
        try:
            message = action()
        except TunerError as error:
            message = ActionFailed(error, lambda: self.report(action))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            message = ActionFailed(
                TunerError("The operating system reports an error", f"{where}{error.strerror or error}.")
            )
        self.post_or_tell(message, app)

    def post_or_tell(self, message: Message, app: App[Any]) -> None:
        """In a thread: post a message to this screen, or tell its words when the screen was closed meanwhile."""
        if not self.post_message(message) and app.is_running:
            app.call_from_thread(tell_result, app, message)

    def on_run_made(self, message: RunMade) -> None:
        self.opening = ""
        if self.is_in_front:
            self.tuner.open_monitor(message.folder)
        else:
            tell_result(self.app, message)

    def on_spec_read(self, message: SpecRead) -> None:
        if self.is_in_front:
            self.tuner.open_new_run(message.spec, message.text)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """An internal error in a thread is shown, and the app stays up."""
        if event.state is WorkerState.ERROR:
            self.opening = ""
        if event.state is WorkerState.ERROR and isinstance(event.worker.error, Exception):
            self.app.post_message(FeederFailed(event.worker.error))

    def on_action_done(self, message: ActionDone) -> None:
        """Textual calls this after a subclass's own handler, unless that calls `message.prevent_default()`."""
        tell_result(self.app, message)

    def on_action_failed(self, message: ActionFailed) -> None:
        self.opening = ""
        if isinstance(message.error, UntrustedCode) and message.again is not None and self.is_in_front:
            self.ask_to_trust(message.error, message.again)
        else:
            self.show_error(message.error)

    @work
    async def ask_to_trust(self, refusal: UntrustedCode, again: Callable[[], object]) -> None:
        """Ask whether a named model may run its own code; if so, retry the refused action."""
        from tuner_tui.models.trusted_code import trust
        from tuner_tui.ui.modals.confirm import ConfirmModal

        question = ConfirmModal(
            f"Run the code of {refusal.model}?",
            "model.trust_remote_code is true: the model contains Python files, which would run with your permissions. "
            f"Allow it only if you trust its author.\n\n{refusal.location}",
            "Allow",
            "Cancel",
        )
        if await self.ask(question):
            trust(refusal.location, refusal.revision)
            again()

    def show_error(self, error: TunerError) -> None:
        """Show an error and its next step over this screen; on another one only its words."""
        from tuner_tui.ui.modals.message import MessageModal

        if self.is_in_front:
            self.app.push_screen(MessageModal.of(error))
        else:
            tell_result(self.app, ActionFailed(error))

    async def ask(self, question: ConfirmModal) -> bool:
        """The answer to a question that comes up after a while; no, when the person has gone to another screen."""
        return self.is_in_front and await self.app.push_screen_wait(question)
