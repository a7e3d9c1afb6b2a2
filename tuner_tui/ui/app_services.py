"""The protocol of the app for its screens; `ui/app.py` implements it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.runs.folder import RunFolder


class AppServices(Protocol):
    """Other screens by name, and announcements on every screen."""

    def open_new_run(self, spec: RunSpec | None = None, text: str | None = None) -> None:
        """Show the New run screen, empty or filled with a spec and the file it came from."""

    def open_monitor(self, folder: RunFolder) -> None:
        """Show one run."""

    def open_share(self, folder: RunFolder) -> None:
        """Show the Share screen of a run."""

    def open_chat(self, run: RunFolder | None = None) -> object:
        """Ask which models answer, with a run and its base marked, and show the chat."""

    def tell_end(self, folder: RunFolder) -> None:
        """Announce that a run has ended, on any screen and in the terminal."""

    def action_demo(self) -> None:
        """Queue the demo's run and show it."""

    def action_doctor(self) -> None:
        """Show the check of this machine."""

    def action_runs(self) -> None:
        """Show the comparison of runs."""

    def action_queue(self) -> None:
        """Show the runs that wait."""

    def action_settings(self) -> None:
        """Show the settings."""
