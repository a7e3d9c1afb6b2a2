"""The state of the New run screen: a draft with facts about its model, data and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tuner_tui.config.draft import UNSET, Draft
from tuner_tui.config.rules import Problem
from tuner_tui.planning.enough_rows import part_batch, too_few_rows
from tuner_tui.planning.place import UNCOUNTED, Rows
from tuner_tui.planning.refusals import refusal_of
from tuner_tui.planning.warm_up import short_run, steps_of
from tuner_tui.text import counted, plain

if TYPE_CHECKING:
    from tuner_tui.data.files.listing import DataLook
    from tuner_tui.errors import TunerError
    from tuner_tui.models.listing import ModelLook

Step = Literal["model", "data", "method", "settings", "review"]
STEPS: tuple[Step, ...] = ("model", "data", "method", "settings", "review")
Status = Literal["done", "needs", "waiting"]
DATA_KEYS = ("data.train", "data.evaluation", "data.evaluation_share")


def step_of(key: str) -> Step:
    """The step of an option."""
    if key == "model.source":
        return "model"
    if key in DATA_KEYS:
        return "data"
    return "method" if key in ("method.kind", "tuning.kind") else "settings"


@dataclass(frozen=True)
class StepState:
    """The status of one step."""

    status: Status
    words: str
    detail: str = ""


@dataclass(frozen=True)
class NewRunState:
    """An immutable state of the screen."""

    draft: Draft
    model: ModelLook | None = None
    """None while it is being read."""
    data: DataLook | None = None
    evaluation: DataLook | None = None
    rows: Rows = UNCOUNTED
    """What is known of the training rows' tokens."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What does not keep the run from starting, and is likely to waste it."""
        if self.data is None or self.data.problem or self.data.is_partial or not self.data.rows:
            return ()
        spec, rows = self.draft.spec, self.data.rows
        short = short_run(spec, steps_of(spec, rows))
        return tuple(filter(None, (part_batch(spec, rows), f"{short.message} {short.hint}" if short else "")))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems that prevent the start, each with its key."""
        draft = self.draft
        all_problems = list(draft.problems)
        if draft.broken is not None:
            return tuple(all_problems)
        known = {problem.key for problem in all_problems}
        if self.model and self.model.problem and "model.source" not in known:
            all_problems.insert(0, _as_problem("model.source", self.model.problem))
        facts = self.model.facts if self.model and not self.model.problem else None
        refusal = refusal_of(draft.spec, facts, self.rows)
        if refusal is not None and refusal.key not in known:
            all_problems.append(
                Problem("", None, refusal.key, f"{refusal.title}: {refusal.why}", refusal.hint)
            )
        if self.data and not self.data.problem and not self.data.is_partial:
            few = too_few_rows(draft.spec, self.data.rows)
            if few is not None and few.key not in known:
                all_problems.append(Problem("", None, few.key, f"{few.title}: {few.message}", few.hint))
        for key, look in (("data.train", self.data), ("data.evaluation", self.evaluation)):
            if look and look.problem and key not in known:
                all_problems.append(
                    _as_problem("method.kind" if look.is_for_other_method else key, look.problem)
                )
        return tuple(all_problems)

    def step(self, step: Step) -> StepState:
        """The status of a step, in words."""
        problems = self.problems
        if step == "review":
            if problems:
                count = len(problems)
                return StepState("needs", counted(count, "problem"), "")
            is_waiting = any(self.step(other).status == "waiting" for other in STEPS[:-1])
            return (
                StepState("waiting", "checking") if is_waiting else StepState("done", "ready", "s starts it")
            )
        is_bad = self.draft.broken is None and any(step_of(problem.key) == step for problem in problems)
        detail = self._detail(step)
        if is_bad:
            return StepState("needs", "to do", detail)
        if (step == "model" and self.model is None) or (step == "data" and self.data is None):
            return StepState("waiting", "checking", detail)
        return StepState("done", "done", detail)

    def _detail(self, step: Step) -> str:
        spec = self.draft.spec
        match step:
            case "model":
                return "" if spec.model.source == UNSET else plain(model_name(self))
            case "data":
                if spec.data.train == UNSET:
                    return ""
                rows = f", {counted(self.data.rows, 'row')}" if self.data and self.data.rows else ""
                return plain(f"{spec.data.train}{rows}")
            case "method":
                return f"{spec.method.kind}, {spec.tuning.kind}"
            case _:
                return f"{spec.training.epochs:g} epochs, batch {spec.training.batch_size}"


def model_name(state: NewRunState) -> str:
    """The chosen model's display name."""
    source = state.draft.spec.model.source
    if source == UNSET:
        return ""
    if source == "demo":
        return "SmolLM2-135M-Instruct"
    return state.model.source.name if state.model and state.model.source else source


def _as_problem(key: str, error: TunerError) -> Problem:
    words = ": ".join(part for part in (error.title, error.message) if part)
    return Problem("", None, key, words, error.hint)


def problem_words(problem: Problem) -> str:
    """A problem and its remedy in one or two sentences."""
    message = problem.message if problem.message.endswith((".", "?", "!")) else f"{problem.message}."
    return f"{message} {problem.hint}".strip()
