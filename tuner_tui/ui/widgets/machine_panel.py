"""This machine in a line, and below it what would ruin a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.ui.widgets.literal import literal

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.ui.hardware_words import Machine


class MachinePanel(Vertical):
    """The hardware, and the first of its troubles with the key that shows how to fix it."""

    DEFAULT_CSS = """
    MachinePanel { height: auto; padding: 0 1; margin-bottom: 1; }
    MachinePanel #hardware { height: auto; max-height: 2; }
    MachinePanel #banner { display: none; height: auto; max-height: 3; color: $warning; text-style: bold; }
    """

    machine: var[Machine | None] = var(None)

    def compose(self) -> ComposeResult:
        yield Static("Reading this machine's hardware ...", id="hardware", markup=False)
        yield Static("", id="banner", markup=False)

    def watch_machine(self, machine: Machine | None) -> None:
        if machine is None:
            return
        self.query_one("#hardware", Static).update(literal(machine.line))
        banner = self.query_one("#banner", Static)
        banner.display = bool(machine.troubles)
        if machine.troubles:
            more = f" (and {len(machine.troubles) - 1} more)" if len(machine.troubles) > 1 else ""
            banner.update(literal(f"! {machine.troubles[0].rstrip('.')}{more}. d shows how to fix it."))
