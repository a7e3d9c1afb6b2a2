"""Imports the settings of another tool: a run spec that our own reader accepts, and the account of every key."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner_tui.config.methods.traits import DEFAULT_METHOD
from tuner_tui.config.rules import RULES
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.spec_checks import validate
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.importing import adapters, axolotl, combined, llama_factory, trl, unsloth
from tuner_tui.importing.data_sets import PLACEHOLDER
from tuner_tui.importing.ledger import Default, Entry, Ledger
from tuner_tui.importing.paths import data_source, on_this_machine
from tuner_tui.importing.recognise import FOLDER, recognised
from tuner_tui.importing.rules import Part, Rules
from tuner_tui.importing.source import LARGEST_STATE_BYTES, Source, read_source
from tuner_tui.importing.table import table
from tuner_tui.text import listed, plain

READERS = {
    "axolotl": axolotl.read_data,
    "llama-factory": llama_factory.read_data,
    "unsloth": unsloth.read_data,
    "trl": trl.read_data,
}
FILES_OF_FOLDER = {
    "adapter_config.json": "adapter",
    "training_args.json": "trainer",
    "training_args.yaml": "trainer",
    "training_args.yml": "trainer",
    "trainer_state.json": "state",
}
"""What a folder of settings may have, each with its table."""
TRAINER = "trainer"
PICKLED = "training_args.bin"
PICKLE_REASON = (
    "is not read: it is a pickle, which can run any code when it is loaded; "
    "save the arguments with to_json_string() as training_args.json, which is read"
)
REQUIRED = ("model.source", "data.train", "method.kind", "tuning.kind")
LARGEST_COUNTED_BYTES = 64 << 20
"""Data files up to this size are counted, for the share of the steps that warm-up takes."""


@dataclass(frozen=True)
class Imported:
    """What came of an import."""

    tool: str
    """The tool's name and version, whose facts were used."""
    files: tuple[Path, ...]
    spec: RunSpec
    values: dict[str, Any]
    """The options that were set, by dotted key, in the order of run.toml."""
    entries: tuple[Entry, ...]
    defaults: tuple[Default, ...]
    missing: tuple[str, ...]
    """What is not on this machine yet."""
    notes: tuple[str, ...]

    @property
    def reasons(self) -> dict[str, str]:
        """Where the value of each option comes from."""
        reasons = {default.key: default.reason for default in self.defaults}
        for entry in self.entries:
            for key in entry.ours:
                reasons.setdefault(key, entry.key)
        return reasons


def import_settings(
    path: Path,
    tool: str | None = None,
    method: str | None = None,
    model: str | None = None,
    data: str | None = None,
) -> Imported:
    """Read settings and convert them. `model` and `data` are used in place of what the settings name.

    Raises InputError for a file that cannot be read, is of no known tool, or names no model; NotFoundError for none.
    """
    sources, notes = _sources(path, tool)
    parts = [
        Part(source, table(kind or tool or recognised(source.values, path.name))) for source, kind in sources
    ]
    folders = (parts[0].source.path.absolute().parent, Path.cwd())
    ledger = Ledger((part.source, part.table.whole) for part in parts)
    rules = Rules(ledger, parts, folders)
    if method is not None:
        ledger.spec["method.kind"] = method
    for part in parts:
        if method is None and (commands := part.table.more.get("commands")):
            notes += _command(ledger, part.source, commands)
        more = part.table.more["tool"]
        if "note" in more and more["unless"] not in part.source.values:
            notes.append(more["note"])
    _run(rules, model, data)
    spec = _accepted(ledger)
    ordered = _ordered(ledger.spec)
    return Imported(
        " and ".join(dict.fromkeys(part.table.label for part in parts)),
        tuple(part.source.path for part in parts),
        spec,
        ordered,
        ledger.entries,
        tuple(ledger.defaults),
        tuple(_missing(spec, ledger.spec)),
        tuple(notes),
    )


