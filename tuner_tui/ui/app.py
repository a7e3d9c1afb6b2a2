"""The app: its themes, its screens by name, and the actions of every screen."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Literal, TypeVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.filter import NoColor
from textual.worker import get_current_worker

from tuner_tui.config.settings import go_on_with_bad_settings
from tuner_tui.errors import TunerError
from tuner_tui.ui.feeders import FeederFailed, start_feeder
from tuner_tui.ui.keys import keys_of
from tuner_tui.ui.machine_watch import SettingsLookedAt
from tuner_tui.ui.plain_terminal import PlainFilter, speaks_utf8
from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.screens.home import Home
from tuner_tui.ui.theme import DARK, DEFAULT_VARIABLES, LIGHT, TERMINAL, prefers_light

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from textual.dom import DOMNode
    from textual.filter import LineFilter
    from textual.screen import Screen
    from textual.theme import Theme

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.keeper.outcome import Outcome
    from tuner_tui.runs.folder import RunFolder

Result = TypeVar("Result")


class TunerApp(App[None]):
    """Shows runs and starts them; a run never depends on it."""

    TITLE = "tuner-tui"
    CSS_PATH = ["app.tcss", "screens/home.tcss"]  # noqa: RUF012  (Textual loads no file of a default screen)
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012  (Textual's own declaration)
        (0, "-narrow"),
        (70, "-regular"),
        (110, "-wide"),
        (160, "-huge"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (12, "-short"), (22, "-medium"), (34, "-tall")]  # noqa: RUF012
    BINDINGS = [  # noqa: RUF012
        Binding("c", "copy_command", "Copy command", show=False, tooltip="Copy the line that begins with $"),
        Binding("question_mark", "help", "Help", key_display="?", tooltip="All keys of this screen"),
        Binding("f1", "help", "Help", tooltip="All keys of this screen, also while typing"),
        Binding(
            "f", "feedback", "Feedback", show=False, tooltip="Annotate answers, and see your collections"
        ),
        Binding(
            "a",
            "chat",
            "Chat",
            show=False,
            tooltip="Ask base and tuned model, side by side",
        ),
        Binding("q", "quit", "Quit", tooltip="Leave; runs continue without the app"),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, tooltip="Back to the shell; fg returns"),
    ]

    def __init__(self, first: Screen[None] | None = None) -> None:
        """`first` is shown at once, above Home."""
        super().__init__()
        go_on_with_bad_settings()
        self._settings_problem = ""
        self._first_screen = first
        self._plain_filter = None if speaks_utf8(os.environ) else PlainFilter()
        for theme in (DARK, LIGHT, TERMINAL):
            self.register_theme(theme)
        self.theme = self._first_theme()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return DEFAULT_VARIABLES

    def get_default_screen(self) -> Screen[None]:
        return Home()

    def on_unmount(self) -> None:
        go_on_with_bad_settings(False)

    def on_settings_looked_at(self, message: SettingsLookedAt) -> None:
        """Show a problem with the settings once, on any screen; Home keeps showing it."""
        if message.problem and message.problem != self._settings_problem:
            self.notify(message.problem, title="Settings", severity="warning", markup=False, timeout=15)
        self._settings_problem = message.problem

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._remember_theme)
        if self._first_screen is not None:
            self.push_screen(self._first_screen)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """NO_COLOR removes all colours; without UTF-8, characters are replaced last."""
        filters = [NoColor()] if self.no_color else super().get_line_filters()
        return filters if self._plain_filter is None else [*filters, self._plain_filter]

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """All keys of this screen, and the app's own commands."""
        commands = list(self._commands(screen))
        yield from {command.title: command for command in reversed(commands)}.values()

    def _commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """By importance; of two with the same name, the key's own comes first."""
        for key in keys_of(screen):
            if key.is_command:
                help_text = f"{key.tooltip or key.name}  ({key.display})"
                yield SystemCommand(key.name, help_text, _runner(self, key.node, key.action))
        if not isinstance(screen, Home):
            yield SystemCommand("Home", "Back to the list of runs", self.action_home)
            yield SystemCommand("New run", "Choose a model, data and a method", self.open_new_run)
        yield SystemCommand("Feedback", "Annotate answers, and see your collections", self.action_feedback)
        yield SystemCommand("Chat", "Ask base and tuned model, side by side", self.action_chat)
        yield SystemCommand(
            "Try the demo", "Train a small model to be the octopus librarian Inkwell", self.action_demo
        )
        yield SystemCommand("Compare runs", "Curves, settings, lineage, notes, disk use", self.action_runs)
        yield SystemCommand("Queue", "The waiting runs, in order", self.action_queue)
        yield SystemCommand(
            "Downloads", "Models and data sets of the Hub: download, resume, clean up", self.action_downloads
        )
        yield SystemCommand(
            "Settings", "Folders, theme, notifications, trackers, privacy", self.action_settings
        )
        yield SystemCommand("Doctor", "Check this machine and show what to fix", self.action_doctor)
        yield SystemCommand(
            "Dark or light", "Switch between the dark and the light theme", self.action_other_theme
        )
        yield SystemCommand("Theme", "Choose one of all themes", self.action_change_theme)

    def open_new_run(self, spec: RunSpec | None = None, text: str | None = None) -> None:
        """Show the New run screen, empty or filled with a spec; `text` is the file it came from, with its comments."""
        from tuner_tui.ui.screens.new_run.screen import NewRunScreen

        self.push_screen(NewRunScreen(spec, text))

    def open_monitor(self, folder: RunFolder) -> None:
        """Show one run."""
        from tuner_tui.ui.screens.monitor import Monitor

        self.push_screen(Monitor(folder))

    def open_share(self, folder: RunFolder) -> None:
        """Show the Share screen of a run."""
        from tuner_tui.ui.screens.share import ShareScreen

        self.push_screen(ShareScreen(folder))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Feedback and chat have a key on Home, and are in the palette elsewhere."""
        if action in ("feedback", "chat"):
            return isinstance(self.screen, Home)
        return True

    async def push_screen_wait(  # type: ignore[override]
        self, screen: Screen[Result], *, mode: str | None = None
    ) -> Result | None:
        """The answer to a dialog; None where the screen that asks is not in front any more.

        Keys that are typed faster than a dialog opens would else open a second one over it, or one over another screen.
        """
        asker = get_current_worker()._node
        is_gone = not isinstance(asker, App) and asker.screen is not self.screen
        if is_gone or type(screen) is type(self.screen):
            return None
        answer: Result | None = await super().push_screen_wait(screen, mode=mode)
        return answer

    async def action_quit(self) -> None:
        """Close the app; ask first where something is not saved. A second ctrl+q closes it at once."""
        from tuner_tui.ui.modals.confirm import ConfirmModal

        unsaved = self._unsaved()
        if not unsaved or isinstance(self.screen, ConfirmModal):
            self._quit(unsaved)
        else:
            self._ask_and_quit(unsaved)

    def _unsaved(self) -> list[TunerScreen]:
        screens = [screen for screen in self.screen_stack if isinstance(screen, TunerScreen)]
        return [screen for screen in reversed(screens) if screen.leaving is not None]

    @work
    async def _ask_and_quit(self, unsaved: list[TunerScreen]) -> None:
        question = unsaved[0].leaving
        if question is None or await self.push_screen_wait(question):
            self._quit(unsaved)

    def _quit(self, unsaved: list[TunerScreen]) -> None:
        for screen in unsaved:
            screen.prepare_to_leave()
        self.exit()

    def action_home(self) -> None:
        """Leave all screens above Home."""
        for screen in self._unsaved():
            screen.prepare_to_leave()
        while len(self.screen_stack) > 1:
            self.pop_screen()

    def action_doctor(self) -> None:
        from tuner_tui.ui.screens.doctor import DoctorScreen

        self.push_screen(DoctorScreen())

    def action_feedback(self) -> None:
        """Show the collections of annotations."""
        from tuner_tui.ui.screens.collections import Collections

        self.push_screen(Collections())

    def action_chat(self) -> None:
        """Ask which models answer, and show the chat."""
        self.open_chat()

    @work
    async def open_chat(self, run: RunFolder | None = None) -> None:
        """Ask which models answer, with a run and its base marked, and show the chat."""
        from tuner_tui.ui.modals.pick_sides import PickSides

        candidates = await self.push_screen_wait(PickSides(run=run))
        if candidates:
            from tuner_tui.generation.conversation import Conversation
            from tuner_tui.ui.screens.chat import ChatScreen

            self.push_screen(ChatScreen(Conversation(candidates=candidates)))

    def action_runs(self) -> None:
        from tuner_tui.ui.screens.runs import RunsScreen

        self.push_screen(RunsScreen())

    def action_queue(self) -> None:
        from tuner_tui.ui.screens.queue import QueueScreen

        self.push_screen(QueueScreen())

    def action_downloads(self) -> None:
        from tuner_tui.ui.screens.downloads import DownloadsScreen

        self.push_screen(DownloadsScreen())

    def action_settings(self) -> None:
        from tuner_tui.ui.screens.settings import SettingsScreen

        self.push_screen(SettingsScreen())

    def action_demo(self) -> None:
        """Queue the demo's run and show it."""
        from tuner_tui.ui.run_actions import start_demo

        if isinstance(self.screen, TunerScreen) and not self.screen.opening:
            self.notify("Starting the demo ...", timeout=3)
            self.screen.perform_and_open(start_demo, "starting the demo")

    def action_help(self) -> None:
        from tuner_tui.ui.modals.help import HelpModal

        self.push_screen(HelpModal(self.screen))

    def action_copy_command(self) -> None:
        """Copy the shell command for this screen."""
        if not isinstance(self.screen, TunerScreen):
            return
        try:
            command = self.screen.prepare_command()
        except TunerError as error:
            self.notify(error.in_one_line, severity="warning", markup=False)
            return
        self.copy_to_clipboard(command)
        self.notify(f"Copied: {command}", markup=False, timeout=3)

    def on_feeder_failed(self, message: FeederFailed) -> None:
        """An internal error in a thread: shown with its location; the app stays up."""
        import traceback

        from tuner_tui.ui.modals.message import MessageModal

        lines = traceback.format_exception(message.error)
        self.push_screen(
            MessageModal("A part of the app failed", "".join(lines[-3:]), "Runs are not affected.")
        )

    def tell_end(self, folder: RunFolder) -> None:
        """Announce that a run has ended, on any screen and in the terminal."""
        start_feeder(self, lambda: self._tell_end(folder))

    def _tell_end(self, folder: RunFolder) -> None:
        """In a thread: read how it ended."""
        from tuner_tui.keeper.outcome import read_outcome

        outcome = read_outcome(folder)
        if outcome is not None:
            self.call_from_thread(self._show_end, outcome)

    def _show_end(self, outcome: Outcome) -> None:
        from tuner_tui.config.settings import read_settings
        from tuner_tui.keeper.outcome import WORTH_TELLING
        from tuner_tui.keeper.terminal_notice import terminal_notice

        severity: Literal["information", "warning"] = "information" if outcome.is_good else "warning"
        self.notify(f"{outcome.headline}: {outcome.details}", markup=False, severity=severity, timeout=10)
        if self._driver is not None and outcome.status in WORTH_TELLING:
            with contextlib.suppress(TunerError):
                notice = terminal_notice(outcome.headline, outcome.details, read_settings(), os.environ)
                self._driver.write(notice)

    def action_other_theme(self) -> None:
        self.theme = DARK.name if self.theme == LIGHT.name else LIGHT.name

    def copy_to_clipboard(self, text: str) -> None:
        """By OSC 52; inside tmux also wrapped, so that it reaches the outer terminal."""
        super().copy_to_clipboard(text)
        if os.environ.get("TMUX") and self._driver is not None:
            import base64

            sequence = f"\x1b\x1b]52;c;{base64.b64encode(text.encode()).decode()}\a"
            self._driver.write(f"\x1bPtmux;{sequence}\x1b\\")

    def _first_theme(self) -> str:
        from tuner_tui.config.settings import read_settings

        if self.no_color or self.console.color_system == "standard":
            return TERMINAL.name
        remembered = read_settings().text("app.theme")
        if remembered in self.available_themes:
            return remembered
        return LIGHT.name if prefers_light(os.environ.get("COLORFGBG")) else DARK.name

    def _remember_theme(self, theme: Theme) -> None:
        """If it cannot be written, the choice is lost when the app closes."""
        from tuner_tui.config.settings import read_settings, set_setting

        with contextlib.suppress(TunerError):
            if read_settings().text("app.theme") != theme.name:
                set_setting("app.theme", theme.name)


def _runner(app: TunerApp, node: DOMNode, action: str) -> Callable[[], Awaitable[bool]]:
    """What the palette calls for a key's action: the same as the key itself."""

    async def run() -> bool:
        return await app.run_action(action, node)

    return run


def main_app(first: Screen[None] | None = None) -> None:
    """Run the app until it is closed; `first` is the first screen."""
    app = TunerApp(first)
    try:
        app.run()
    finally:
        _empty_expired_trash()


def _empty_expired_trash() -> None:
    """Permanently delete what has been in the trash for longer than it is kept."""
    from tuner_tui.runs.trash import empty_expired

    with contextlib.suppress(TunerError):  # settings were broken meanwhile: the next app does it
        empty_expired()
