"""Axolotl's data sets: paths, types, columns and roles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner_tui.importing import data_sets
from tuner_tui.importing.data_sets import DataSet
from tuner_tui.importing.paths import data_source, on_this_machine
from tuner_tui.importing.values import word

if TYPE_CHECKING:
    from tuner_tui.importing.rules import Rules
    from tuner_tui.importing.source import Source
    from tuner_tui.importing.yaml_text import Place

BUILDERS = ("json", "csv", "parquet", "text", "arrow")
"""Names that `path` may have where `data_files` has the files."""
PARTS_OF_TYPE = {
    "field_prompt": "prompt", "field_chosen": "chosen", "field_rejected": "rejected", "field_completion": "completion",
    "field_label": "label",
}  # fmt: skip


def read_data(rules: Rules, source: Source) -> None:
    """`datasets`, `test_datasets` and the chat template."""
    sets = [_one(rules, source, "datasets", number) for number in _entries(source, "datasets")]
    data_sets.use(rules, [each for each in sets if each])
    tests = [
        each for n in _entries(source, "test_datasets") if (each := _one(rules, source, "test_datasets", n))
    ]
    if tests:
        data_sets.evaluation(rules, tests[0], tests[1:])
    _template(rules, source)


def _entries(source: Source, key: str) -> range:
    found = source.values.get(key)
    return range(len(found) if isinstance(found, list) else 0)


def _one(rules: Rules, source: Source, key: str, number: int) -> DataSet | None:
    entry = source.values[key][number]
    root: Place = (key, number)
    ledger, file = rules.ledger, source.name
    if not isinstance(entry, dict):
        ledger.close(file, [root], "not_taken", "expected a table with path and type")
        return None
    made = _named(rules, file, root, entry)
    if made is None:
        ledger.close(file, [root], "not_taken", "names no file or data set that can be read here")
        return None
    if isinstance(entry.get("split"), str):
        made.split, made.split_places = entry["split"], [(*root, "split")]
    _type(rules, source, made, root, entry)
    _columns(rules, made, root, entry)
    _turns(rules, file, root, entry)
    is_own = entry.get("chat_template") in (None, "tokenizer_default")
    ledger.close(
        file,
        [(*root, "chat_template")],
        "not_needed" if is_own else "not_taken",
        "the model's own, as here" if is_own else "one template for all rows here: data.template",
    )
    ledger.close(file, [(*root, "ds_type")], "not_needed", "the type of a file is seen from the file")
    for name in ("shards", "shards_idx", "preprocess_shards", "trust_remote_code", "revision"):
        ledger.close(
            file,
            [(*root, name)],
            "not_needed" if name[:3] in ("tru", "pre") else "not_taken",
            "all of the newest rows are read",
        )
    return made


def _named(rules: Rules, file: str, root: Place, entry: dict[str, Any]) -> DataSet | None:
    path, files = entry.get("path"), entry.get("data_files")
    names = [files] if isinstance(files, str) else files if isinstance(files, list) else []
    if not isinstance(path, str) or not all(isinstance(name, str) for name in names):
        return None
    named_by: list[Place] = [(*root, "path")]
    if names:
        named_by.append((*root, "data_files"))
    if path in BUILDERS and names:
        found = data_source(names[0], rules.folders)
        if found and len(names) > 1:
            rules.ledger.close(
                file, [(*root, "data_files")], "not_taken", "only the first of several files is read"
            )
        return DataSet(file, found, named_by, "the file itself") if found else None
    found = data_source(path, rules.folders)
    if found is None:
        return None
    inner = names[0] if len(names) == 1 else entry.get("name")
    if isinstance(inner, str) and inner and ".." not in inner and not inner.startswith("/"):
        if not found.startswith("hub:") and not names:
            rules.ledger.close(file, [(*root, "name")], "not_needed", "a folder has no configurations")
            return DataSet(file, found, named_by)
        named_by.append((*root, "name"))
        return DataSet(file, f"{found}/{inner}", named_by, "a part of the data set")
    return DataSet(file, found, named_by, "a data set of the Hub" if found.startswith("hub:") else "")


def _type(rules: Rules, source: Source, made: DataSet, root: Place, entry: dict[str, Any]) -> None:
    kind = entry.get("type")
    if isinstance(kind, dict):
        _own_type(rules, made, root, kind)
        return
    name = word(kind)
    if name is None:
        return
    more = rules.more(source)
    begin = re.split(r"[.:]", name)[0]
    if rules.method in more["pair_methods"] and begin == "chat_template":
        begin = "chat_template_pairs"
    if rules.method in more["rated_methods"] and begin in ("chatml", "llama3", "chat_template_pairs"):
        begin = "rated"
    known = more["rows"].get(begin)
    place = (*root, "type")
    if known is None:
        reason = f"rows of type {name} are not known by that name; the dataset type is detected"
        rules.ledger.close(made.file, [place], "not_taken", reason)
        return
    made.shape, made.shape_places = known["shape"], [place]
    made.loss_on, made.shape_reason = known.get("loss_on"), known.get("reason", "")
    made.mapping = tuple(more["type_columns"].get(name, ()))
    if begin == "completion":
        field = entry.get("field")
        made.mapping = (f"text = {{{field if isinstance(field, str) else 'text'}}}",)
        made.mapping_places = [(*root, "field")]


def _own_type(rules: Rules, made: DataSet, root: Place, kind: dict[str, Any]) -> None:
    """A type that names columns and formats: plain text there, and plain text here."""
    root = (*root, "type")
    lines: list[str] = []
    used: list[Place] = []
    pairs = {part: kind.get(name) for name, part in PARTS_OF_TYPE.items() if isinstance(kind.get(name), str)}
    if pairs:
        for name, part in PARTS_OF_TYPE.items():
            if part not in pairs:
                continue
            template = kind.get(f"{part}_format")
            column = "{" + str(pairs[part]) + "}"
            text = template.replace("{" + part + "}", column) if isinstance(template, str) else column
            lines.append(f"{part} = {_one_line(text)}")
            used += [(*root, name), (*root, f"{part}_format")]
    else:
        given = kind.get("format")
        asked = given if isinstance(given, str) else "{instruction} {input} "
        columns = {
            part: kind.get(f"field_{part}") or part for part in ("instruction", "input", "output", "system")
        }
        if not all(isinstance(column, str) for column in columns.values()):
            rules.ledger.close(made.file, [root], "not_taken", "expected names of columns")
            return
        if "field_input" not in kind and "{input}" in asked and "format" not in kind:
            asked = "{instruction} "
        for part, column in columns.items():
            asked = asked.replace("{" + part + "}", "{" + column + "}")
        lines = [f"prompt = {_one_line(asked)}", f"completion = {{{columns['output']}}}"]
        used = [(*root, name) for name in ("field_instruction", "field_input", "field_output", "format")]
    made.mapping, made.mapping_places = tuple(lines), used


def _one_line(template: str) -> str:
    return template.replace("\n", "\\n")


def _columns(rules: Rules, made: DataSet, root: Place, entry: dict[str, Any]) -> None:
    """Columns of turns and of pairs that have names of their own."""
    turns = entry.get("field_messages")
    sides = {name: entry.get(f"field_{name}") for name in ("chosen", "rejected")}
    if all(isinstance(side, str) for side in sides.values()):
        lines = [f"{name} = {{{column}}}" for name, column in sides.items()]
        places = [(*root, f"field_{name}") for name in sides]
        if isinstance(turns, str):
            lines, places = [f"prompt = {{{turns}}}", *lines], [(*root, "field_messages"), *places]
        made.mapping, made.mapping_places = tuple(lines), places
    elif isinstance(turns, str) and data_sets.is_known_column(turns):
        rules.ledger.close(made.file, [(*root, "field_messages")], "not_needed", "this column is recognised")
    elif isinstance(turns, str):
        made.mapping, made.mapping_places = (f"messages = {{{turns}}}",), [(*root, "field_messages")]


def _turns(rules: Rules, file: str, root: Place, entry: dict[str, Any]) -> None:
    """Names of roles and of the keys of turns: those that are known need no setting."""
    names = entry.get("message_property_mappings")
    properties = dict(names) if isinstance(names, dict) else {}
    for part, name in properties.items():
        _known(
            rules,
            file,
            (*root, "message_property_mappings", part),
            data_sets.is_known_property(part, str(name)),
        )
    for part in ("role", "content"):
        old = entry.get(f"message_field_{part}")
        if isinstance(old, str):
            _known(rules, file, (*root, f"message_field_{part}"), data_sets.is_known_property(part, old))
    roles = entry.get("roles")
    for role, others in roles.items() if isinstance(roles, dict) else ():
        is_known = isinstance(others, list) and all(
            isinstance(name, str) and data_sets.is_known_role(role, name) for name in others
        )
        _known(rules, file, (*root, "roles", role), is_known)
    trained = entry.get("roles_to_train")
    if isinstance(trained, list) and trained:
        is_known = all(isinstance(n, str) and data_sets.is_known_role("assistant", n) for n in trained)
        _known(rules, file, (*root, "roles_to_train"), is_known, "only the assistant's turns have loss here")
    for key in ("train_on_eos", "train_on_eot"):
        if key in entry:
            _known(
                rules, file, (*root, key), entry[key] == "turn", "the end of each trained turn has loss here"
            )
    for key in ("message_field_training", "field_tools", "field_thinking"):
        if isinstance(entry.get(key), str):
            is_known = entry[key] in ("train", "training", "weight", "tools", "reasoning_content", "thinking")
            _known(rules, file, (*root, key), is_known)


def _known(rules: Rules, file: str, place: Place, is_known: bool, reason: str = "") -> None:
    account_note = "as here" if reason else "this name is recognised"
    refused = reason or "this name is not recognised; rename it in the rows"
    rules.ledger.close(
        file, [place], "not_needed" if is_known else "not_taken", account_note if is_known else refused
    )


def _template(rules: Rules, source: Source) -> None:
    """One chat template for all rows: the model's own, ChatML, or a file."""
    file, ledger = source.name, rules.ledger
    name, text = source.values.get("chat_template"), source.values.get("chat_template_jinja")
    if isinstance(text, str) and text.strip():
        found = (
            on_this_machine(text.strip(), rules.folders) if len(text) < 1000 and "\n" not in text else None
        )
        if found and Path(found).is_file():
            ledger.take(
                file, [("chat_template_jinja",), ("chat_template",)], {"data.template": found}, "a file"
            )
        else:
            reason = "save the template as a file, and name it in data.template"
            ledger.close(file, [("chat_template_jinja",), ("chat_template",)], "not_taken", reason)
        return
    known = rules.more(source)["templates"]
    if not isinstance(name, str):
        return
    if known.get(name):
        ledger.take(file, [("chat_template",)], {"data.template": known[name]})
    elif name in known:
        ledger.close(file, [("chat_template",)], "not_needed", "the model's own chat template, as here")
    else:
        reason = "the model's own chat template is used; save another one as a file for data.template"
        ledger.close(file, [("chat_template",)], "not_taken", reason)
