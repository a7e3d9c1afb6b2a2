"""A new run on a collection: its method by what it holds, its model by who answered."""

from __future__ import annotations

from tuner_tui.config.draft import UNSET
from tuner_tui.config.methods.traits import TRAITS, Feedback, MethodKind
from tuner_tui.config.spec import RunSpec
from tuner_tui.feedback.as_data import PREFIX
from tuner_tui.feedback.collections import open_collection
from tuner_tui.feedback.exporting import Filters, available_kind


def training_spec(name: str) -> RunSpec:
    """A spec that trains on a collection; its model is unset where several bases, or none, have answered.

    Raises InputError when there is nothing to train on, and as `open_collection` does.
    """
    with open_collection(name) as store:
        kind = available_kind(store, Filters())
        bases = {candidate.base.source for candidate in store.settings().candidates}
    return RunSpec.model_validate(
        {
            "model": {"source": bases.pop() if len(bases) == 1 else UNSET},
            "data": {"train": f"{PREFIX}{name}"},
            "method": {"kind": fitting_method(kind)},
        }
    )


def fitting_method(kind: Feedback) -> MethodKind:
    """The first of the methods that train on a kind of annotation; their order is that of the traits."""
    return next(method for method, traits in TRAITS.items() if traits.feedback == kind)
