"""Doctor: whether this machine is ready to train, and how to fix problems."""

from __future__ import annotations

import textwrap
import threading
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.text import counted, plain
from tuner_tui.ui.feeders import start_feeder
from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.literal import fit, literal, show

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.hardware.doctor import Check, Status
    from tuner_tui.hardware.torch_report import TorchReport

MARKS = {
    "ok": ("✓", "$success"),
    "note": ("·", "$primary"),
    "warning": ("!", "$warning"),
    "problem": ("✗", "$error"),
}
SEVERITY: tuple[Status, ...] = ("problem", "warning", "note", "ok")
"""Problems come first."""
ROOMY = 100
"""From this width on, details of passed checks are shown too."""
NAME_CELLS = 17
COLUMN = 11 + NAME_CELLS
LOOK_SECONDS = 0.2


class ChecksMade(Message):
    """The checks; those that need torch, in a process of its own, follow some seconds later."""

    def __init__(self, checks: list[Check], torch: TorchReport | None) -> None:
        super().__init__()
        self.checks = checks
        self.torch = torch


class DoctorScreen(TunerScreen):
    """Each check with its status; fixes are shown below, ready to copy."""

    TITLE_WORDS = "Doctor"
    HELP_TEXT = "This machine's hardware and software, problems for training, and commands that fix them."
    CSS_PATH = "doctor.tcss"
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "app.pop_screen", "Back", key_display="esc"),
        Binding("ctrl+r", "again", "Check again", tooltip="Run all checks again"),
    ]

    made: var[ChecksMade | None] = var(None)
    is_waiting: var[bool] = var(True)

    def __init__(self) -> None:
        super().__init__()
        self._has_left = threading.Event()

    @property
    def headless_command(self) -> str:
        return "tuner-tui doctor"

    def on_unmount(self) -> None:
        self._has_left.set()

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(id="checks"):
            yield Static("Checking ...", id="report", markup=False)

    def on_mount(self) -> None:
        self.query_one("#checks").focus()
        self.action_again()

    def action_again(self) -> None:
        self.is_waiting = True
        start_feeder(self.app, self._look)

    def _look(self) -> None:
        """In a thread: the quick checks first, then those by torch in a process of its own."""
        from tuner_tui.config import paths
        from tuner_tui.hardware.doctor import run_checks
        from tuner_tui.hardware.gpu import read_gpus
        from tuner_tui.hardware.torch_report import ask_torch

        folders = (paths.data_dir(), paths.cache_dir())
        gpus = read_gpus()
        self.post_message(ChecksMade(run_checks(gpus, None, *folders), None))
        torch_report = ask_torch()
        while not self._has_left.is_set():  # a closed screen is not kept until torch has answered
            if torch_report.answered.wait(LOOK_SECONDS):
                self.post_message(
                    ChecksMade(run_checks(gpus, torch_report.report, *folders), torch_report.report)
                )
                return

    def on_checks_made(self, message: ChecksMade) -> None:
        self.is_waiting = message.torch is None
        self.made = message

    def on_resize(self) -> None:
        self.watch_made(self.made)

    def watch_made(self, made: ChecksMade | None) -> None:
        if made is None:
            return
        width = max(20, self.query_one("#checks").content_size.width - 1)
        show(self.query_one("#report", Static), report_content(made.checks, made.torch, width))
        self.query_one(TitleBar).state = "checking torch ..." if self.is_waiting else verdict(made.checks)


def report_content(checks: list[Check], torch: TorchReport | None, width: int = 78) -> Content:
    """All checks, with fixes for problems."""
    lines: list[Content] = []
    for check in sorted(checks, key=lambda check: SEVERITY.index(check.status)):
        mark, colour = MARKS[check.status]
        first, *rest = _wrapped(check.value, width - COLUMN)
        name = fit(check.name, NAME_CELLS)
        lines.append(Content.assemble((f"{mark} {check.status:<9}", colour), (name, "bold"), first))
        lines += [Content(" " * COLUMN + line) for line in rest]
        if check.detail and (check.status != "ok" or width >= ROOMY):
            lines += [_faint(line) for line in _wrapped(check.detail, width - COLUMN)]
        sentence, *commands = check.remedy.splitlines() or [""]
        if sentence:
            lines += [Content.styled(f"    {line}", "$accent") for line in _wrapped(sentence, width - 4)]
        lines += [literal(f"      {command}", "bold $accent") for command in commands]
    if torch is not None and torch.precisions:
        lines += [Content(""), Content.styled("Precisions that work here", "bold")]
        for name, report in torch.precisions.items():
            mark, colour = MARKS["ok" if report.works else "problem"]
            first, *rest = _wrapped(report.note, width - COLUMN) or [""]
            yes_no = (f"{mark} {'yes' if report.works else 'no':<9}", colour)
            lines.append(Content.assemble(yes_no, (fit(name, NAME_CELLS), "bold"), (first, "$faint")))
            lines += [_faint(line) for line in rest]
    return Content("\n").join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(plain(text), max(20, width), break_on_hyphens=False) or [""]


def _faint(line: str) -> Content:
    return Content.styled(" " * COLUMN + line, "$faint")


def verdict(checks: list[Check]) -> str:
    """A summary of all checks."""
    problems = sum(check.status == "problem" for check in checks)
    if problems:
        return f"not ready: {counted(problems, 'problem')}"
    return "ready to train"
