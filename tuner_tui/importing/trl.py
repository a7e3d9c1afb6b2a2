"""TRL's data sets, and the command that a file of settings is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner_tui.importing import data_sets
from tuner_tui.importing.data_sets import DataSet
from tuner_tui.importing.paths import data_source

if TYPE_CHECKING:
    from tuner_tui.importing.rules import Rules
    from tuner_tui.importing.source import Source
    from tuner_tui.importing.yaml_text import Place


def command_of(values: dict[str, Any], commands: dict[str, list[str]]) -> str | None:
    """The only command that has some of these settings; None where none or several do."""
    found = [
        command for command, keys in commands.items() if any(values.get(key) is not None for key in keys)
    ]
    return found[0] if len(found) == 1 else None


def read_data(rules: Rules, source: Source) -> None:
    """`dataset_name` or `datasets`, with splits."""
    listed = source.values.get("datasets")
    entries = listed if isinstance(listed, list) else []
    sets = [each for number, entry in enumerate(entries) if (each := _one(rules, source, number, entry))]
    ledger, file = rules.ledger, source.name
    name, split = source.values.get("dataset_name"), source.values.get("dataset_train_split")
    if sets:
        reason = "datasets takes precedence where both are given"
        ledger.close(file, [("dataset_name",), ("dataset_config",)], "not_needed", reason)
    elif isinstance(name, str) and (found := data_source(name.strip(), rules.folders)):
        sets = [_named(source, found, ("dataset_name",), ("dataset_config",))]
        if isinstance(split, str):
            sets[0].split, sets[0].split_places = split, [("dataset_train_split",)]
    data_sets.use(rules, sets)
    if source.values.get("eval_strategy") in (None, False, "no"):
        ledger.close(file, [("dataset_test_split",)], "not_needed", "no rows are evaluated")
    reason = (
        "evaluation data is a file or data set of its own here: data.evaluation, or data.evaluation_share"
    )
    ledger.close(file, [("dataset_test_split",)], "not_taken", reason)


def loss_default(rules: Rules, source: Source, shape: str | None) -> None:
    """Which tokens have loss where the settings do not say it, by the dataset type if the rows are here."""
    known = rules.more(source)["loss_on"]
    reason = f"{rules.default_reason()} for conversations and plain text; of prompt-completion rows, completions alone"
    rules.set_default("method.loss_on", known.get(shape, known["other"]), reason)


def _named(source: Source, found: str, name: Place, part: Place) -> DataSet:
    inner: Any = source.values
    for key in part:
        inner = inner.get(key) if isinstance(inner, dict) else inner[key] if isinstance(key, int) else None
    made = DataSet(source.name, found, [name])
    if found.startswith("hub:"):
        made.reason = "a data set of the Hub"
        if isinstance(inner, str) and inner and ".." not in inner and not inner.startswith("/"):
            made.source = f"{found}/{inner}"
            made.named_by.append(part)
    return made


def _one(rules: Rules, source: Source, number: int, entry: Any) -> DataSet | None:
    root: Place = ("datasets", number)
    ledger, file = rules.ledger, source.name
    path = entry.get("path") if isinstance(entry, dict) else None
    files = entry.get("data_files") if isinstance(entry, dict) else None
    names = [files] if isinstance(files, str) else files if isinstance(files, list) else []
    if isinstance(path, str) and path in ("json", "csv", "parquet", "text", "arrow") and len(names) == 1:
        found = data_source(names[0], rules.folders) if isinstance(names[0], str) else None
        made = (
            DataSet(file, found, [(*root, "path"), (*root, "data_files")], "the file itself")
            if found
            else None
        )
    elif isinstance(path, str) and not names and (found := data_source(path.strip(), rules.folders)):
        made = _named(source, found, (*root, "path"), (*root, "name"))
    else:
        made = None
    if made is None:
        ledger.close(file, [root], "not_taken", "names no file or data set that can be read here")
        return None
    if isinstance(entry.get("split"), str):
        made.split, made.split_places = entry["split"], [(*root, "split")]
    if "fraction" in entry and (share := data_sets.share(entry["fraction"])):
        made.weight, made.weight_places = share, [(*root, "fraction")]
    ledger.close(file, [(*root, "columns")], "not_needed", "columns are recognised; others are not used")
    return made
