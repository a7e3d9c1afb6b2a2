"""How a run ended, and the next step; empty while it is live."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.runs.ending_words import lost_steps, saved_words
from tuner_tui.runs.events import RunFailed, RunFinished, RunStopped
from tuner_tui.text import next_step, number, size
from tuner_tui.ui.run_watch import RunView
from tuner_tui.ui.widgets.literal import literal, literal_lines, show

LOG_LINES = 4


class EndingPanel(Static):
    """A failure with title, message, hint and the end of the log; else one line."""

    DEFAULT_CSS = """
    EndingPanel { display: none; height: auto; max-height: 60%; padding: 0 1; background: $panel; }
    EndingPanel.-said { display: block; }
    """

    view: var[RunView | None] = var(None)

    def watch_view(self, view: RunView | None) -> None:
        lines = ending_lines(view) if view is not None else []
        self.set_class(bool(lines), "-said")
        show(self, Content("\n").join(lines))


def ending_lines(view: RunView) -> list[Content]:
    """What to say; empty for a live run."""
    if view.problem:
        return [literal(f"! The run cannot be read: {view.problem}.", "bold $error")]
    if view.is_live:
        return []
    match view.run.ending:
        case RunFinished() as ending:
            early = ", early: the held-out loss stopped falling" if ending.reason == "early_stopping" else ""
            saved = f" The adapter is {size(view.run.adapter.size_bytes)}." if view.run.adapter else ""
            words = f"✓ Finished at step {ending.step}{early}, loss {number(ending.loss)}.{saved}"
            return [literal(words, "bold $success")]
        case RunStopped(is_pause=True) as ending:
            lost = f" {saved_words(ending).capitalize()}." if lost_steps(ending) else ""
            freed = "the GPU" if view.run.machine and view.run.machine.device == "cuda" else "its memory"
            words = (
                f"‖ Paused at step {ending.step}; {freed} is free.{lost} r resumes it, also after a reboot."
            )
            return [literal(words, "bold $warning")]
        case RunStopped() as ending:
            words = f"■ Stopped at step {ending.step}, {saved_words(ending)}. r resumes it."
            return [literal(words, "bold $warning")]
        case RunFailed() as ending:
            return _failure_lines(ending)
    if view.run.started_at is None:
        return [
            literal("! Not started: it is not in the queue any more. r queues it again.", "bold $warning")
        ]
    last_saved = max((checkpoint.step for checkpoint in view.run.checkpoints), default=None)
    start = (
        "starts again: no checkpoint was saved" if last_saved is None else f"resumes from step {last_saved}"
    )
    words = f"! Interrupted: its process ended before the run was finished. r {start}."
    return [literal(words, "bold $warning")]


def _failure_lines(failure: RunFailed) -> list[Content]:
    at = f" at step {failure.step}" if failure.step is not None else ""
    lines = [literal(f"✗ Failed{at}: {failure.title}", "bold $error")]
    if failure.message:
        lines.append(literal_lines(failure.message))
    if failure.hint:
        lines.append(literal_lines(next_step(failure.hint), "$accent"))
    lines += [literal(f"  {line}", "$faint") for line in failure.log_tail[-LOG_LINES:]]
    return lines
