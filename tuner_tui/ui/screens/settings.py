"""Settings: each with its value and a description."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList, Static

from tuner_tui.config.setting_list import BY_KEY, SETTINGS, Setting
from tuner_tui.config.setting_values import parse_value, value_text
from tuner_tui.config.settings import set_setting, settings_file, usable_settings
from tuner_tui.errors import TunerError
from tuner_tui.text import shell_command
from tuner_tui.ui.screens.base import ActionDone, TunerScreen
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.literal import literal, show
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult


class SettingsList(PickList):
    """The settings."""

    BINDINGS = [Binding("enter", "select", "Change", tooltip="Change this setting")]  # noqa: RUF012


class SettingsScreen(TunerScreen):
    """A list of settings; each change is written at once to settings.toml, whose comments stay."""

    TITLE_WORDS = "Settings"
    HELP_TEXT = "Your settings, for all runs and this app. Enter changes one, d restores its default."
    DEFAULT_CSS = """
    SettingsScreen #setting-help { height: auto; max-height: 9; padding: 0 1; border-top: solid $panel; }
    SettingsScreen.-short #setting-help { max-height: 4; }
    SettingsScreen.-tiny #setting-help { display: none; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "app.pop_screen", "Back", key_display="esc"),
        Binding("d", "default", "Default", tooltip="Restore the default"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._has_told = False

    @property
    def headless_command(self) -> str:
        setting = self._chosen() if self.is_mounted else None
        if setting is None:
            return "tuner-tui config list"
        value = value_text(usable_settings()[0].given.get(setting.key, setting.default))
        return shell_command("config set", setting.key, value) if value else "tuner-tui config list"

    def compose_body(self) -> ComposeResult:
        yield SettingsList(id="settings-list", help_text="Enter changes a setting; switches change at once.")
        yield Static("", id="setting-help", markup=False)

    def on_mount(self) -> None:
        self.query_one(PickList).focus()

    def on_screen_resume(self) -> None:
        self._show()

    def _show(self) -> None:
        """The current values, which another app or an editor may have changed."""
        settings, problem = usable_settings()
        if problem is not None and not self._has_told:  # closing the message comes back here
            self._has_told = True
            self.show_error(TunerError(problem.title, problem.message, f"{problem.hint} {problem.meanwhile}"))
        rows = tuple(
            PickRow(
                setting.key,
                setting.title,
                (_value_words(setting, settings.given.get(setting.key, setting.default)), setting.key),
            )
            for setting in SETTINGS
        )
        self.query_one(PickList).show(rows)
        self.query_one(TitleBar).state = str(settings_file())
        self._explain()

    def _chosen(self) -> Setting | None:
        key = self.query_one(PickList).picked_key
        return BY_KEY[key] if key else None

    @on(OptionList.OptionHighlighted)
    def _explain(self) -> None:
        """Describe the selected setting."""
        setting = self._chosen()
        if setting is None:
            return
        default = value_text(setting.default)
        more = f" One of: {', '.join(setting.choices)}." if setting.choices else ""
        default_text = f" Default: {default}." if default else ""
        help_line = Content.assemble(
            (f"{setting.title}. ", "bold"), literal(setting.help + more + default_text)
        )
        show(self.query_one("#setting-help", Static), help_line)
        self.refresh_command()

    @on(OptionList.OptionSelected)
    def change(self) -> None:
        setting = self._chosen()
        if setting is None:
            return
        if setting.key == "app.theme":
            self.app.action_change_theme()
        elif setting.kind == "switch":
            turned = "off" if self._text(setting) == "on" else "on"
            self._keep(setting, turned)
        elif setting.kind == "choice":
            now = setting.choices.index(self._text(setting))
            self._keep(setting, setting.choices[(now + 1) % len(setting.choices)])
        else:
            self._ask(setting)

    @work
    async def _ask(self, setting: Setting) -> None:
        from tuner_tui.ui.modals.edit_setting import EditSetting

        text = await self.app.push_screen_wait(EditSetting(setting, self._text(setting)))
        if text is not None and await self._is_sure(setting, text):
            self._keep(setting, text)

    @work
    async def action_default(self) -> None:
        setting = self._chosen()
        if setting is not None and await self._is_sure(setting, ""):
            self._keep(setting, "")

    async def _is_sure(self, setting: Setting, text: str) -> bool:
        """Ask before a change that takes runs out of the list."""
        from tuner_tui.runs.left_behind import left_behind
        from tuner_tui.ui.modals.confirm import ConfirmModal

        value = parse_value(setting, text)
        note = left_behind(setting.key, value)
        if not note:
            return True
        new = f"\n\n{value} does not exist and is created." if value and not Path(str(value)).exists() else ""
        question = ConfirmModal("Change the data folder?", note + new, "Change", "Keep it")
        return await self.app.push_screen_wait(question)

    def _text(self, setting: Setting) -> str:
        return value_text(usable_settings()[0][setting.key])

    def _keep(self, setting: Setting, text: str) -> None:
        def keep() -> str:
            set_setting(setting.key, text)
            return ""

        self.perform(keep)

    def on_action_done(self, message: ActionDone) -> None:
        self._show()


def _value_words(setting: Setting, value: object) -> str:
    text = value_text(value)  # type: ignore[arg-type]
    return text or ("none" if setting.kind == "words" else "-")
