"""Progress of a command's work, on stderr: a line for each step, and on a terminal one line that is drawn anew."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import click

from tuner_tui.cli.output import fill
from tuner_tui.runs.export_events import BytesWritten, PromptsVerified, StepEntered
from tuner_tui.sharing.pace import Pace, verified_words
from tuner_tui.text import duration, shell_line, shortened_line

if TYPE_CHECKING:
    from types import TracebackType

LINE_EVERY_SECONDS = 0.2
LONGEST_LINE = 400
CLEAR_LINE = "\r\x1b[2K"


class ProgressLine:
    """The moving line. In a pipe or a file it is left out, and only steps are lines there."""

    def __init__(self, is_quiet: bool = False) -> None:
        self._is_quiet = is_quiet
        self._is_terminal = sys.stderr.isatty()
        self._is_drawn = False
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def step(self, what: str) -> None:
        """Another step begins; its line stays."""
        self.note(f"{what} ...")

    def note(self, words: str) -> None:
        """A line that stays."""
        self.clear()
        if not self._is_quiet:
            click.echo(shortened_line(words, LONGEST_LINE), err=True)

    def move(self, words: str, *, is_due: bool = False) -> None:
        """Draw the line anew, at most a few times a second unless it is due."""
        if self._is_quiet or not self._is_terminal:
            return
        if is_due or time.monotonic() - self._drawn_at >= LINE_EVERY_SECONDS:
            self._drawn_at, self._is_drawn = time.monotonic(), True
            width = shutil.get_terminal_size().columns
            click.echo(f"{CLEAR_LINE}  {shortened_line(words, max(20, width - 3))}", err=True, nl=False)

    def clear(self) -> None:
        """Remove the line, before other lines are printed."""
        if self._is_drawn:
            self._is_drawn, self._drawn_at = False, 0.0
            click.echo(CLEAR_LINE, err=True, nl=False)


def tell_interrupted(left: str) -> None:
    """What Ctrl-C leaves, and the command that resumes, which is this one."""
    click.echo(
        f"\n{fill(f'Stopped. {left}')}\nTo resume: {shell_line(['tuner-tui', *sys.argv[1:]])}", err=True
    )


class WorkTeller:
    """Prints the events of an export and of a Hub process; around the work, also what Ctrl-C leaves."""

    def __init__(self, is_quiet: bool = False, left: str = "") -> None:
        """`left` says what is kept when Ctrl-C ends the work."""
        self._left = left
        self.line = ProgressLine(is_quiet)
        self._is_quiet = is_quiet
        self._pace = Pace()
        self._attempt: tuple[str, int] | None = None
        """The failure that was told last, and which attempt follows it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.line.clear()
        if kind is KeyboardInterrupt and self._left:
            tell_interrupted(self._left)

    def __call__(self, event: Any) -> None:
        from tuner_tui.sharing.hub_protocol import Moved, Stepped, Waiting

        match event:
            case StepEntered(what=what) | Stepped(what=what):
                self._pace.begin()
                self.line.step(what)
            case BytesWritten(done_bytes=done, total_bytes=total) | Moved(done_bytes=done, total_bytes=total):
                self.line.move(self._pace.words(done, total))
            case PromptsVerified():
                self.line.move(verified_words(event))
            case Waiting():
                self._pace.begin()
                self._tell_wait(event.why, event.seconds, event.attempt, event.attempts)

    def _tell_wait(self, why: str, seconds: int, attempt: int, attempts: int) -> None:
        """Each failed attempt is a line that stays; on a terminal a countdown follows it."""
        if self._attempt != (why, attempt):
            self._attempt = (why, attempt)
            self.line.note(f"  {why}; attempt {attempt} of {attempts} in {seconds} s")
        self.line.move(f"in {duration(seconds)}", is_due=True)
