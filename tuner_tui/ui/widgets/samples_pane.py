"""The tuned model's answers beside the base's, prompt by prompt; arrow keys show earlier ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.ui.run_watch import RunView
from tuner_tui.ui.widgets.literal import literal, literal_lines, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.runs.events import Sampled


class Answered(NamedTuple):
    """A prompt with the base's answer and the tuned model's at one step."""

    prompt: str
    base: Sampled | None
    tuned: Sampled | None


def sampled_steps(samples: Sequence[Sampled]) -> list[int]:
    """The steps at which the tuned model was asked, in order."""
    return sorted({sample.step for sample in samples if sample.source == "tuned"})


def answers_at(samples: Sequence[Sampled], step: int | None) -> list[Answered]:
    """Every prompt in order, with the answers known up to a step."""
    prompts: dict[int, str] = {}
    base: dict[int, Sampled] = {}
    tuned: dict[int, Sampled] = {}
    for sample in samples:
        prompts[sample.prompt_index] = sample.prompt
        if sample.source == "base":
            base[sample.prompt_index] = sample
        elif step is None or sample.step <= step:
            tuned[sample.prompt_index] = sample
    return [Answered(prompts[index], base.get(index), tuned.get(index)) for index in sorted(prompts)]


class AnswerRow(Vertical):
    """One prompt: base on the left, tuned on the right; on a narrow screen one below the other."""

    answered: var[Answered | None] = var(None)

    def compose(self) -> ComposeResult:
        yield Static("", classes="prompt", markup=False)
        with Horizontal(classes="answers"):
            yield Static("", classes="base", markup=False)
            yield Static("", classes="tuned", markup=False)

    def on_mount(self) -> None:
        self._show()

    def watch_answered(self) -> None:
        self._show()

    def _show(self) -> None:
        """Show what is answered; a row whose screen is opening or closing may have no parts."""
        if self.answered is None:
            return
        for part, words in (
            (".prompt", literal(self.answered.prompt)),
            (".base", _said("base", self.answered.base)),
            (".tuned", _said("tuned", self.answered.tuned)),
        ):
            for static in self.query(part).results(Static):
                static.update(words)


class SamplesPane(VerticalScroll, can_focus=True):
    """All prompts, the newest answers first shown."""

    DEFAULT_CSS = """
    SamplesPane { height: 1fr; padding: 0 1; }
    SamplesPane #when { height: 1; color: $faint; }
    SamplesPane AnswerRow { height: auto; margin-top: 1; }
    SamplesPane .prompt { text-style: bold; }
    SamplesPane .answers { height: auto; }
    SamplesPane .base { width: 1fr; padding-right: 2; color: $secondary; }
    SamplesPane .tuned { width: 1fr; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("left", "walk(-1)", "Earlier", show=False, tooltip="Earlier answers"),
        Binding("right", "walk(1)", "Later", show=False, tooltip="Later answers"),
    ]
    help_text = (
        "Each prompt, answered by base and tuned model. Left and right show earlier and later answers."
    )

    view: var[RunView | None] = var(None)
    chosen: var[int | None] = var(None)
    """The step shown; None follows the newest."""

    def compose(self) -> ComposeResult:
        yield Static("", id="when", markup=False)

    async def watch_view(self) -> None:
        await self._show()

    async def watch_chosen(self) -> None:
        await self._show()

    def action_walk(self, steps: int) -> None:
        if self.view is None or not (known := sampled_steps(self.view.run.samples)):
            return
        place = known.index(self.chosen) if self.chosen in known else len(known) - 1
        place = max(0, min(place + steps, len(known) - 1))
        self.chosen = None if place == len(known) - 1 else known[place]

    async def _show(self) -> None:
        if self.view is None or not self.is_mounted:
            return
        answers = answers_at(self.view.run.samples, self.chosen)
        show(self.query_one("#when", Static), self._when())
        rows = list(self.query(AnswerRow))
        if len(rows) < len(answers):
            more = [AnswerRow() for _ in answers[len(rows) :]]
            await self.mount(*more)
            rows += more
        for row, answered in zip(rows, answers, strict=False):
            row.answered = answered

    def _when(self) -> Content:
        assert self.view is not None
        known = sampled_steps(self.view.run.samples)
        if not self.view.run.samples:
            return Content("No samples yet: the run answers its prompts at intervals; g asks now.")
        if not known:
            return Content("The base has answered; the tuned model is asked later. g asks now.")
        at = self.chosen if self.chosen is not None else known[-1]
        walk = "  left and right: earlier, later" if len(known) > 1 else ""
        return Content(f"after step {at} ({known.index(at) + 1 if at in known else 1} of {len(known)}){walk}")


def _said(who: str, sample: Sampled | None) -> Content:
    if sample is None:
        return Content.assemble((f"{who}\n", "bold $faint"), ("not asked yet", "$faint"))
    name = who if who == "base" else f"tuned, step {sample.step}"
    cut = "" if sample.is_finished else " …"
    return Content.assemble(
        (f"{name}\n", "bold $faint"), literal_lines(sample.answer.strip() or "(nothing)"), (cut, "$faint")
    )
