"""Watching a run from a terminal (a bar) or a pipe (plain lines) until it ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tuner_tui.cli import words
from tuner_tui.cli.output import plain
from tuner_tui.files import LineFollower
from tuner_tui.keeper.start import adopt_if_needed
from tuner_tui.keeper.waiting import Line
from tuner_tui.runs.control import leave_request
from tuner_tui.runs.events import Event, StepLogged, decode_lines, encode
from tuner_tui.runs.status import LIVE, RunFollower
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.status import Status

POLL_SECONDS = 0.2
LINE_EVERY_SECONDS = 2.0
WAIT_EVERY_SECONDS = 2.0
FAILED, STOPPED, INTERRUPTED = 5, 6, 7


def follow(
    folder: RunFolder,
    *,
    past: RunFollower | None = None,
    as_json: bool = False,
    is_quiet: bool = False,
    stops_on_ctrl_c: bool = True,
) -> int:
    """Show a run until it ends; returns the exit code. Ctrl-C requests a stop, a second one leaves.

    `past` is the run before it was resumed, whose events are not shown again.
    """
    watcher = _Watcher(folder, past)
    is_terminal = sys.stdout.isatty() and not (as_json or is_quiet)
    has_asked = False
    with _bar() if is_terminal else _no_bar() as bar:
        while True:
            try:
                for event in watcher.new_events():
                    if not is_quiet:
                        _show(event, bar, as_json)
                if not (is_quiet or as_json) and (waits := watcher.new_wait()):
                    bar.print(waits) if bar is not None else click.echo(waits)
                if bar is not None:
                    bar.update(watcher.follower)
                if watcher.is_over():
                    break
                time.sleep(POLL_SECONDS)
            except KeyboardInterrupt:
                if not stops_on_ctrl_c or has_asked:
                    if bar is not None:
                        bar.clear()
                    words_left = f"Left; {folder.name} continues. Watch it: "
                    click.echo(f"\n{words_left}{shell_command('runs follow', folder.name)}", err=True)
                    return 130
                has_asked = True
                _ask_to_stop(watcher.follower.folder)
    if is_terminal:
        _notify(watcher.follower.folder)
    return exit_code(watcher.follower.status)


def _notify(folder: RunFolder) -> None:
    """Notify the terminal, as configured."""
    from tuner_tui.config.settings import read_settings
    from tuner_tui.keeper.outcome import WORTH_TELLING, read_outcome
    from tuner_tui.keeper.terminal_notice import terminal_notice

    outcome = read_outcome(folder)
    if outcome is not None and outcome.status in WORTH_TELLING:
        notice = terminal_notice(outcome.headline, outcome.details, read_settings(), os.environ)
        sys.stdout.write(notice)
        sys.stdout.flush()


def exit_code(status: Status) -> int:
    """The exit code of a command that watched a run to this status."""
    return {"failed": FAILED, "paused": STOPPED, "stopped": STOPPED, "interrupted": INTERRUPTED}.get(
        status, 0
    )


class _Watcher:
    """Reads events to show, and folds them into a status."""

    def __init__(self, folder: RunFolder, past: RunFollower | None) -> None:
        self.follower = past or RunFollower(folder)
        self._endings_before = past.state.endings if past else 0
        self._lines = LineFollower(folder.events)
        self._quiet_since: float | None = None
        self._line = Line()
        self._waits = ""
        self._looked_at = -WAIT_EVERY_SECONDS
        while past is not None and self._lines.read():
            pass

    def new_events(self) -> Iterator[Event]:
        self.follower.poll()
        self._lines.path = self.follower.folder.events  # it may have been renamed
        adopt_if_needed(self.follower.folder)
        while lines := self._lines.read():
            yield from decode_lines(lines)

    def new_wait(self) -> str:
        """Print what the run waits for in the queue, when that changes."""
        now = time.monotonic()
        if self.follower.status != "queued" or now - self._looked_at < WAIT_EVERY_SECONDS:
            return ""
        self._looked_at = now
        before, self._waits = self._waits, self._line.words(self.follower.folder)
        return f"queued: {plain(self._waits)}" if self._waits not in ("", before) else ""

    def is_over(self) -> bool:
        """Whether the watched attempt has ended or was interrupted."""
        if self.follower.status in LIVE:
            self._quiet_since = None
            return False
        if self.follower.state.endings > self._endings_before:
            return True
        # Between leaving the queue and taking the lock a run looks idle.
        self._quiet_since = self._quiet_since or time.monotonic()
        return time.monotonic() - self._quiet_since > 3.0


def _ask_to_stop(folder: RunFolder) -> None:
    from tuner_tui.runs import queue

    if queue.withdraw(folder.name):
        click.echo("\nRemoved from the queue.", err=True)
        return
    leave_request(folder, "stop")
    click.echo("\nStopping: the run saves first. Ctrl-C again leaves; the run still stops.", err=True)


def _show(event: Event, bar: _Bar | None, as_json: bool) -> None:
    if as_json:
        click.echo(encode(event).decode(), nl=False)
    elif bar is not None:
        if not isinstance(event, StepLogged) and (line := words.tell(event)) is not None:
            bar.print(line)
    elif (line := words.tell(event)) is not None and not _is_too_soon(event):
        click.echo(line)


_last_line_at = [0.0]


def _is_too_soon(event: Event) -> bool:
    """In a pipe, steps are printed at most every few seconds; the last step always."""
    if not isinstance(event, StepLogged):
        return False
    if event.step == event.total_steps or event.at - _last_line_at[0] >= LINE_EVERY_SECONDS:
        _last_line_at[0] = event.at
        return False
    return True


class _Bar:
    """The progress line of a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def print(self, text: str) -> None:
        """A line above the bar, shown literally."""
        from rich.text import Text

        self._progress.console.print(Text(text), highlight=False)

    def clear(self) -> None:
        """Remove the bar, which would stand there as it was."""
        self._progress.live.transient = True
        self._progress.stop()

    def update(self, follower: RunFollower) -> None:
        state = follower.state
        if state.training is None or state.ending is not None:
            phase = words.PHASES[state.phase] if state.phase else follower.status
            self._progress.update(self._task, description=phase, figures="")
            return
        left = state.snapshot().seconds_left if state.last_step else None
        loss = words.number(state.last_step.loss) if state.last_step else "-"
        figures = f"{state.step}/{state.total_steps}  loss {loss}"
        if left is not None:
            figures += f"  {words.duration(left)} left"
        self._progress.update(
            self._task,
            description=words.PHASES[state.phase] if state.phase else "",
            total=state.total_steps,
            completed=state.step,
            figures=plain(figures),
        )


@contextmanager
def _bar() -> Iterator[_Bar]:
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[figures]}", markup=False),
        refresh_per_second=4,
    ) as progress:
        yield _Bar(progress, progress.add_task("starting", total=None, figures=""))


@contextmanager
def _no_bar() -> Iterator[None]:
    yield None