def _sources(path: Path, tool: str | None) -> tuple[list[tuple[Source, str | None]], list[str]]:
    """The files to read, each with the table of its settings if the tool does not say it."""
    if not path.is_dir():
        if path.name == PICKLED:
            raise InputError(
                "The file is not read", f"{plain(path.name)} {PICKLE_REASON}.", "Give its folder."
            )
        if tool == FOLDER:
            raise InputError(
                "Not a folder", f"{plain(str(path))} is a file.", "Leave --from out, or give a folder."
            )
        if tool is None and path.name in FILES_OF_FOLDER:
            return [_with_table(read_source(path, LARGEST_STATE_BYTES))], []
        return [(read_source(path), None)], []
    if tool not in (None, FOLDER):
        raise InputError("A folder, not a file", plain(str(path)), "Give the file of settings inside it.")
    names = _names_in(path)
    found = [path / name for name in FILES_OF_FOLDER if name in names]
    notes = [f"{PICKLED} {PICKLE_REASON}."] if PICKLED in names else []
    if not found:
        raise NotFoundError(
            "No settings in the folder",
            f"{plain(str(path))}: expected {listed(list(FILES_OF_FOLDER), 'or')}."
            + "".join(f" {n}" for n in notes),
            "Give the file of settings itself, if it has another name.",
        )
    return [_with_table(read_source(file, LARGEST_STATE_BYTES)) for file in found], notes


