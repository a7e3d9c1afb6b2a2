"""A run's progress, time left, and current figures."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tuner_tui.runs.metric_words import leading
from tuner_tui.text import count, duration, number
from tuner_tui.ui.run_watch import RunView
from tuner_tui.ui.run_words import progress_bar, rough


class ProgressLine(Widget):
    """A bar and the time left, or the time taken."""

    DEFAULT_CSS = "ProgressLine { height: 1; padding: 0 1; }"

    view: reactive[RunView | None] = reactive(None)

    def render(self) -> Content:
        if self.view is None:
            return Content("")
        run = self.view.run
        share = run.step / run.total_steps if run.total_steps else 0.0
        words = f" {run.step}/{run.total_steps}  {share:4.0%}" if run.total_steps else " no steps yet"
        words += self._time()
        done, left = progress_bar(share, max(0, self.content_size.width - len(words) - 1))
        return Content.assemble((done, "$primary"), (left, "$faint"), " ", words)

    def _time(self) -> str:
        assert self.view is not None
        run = self.view.run
        if run.seconds_left is not None and self.view.is_live:
            return f"  {duration(run.seconds_left)} left"
        if run.started_at and run.ended_at:
            return f"  took {duration(run.active_seconds)}"
        return ""


class FiguresLine(Widget):
    """Loss, evaluation, the method's metrics, speed, learning rate and gradient norm, as many as fit."""

    DEFAULT_CSS = "FiguresLine { height: 1; padding: 0 1; }"

    view: reactive[RunView | None] = reactive(None)

    def render(self) -> Content:
        if self.view is None or self.view.run.last_step is None:
            return Content("")
        run, step = self.view.run, self.view.run.last_step
        figures = [("loss", number(step.loss), "$error" if step.loss is None else "bold")]
        if run.evaluations:
            best = run.best_evaluation
            words = number(run.evaluations[-1].loss)
            if best is not None and best is not run.evaluations[-1]:
                words += f" (best {number(best.loss)} at {best.step})"
            figures.append(("held out", words, "bold"))
        figures += [(words.title, number(value, 3), "bold") for words, value in leading(step.metrics)]
        speed = "unknown" if run.tokens_per_second is None else f"{run.tokens_per_second:,.0f}"
        figures.append(("tokens/s", speed, "bold"))
        rate = "unknown" if step.learning_rate is None else f"{step.learning_rate:.2e}"
        figures.append(("lr", rate, "bold"))
        figures.append(
            ("grad norm", number(step.grad_norm, 3), "$error" if step.grad_norm is None else "bold")
        )
        figures.append(("epoch", f"{run.epoch:.2f}", "bold"))
        figures.append(("tokens", count(run.tokens), "bold"))
        if self.view.is_live and run.active_seconds:
            figures.append(("since", rough(run.active_seconds), "bold"))
        return _joined(figures, self.content_size.width)


def _joined(figures: list[tuple[str, str, str]], width: int) -> Content:
    """Complete figures only, by importance."""
    parts: list[tuple[str, str]] = []
    used = 0
    for name, value, style in figures:
        used += len(name) + len(value) + 1 + (3 if parts else 0)
        if used > width:
            break
        parts += [("   " if parts else "", ""), (f"{name} ", "$faint"), (value, style)]
    return Content.assemble(*parts)
