"""The proposal of each goal trains: every recipe on a tiny model, with rows of the kind that the goal asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.pdf_file import write_pdf
from tests.worker.preferences import rows_for
from tests.worker.runs import Run, write_rows
from tuner_tui.config.goals import Goal, GoalRecipe, list_goals
from tuner_tui.models.listing import ModelListing
from tuner_tui.models.open_models import read_open_models
from tuner_tui.planning.candidates import candidates_of
from tuner_tui.planning.place import Place
from tuner_tui.planning.plan import make_plan, planned
from tuner_tui.planning.proposals import propose
from tuner_tui.runs.create import create_run
from tuner_tui.runs.events import DataPrepared, RunFinished, StepLogged

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
STEPS = 3
CASES = [(goal, recipe) for goal in list_goals() for recipe in goal.recipes]


def data_for(goal: Goal, recipe: GoalRecipe, folder: Path) -> Path:
    """Rows or documents as the goal asks for them."""
    if any(setting.key == "data.chunk_bytes" for setting in recipe.set):
        documents = folder / "documents"
        documents.mkdir()
        (documents / "a.md").write_text("\n\n".join(f"Reading room {n} opens at {n}." for n in range(900)))
        (documents / "b.txt").write_text("\n\n".join(f"Catalogue {n} is in hall {n}." for n in range(900)))
        write_pdf(documents / "c.pdf", [["The ink is in the cellar."], ["The librarian has eight arms."]])
        return documents
    methods: dict[str, Any] = {"rows": rows_for(recipe.method) if goal.name == "ratings" else None}
    return write_rows(folder / "rows.jsonl", methods["rows"])


@pytest.mark.parametrize(
    ("goal", "recipe"), CASES, ids=[f"{goal.name}-{recipe.method}-{recipe.tuning}" for goal, recipe in CASES]
)
def test_a_proposal_trains(goal: Goal, recipe: GoalRecipe, tiny_model: Path, tmp_path: Path) -> None:
    from tuner_tui.worker.train import run_job

    data = data_for(goal, recipe, tmp_path)
    candidates = candidates_of(read_open_models(), [ModelListing(str(tiny_model), "tiny", "folder")])
    place = Place(False, "RAM", 60_000_000_000, 64_000_000_000, has_16_bit=False)
    items = propose(goal, candidates, place, data=str(data)).items
    (proposal,) = [each for each in items if each.model.named == str(tiny_model) and each.recipe == recipe]
    spec = proposal.spec
    training = spec.training.model_copy(update={"max_steps": STEPS})
    machine = spec.machine.model_copy(update={"device": "cpu", "threads": 1})
    spec = spec.model_copy(update={"training": training, "machine": machine})
    plan = make_plan(spec, proposal.model.source, memory=proposal.memory)
    folder = create_run(spec, plan)
    run = Run(folder, run_job(folder.path))
    assert run.last(RunFinished).step == STEPS, run.events[-1]
    assert len(run.all(StepLogged)) == STEPS
    assert run.last(DataPrepared).rows >= 8
    assert planned(spec, plan).training.micro_batch == proposal.memory.micro_batch
