"""The model card's part on evaluation: losses, and the export's verification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.sharing.verification import SKIPPED_WORDS
from tuner_tui.text import counted, number

if TYPE_CHECKING:
    from tuner_tui.runs.export_events import Checked
    from tuner_tui.sharing.run_facts import RunFacts


def evaluation(facts: RunFacts, checked: Checked | None) -> str:
    """The losses, and how the export compared with the trained model."""
    lines = []
    story = facts.story
    if story.evaluations:
        last, best = story.evaluations[-1], story.best_evaluation
        held_out = f"{story.data.evaluation_rows} held-out rows" if story.data else "held-out rows"
        lines.append(f"Loss on {held_out} (never trained on): {number(last.loss)} at step {last.step}.")
        if best is not None and best.step != last.step:
            lines.append(f"The best was {number(best.loss)} at step {best.step}.")
    else:
        lines.append("No held-out evaluation was made.")
    if story.loss is not None:
        lines.append(f"Training loss at the last step: {number(story.loss)}.")
    if checked is not None:
        agreement = checked.agreement
        lines.append(
            f"Read back by {checked.reader} and compared with {checked.against}: {agreement.equal_answers} of "
            f"{counted(agreement.prompts, 'greedy answer')} equal, largest difference of a best token's probability "
            f"{agreement.largest_probability_difference:.2g}."
        )
    else:
        lines.append(SKIPPED_WORDS)
    return "## Evaluation\n\n" + " ".join(lines) + "\n" + _elsewhere(checked)


def _elsewhere(checked: Checked | None) -> str:
    """How an adapter from a quantised base behaves on others; otherwise empty."""
    if checked is None or not checked.variants:
        return ""
    head = (
        "\nThe same adapter on other bases, with the trained model's answers as input:\n\n"
        "| adapter | equal answers | largest difference of a best token's probability |\n| --- | --- | --- |\n"
    )
    return head + "".join(
        f"| {variant.name} | {agreement.equal_answers} of {agreement.prompts} | "
        f"{agreement.largest_probability_difference:.2g} |\n"
        for variant in checked.variants
        if (agreement := variant.agreement)
    )
