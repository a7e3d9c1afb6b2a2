"""Unsloth's data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner_tui.importing import data_sets
from tuner_tui.importing.data_sets import DataSet
from tuner_tui.importing.paths import data_source
from tuner_tui.importing.values import word, words

if TYPE_CHECKING:
    from tuner_tui.importing.rules import Rules
    from tuner_tui.importing.source import Source


def read_data(rules: Rules, source: Source) -> None:
    """`data.dataset`, `data.local_dataset` and `data.format_type`."""
    section = source.values.get("data")
    given = section if isinstance(section, dict) else {}
    file, ledger = source.name, rules.ledger
    sets: list[DataSet] = []
    local = words(given.get("local_dataset"))
    if local:
        for name in local:
            if found := data_source(name, rules.folders):
                sets.append(DataSet(file, found, [("data", "local_dataset")] if not sets else []))
        if len(sets) < len(local):
            reason = "names a file that cannot be read here"
            ledger.close(file, [("data", "local_dataset")], "not_taken", reason)
            sets = []
    hub = given.get("dataset")
    if isinstance(hub, str) and hub.strip():
        if sets:
            ledger.close(file, [("data", "dataset")], "not_taken", "the local files take precedence")
        elif found := data_source(hub.strip(), rules.folders):
            sets = [
                DataSet(
                    file,
                    found,
                    [("data", "dataset")],
                    "a data set of the Hub" if found.startswith("hub:") else "",
                )
            ]
    if sets:
        _format(rules.more(source)["rows"], sets, given.get("format_type"))
    data_sets.use(rules, sets)


def _format(known: dict[str, Any], sets: list[DataSet], given: object) -> None:
    name = word(given)
    if name is None or name not in known:
        return
    for each in sets:
        each.shape = known[name].get("shape")
        each.loss_on = known[name].get("loss_on")
        each.shape_reason = known[name].get("reason", "")
    sets[0].shape_places = [("data", "format_type")]
