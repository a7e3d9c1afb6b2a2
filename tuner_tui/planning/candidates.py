"""The models that could be fine-tuned: those of the table, those on this machine, and the demo's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.config.spec_paths import DEMO
from tuner_tui.errors import TunerError
from tuner_tui.models.demo import DEMO_REPO
from tuner_tui.models.facts import read_facts
from tuner_tui.models.source import ModelSource, find_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner_tui.models.facts import ModelFacts
    from tuner_tui.models.listing import ModelListing
    from tuner_tui.models.open_models import ModelTable, OpenModel

BYTES_STORED = 2
"""For each parameter of a model on the Hub, which are mostly stored in 16 bit."""


@dataclass(frozen=True)
class Candidate:
    """A model that a run could start from, with what is known of it without its weights."""

    source: ModelSource
    named: str
    """What model.source would say."""
    facts: ModelFacts
    parameters: int | None
    licence: str
    good_at: tuple[str, ...] = ()
    gated: bool | None = None
    is_here: bool = False
    """Whether it is on this machine."""
    is_demo: bool = False

    @property
    def name(self) -> str:
        """Its display name, without the owner."""
        return "demo: SmolLM2-135M" if self.is_demo else self.source.name.rpartition("/")[2]

    @property
    def download_bytes(self) -> int:
        """About how much has to be downloaded; 0 for a model on this machine."""
        return 0 if self.is_here or self.parameters is None else BYTES_STORED * self.parameters


def candidates_of(table: ModelTable, listings: Iterable[ModelListing]) -> list[Candidate]:
    """The candidates; of a model that is in the table and on this machine one, with the facts of its own files.

    `listings` are the models on this machine; those that cannot be read are left out, since the Model step says why.
    """
    made: dict[str, Candidate] = {}
    for model in table.models:
        if model.name != DEMO_REPO:
            made[model.name] = _of_table(model)
    for listing in listings:
        is_demo = listing.origin == "demo"
        known = table.model(DEMO_REPO if is_demo else listing.source)
        candidate = _local(listing, known, is_demo=is_demo)
        if candidate is not None and (is_demo or listing.source != DEMO_REPO):
            made[listing.source] = candidate
    return list(made.values())


def _of_table(model: OpenModel) -> Candidate:
    return Candidate(
        find_source(model.name),
        model.name,
        model.facts,
        model.parameters,
        model.licence,
        model.good_at,
        model.gated,
    )


def _local(listing: ModelListing, known: OpenModel | None, *, is_demo: bool) -> Candidate | None:
    try:
        source = find_source(listing.source)
        facts = read_facts(source) if source.path is not None else None
    except TunerError:
        return None
    is_here = facts is not None
    facts = facts or (known.facts if known else None)
    if facts is None:
        return None
    return Candidate(
        source,
        DEMO if is_demo else listing.source,
        facts,
        facts.parameters or listing.parameters or (known.parameters if known else None),
        listing.licence or (known.licence if known else "") or "unknown",
        known.good_at if known else (),
        listing.gated if listing.gated is not None else (known.gated if known else None),
        is_here=is_here,
        is_demo=is_demo,
    )


def facts_by_name(candidates: Sequence[Candidate]) -> dict[str, ModelFacts]:
    """What is known of each model, by what model.source would say."""
    facts = {candidate.named: candidate.facts for candidate in candidates}
    return {DEMO_REPO: facts[DEMO], **facts} if DEMO in facts else facts