def _names_in(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise InputError("The folder cannot be read", f"{plain(str(folder))}: {error.strerror}.") from None


def _with_table(source: Source) -> tuple[Source, str | None]:
    """A file of a folder with its table: training_args may be of a tool that saves all its settings so."""
    kind = FILES_OF_FOLDER[source.name]
    if kind == TRAINER:
        with contextlib.suppress(InputError):
            return source, recognised(source.values, source.name)
    return source, kind


def _command(ledger: Ledger, source: Source, commands: dict[str, list[str]]) -> list[str]:
    found = trl.command_of(source.values, commands)
    ledger.spec["method.kind"] = found or DEFAULT_METHOD
    if found:
        return [f"The settings are those of `trl {found}`, by their keys; --method says another one."]
    return [f"The file does not name its command: read as `trl {DEFAULT_METHOD}`; --method says another one."]


def _run(rules: Rules, model: str | None, data: str | None) -> None:
    ledger = rules.ledger
    rules.choose_kinds()
    combined.model(rules, _given_model(model))
    if data is not None:
        ledger.spec["data.train"] = data_source(data, (Path.cwd(),)) or data
    for part in rules.parts:
        if part.table.name in READERS:
            READERS[part.table.name](rules, part.source)
    rules.apply()
    for part in rules.parts:
        if "loss_on" in part.table.more:
            trl.loss_default(rules, part.source, _shape(ledger.spec))
    combined.batch(rules)
    combined.length_of_run(rules)
    combined.packing(rules)
    rows = _rows(ledger.spec)
    combined.held_out(rules, rows)
    combined.precision(rules)
    adapters.adapter(rules)
    combined.memory(rules)
    combined.schedule(rules)
    combined.warm_up(rules, rows)
    rules.finish()
    if "model.source" not in ledger.spec:
        raise InputError(
            "The settings name no model",
            f"{plain(rules.parts[0].source.name)}: no model that can be read here.",
            "Give it: --model NAME, a Hub repository or a folder.",
        )
    ledger.spec.setdefault("data.train", PLACEHOLDER)


def _given_model(model: str | None) -> str | None:
    return None if model is None else on_this_machine(model, (Path.cwd(),), is_model=True) or model


def _shape(spec: dict[str, Any]) -> str | None:
    """The dataset type of the training rows, where they are in a file or folder on this machine."""
    from tuner_tui.config.data_section import DataSpec
    from tuner_tui.data.recognition.reading import plain_rows, training_reading

    if spec.get("data.shape") or not Path(spec.get("data.train", "")).is_absolute():
        return spec.get("data.shape")
    try:
        keys = ("train", "split", "mapping")
        made = {key: spec[f"data.{key}"] for key in keys if f"data.{key}" in spec}
        return plain_rows(training_reading(DataSpec.model_validate(made))).layout.shape
    except (TunerError, OSError, ValueError):
        return None


def _rows(spec: dict[str, Any]) -> int | None:
    """The number of training rows, where they are in one small file or folder on this machine."""
    from tuner_tui.data.files.rows import data_files, each_row

    train = spec.get("data.train", "")
    if "data.also" in spec or not Path(train).is_absolute():
        return None
    try:
        if sum(file.stat().st_size for file in data_files(Path(train))) > LARGEST_COUNTED_BYTES:
            return None
        return sum(
            1 for _ in each_row(Path(train), split=spec.get("data.split"), limit=spec.get("data.limit"))
        )
    except (TunerError, OSError, ValueError, TypeError):
        return None


def _accepted(ledger: Ledger) -> RunSpec:
    """The spec that the values make. What our reader refuses is taken back, with its reason. Raises InputError."""
    for _ in range(len(ledger.spec) + 1):
        spec, findings = validate(_tables(ledger.spec))
        if not findings and spec is not None:
            return spec
        for path, message, hint in findings:
            key = ".".join(path)
            wrong = _to_withdraw(ledger, key, message)
            if wrong is None:
                raise InputError("The settings cannot be imported", f"{key}: {message}.", hint)
            ledger.withdraw(wrong, " ".join(part for part in (f"{message}.", hint) if part))
    raise InputError("The settings cannot be imported", "They contradict each other.")


def _to_withdraw(ledger: Ledger, key: str, message: str) -> str | None:
    """The option to take back: the one that is wrong, or of a broken rule one that can be missing."""
    keys = next((rule.keys for rule in RULES if rule.reason == message), (key,))
    usable = [name for name in keys if name in ledger.spec and name not in REQUIRED]
    first = [name for name in usable if name.endswith("micro_batch")]
    return next(iter((*first, *usable)), None)


def _tables(values: dict[str, Any]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        if name:
            tables.setdefault(section, {})[name] = value
        else:
            tables[section] = value
    return tables


def _ordered(values: dict[str, Any]) -> dict[str, Any]:
    """By section and option as run.toml has them."""
    from tuner_tui.config.sections import kinds_of

    names = itertools.chain.from_iterable(
        [f"{section}.{name}" for options in kinds_of(section).values() for name in options.model_fields]
        for section in RunSpec.model_fields
    )
    return {key: values[key] for key in dict.fromkeys(names) if key in values}


def _missing(spec: RunSpec, values: dict[str, Any]) -> list[str]:
    """Model and data that are not on this machine."""
    from tuner_tui.data.files.rows import locate
    from tuner_tui.models.source import find_source

    found: list[str] = []
    try:
        source = find_source(spec.model.source, spec.model.revision)
        if source.path is None:
            found.append(f"the model {spec.model.source}: `train` downloads it from the Hub")
    except TunerError as error:
        found.append(f"the model {spec.model.source}: {error.message or error.title}")
    if values["data.train"] == PLACEHOLDER:
        found.append(f"the training data: put it in {PLACEHOLDER}, or set data.train")
        return found
    files = [line.rpartition(" weight=")[0] or line for line in spec.data.also]
    files = [line.rpartition(" rows=")[0] or line for line in files]
    for name in (spec.data.train, *files, *((spec.data.evaluation,) if spec.data.evaluation else ())):
        try:
            locate(name)
        except TunerError as error:
            hub = name.startswith("hub:")
            problem_text = "`train` downloads it from the Hub" if hub else error.message or error.title
            found.append(f"the data {name}: {problem_text}")
    return found
