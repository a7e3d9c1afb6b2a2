"""LLaMA-Factory's data sets: names that dataset_info.json explains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner_tui.importing import data_sets
from tuner_tui.importing.data_sets import DataSet
from tuner_tui.importing.paths import data_source, on_this_machine
from tuner_tui.importing.source import read_source
from tuner_tui.importing.values import number, whole, word, words

if TYPE_CHECKING:
    from tuner_tui.importing.rules import Rules
    from tuner_tui.importing.source import Source
    from tuner_tui.importing.yaml_text import Place

INFO = "dataset_info.json"
LARGEST_INFO_BYTES = 4 << 20
MEDIA = ("images", "videos", "audios")
ROLE_TAGS = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "system_tag": "system",
}


def read_data(rules: Rules, source: Source) -> None:
    """`dataset`, `eval_dataset`, their entries in dataset_info.json, and the template."""
    info = _info(rules, source)
    sets = _sets(rules, source, "dataset", info)
    _limit_and_mixture(rules, source, sets)
    data_sets.use(rules, sets)
    if tests := _sets(rules, source, "eval_dataset", info):
        data_sets.evaluation(rules, tests[0], tests[1:])
    rules.ledger.close(
        source.name, [("dataset_dir",)], "not_needed", f"the folder of {INFO}; paths are complete here"
    )
    _template(rules, source)


def _info(rules: Rules, source: Source) -> Source | None:
    """The file that explains the names: in `dataset_dir`, in `data`, or beside the settings. Raises InputError."""
    given = source.values.get("dataset_dir")
    named = given if isinstance(given, str) else "data"
    folders = [Path(found)] if (found := on_this_machine(named, rules.folders)) else []
    for folder in [*folders, *rules.folders]:
        if (folder / INFO).is_file():
            return read_source(folder / INFO, LARGEST_INFO_BYTES)
    return None


def _sets(rules: Rules, source: Source, key: str, info: Source | None) -> list[DataSet]:
    names = words(source.values.get(key))
    if not names or not rules.ledger.is_open(source.name, (key,)):
        return []
    made: list[DataSet] = []
    missing: list[str] = []
    for name in dict.fromkeys(names):
        entry = info.values.get(name) if info is not None else None
        if info is not None and isinstance(entry, dict):
            rules.ledger.add(info, only=(name,))
            if found := _one(rules, info, name, entry, is_text=_is_text(rules, source)):
                made.append(found)
            else:
                missing.append(name)
        elif found_source := _unexplained(rules, source, name):
            made.append(DataSet(source.name, found_source, reason=f"a data set without an entry in {INFO}"))
        else:
            missing.append(name)
    if missing:
        reason = (
            f"{', '.join(missing)}: {'no such entry in' if info is not None else 'there is no'} {INFO} that names data "
            "which can be read here"
        )
        rules.ledger.close(source.name, [(key,)], "not_taken", reason)
    elif made and key == "dataset":
        rules.ledger.take(
            source.name,
            [(key,)],
            {"data.train": made[0].source},
            f"a name that {INFO} explains",
            is_converted=True,
        )
    elif made:
        rules.ledger.take(
            source.name,
            [(key,)],
            {"data.evaluation": made[0].source},
            f"a name that {INFO} explains",
            is_converted=True,
        )
    return made


def _unexplained(rules: Rules, source: Source, name: str) -> str | None:
    """With dataset_dir ONLINE, names are of the Hub."""
    if source.values.get("dataset_dir") != "ONLINE":
        return None
    found = data_source(name, rules.folders)
    return found if found and found.startswith("hub:") else None


def _is_text(rules: Rules, source: Source) -> bool:
    """Whether the stage trains on plain text, which is in the column of the prompt."""
    return word(source.values.get("stage")) in rules.more(source)["text_stages"]


def _one(rules: Rules, info: Source, name: str, entry: dict[str, Any], *, is_text: bool) -> DataSet | None:
    file, root, ledger = info.name, (name,), rules.ledger
    made = _named(info, name, entry)
    if made is None:
        reason = "names no file here and no data set of the Hub"
        ledger.close(file, [root], "not_taken", reason)
        return None
    for key in ("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"):
        if (name, key) not in made.named_by:
            ledger.close(file, [(name, key)], "not_needed", "the same data from another place")
    is_pairs = entry.get("ranking") is True
    found = entry.get("columns")
    columns: dict[str, Any] = found if isinstance(found, dict) else {}
    is_turns = word(entry.get("formatting")) in ("sharegpt", "openai")
    is_rated = "kto_tag" in columns
    made.shape_places = [(name, "formatting"), (name, "ranking")]
    made.shape = (
        "preference" if is_pairs else "rated" if is_rated else "messages" if is_turns else "instruction"
    )
    if is_text:
        _text(made, name, columns)
    else:
        _columns(rules, made, name, columns, made.shape, is_turns=is_turns)
    _tags(rules, info, name, entry)
    if isinstance(entry.get("split"), str):
        made.split, made.split_places = entry["split"], [(name, "split")]
    if rows := whole(entry.get("num_samples")):
        made.rows, made.rows_places = rows, [(name, "num_samples")]
    return made


def _named(info: Source, name: str, entry: dict[str, Any]) -> DataSet | None:
    hub, local = entry.get("hf_hub_url"), entry.get("file_name")
    if isinstance(local, str) and local.strip():
        found = data_source(local, (info.path.parent,))
        is_here = found is not None and (Path(found).exists() or not isinstance(hub, str))
        if found and is_here:
            found = found if not found.startswith("hub:") else str(info.path.parent.absolute() / local)
            return DataSet(info.name, found, [(name, "file_name")])
    if isinstance(hub, str):
        found = data_source(hub, (info.path.parent,))
        if found and found.startswith("hub:"):
            inner = entry.get("subset") or entry.get("folder")
            places: list[Place] = [(name, "hf_hub_url")]
            if isinstance(inner, str) and ".." not in inner and not inner.startswith("/"):
                found = f"{found}/{inner}"
                places.append((name, "subset" if entry.get("subset") else "folder"))
            return DataSet(info.name, found, places, "a data set of the Hub")
    return None


def _columns(
    rules: Rules, made: DataSet, name: str, columns: dict[str, Any], shape: str, *, is_turns: bool
) -> None:
    """A mapping for columns that have names of their own; LLaMA-Factory's usual names are recognised."""
    named = {
        part: column
        for part, column in columns.items()
        if isinstance(column, str) and column and part not in MEDIA
    }
    root: Place = (name, "columns")
    usual = {"prompt": "instruction", "query": "input", "response": "output", "messages": "conversations"}
    usual |= {part: part for part in ("system", "tools", "history", "chosen", "rejected", "kto_tag")}
    for part in MEDIA:
        if part in columns:
            rules.ledger.close(made.file, [(*root, part)], "not_taken", "text only here")
    is_usual = all(
        column == usual.get(part) or (part == "messages" and data_sets.is_known_column(column))
        for part, column in named.items()
    )
    if is_usual:
        places = [(*root, part) for part in named]
        rules.ledger.close(made.file, places, "not_needed", "these columns are recognised")
        return
    asked = "{" + named.get("prompt", "instruction") + "}"
    if "query" in named:
        asked += "\\n{" + named["query"] + "}"
    turns = "{" + named.get("messages", "conversations") + "}"
    lines = {
        "messages": {"messages": turns},
        "instruction": {"user": asked, "assistant": "{" + named.get("response", "output") + "}"},
        "preference": {
            "prompt": turns if is_turns else asked,
            "chosen": "{" + named.get("chosen", "chosen") + "}",
            "rejected": "{" + named.get("rejected", "rejected") + "}",
        },
        "rated": {
            "prompt": asked,
            "completion": "{" + named.get("response", "output") + "}",
            "label": "{" + named.get("kto_tag", "kto_tag") + "}",
        },
    }[shape]
    lines |= {part: "{" + named[part] + "}" for part in ("system", "tools") if part in named}
    if shape == "rated" and is_turns:
        rules.ledger.close(
            made.file, [root], "not_taken", "turns with a label cannot be mapped; they are detected"
        )
        return
    if "history" in named:
        reason = "a mapping has no place for it; with LLaMA-Factory's usual names it is recognised"
        rules.ledger.close(made.file, [(*root, "history")], "not_taken", reason)
    made.mapping = tuple(f"{part} = {template}" for part, template in lines.items())
    made.mapping_places = [(*root, part) for part in named if part != "history"]


def _text(made: DataSet, name: str, columns: dict[str, Any]) -> None:
    column = columns.get("prompt")
    made.shape, made.loss_on = "text", "all"
    made.shape_reason = "plain text, with loss on all tokens"
    made.mapping = (f"text = {{{column if isinstance(column, str) else 'instruction'}}}",)
    made.mapping_places = [(name, "columns", "prompt")]


def _tags(rules: Rules, info: Source, name: str, entry: dict[str, Any]) -> None:
    tags = entry.get("tags")
    for tag, value in tags.items() if isinstance(tags, dict) else ():
        if tag in ROLE_TAGS:
            is_known = isinstance(value, str) and data_sets.is_known_role(ROLE_TAGS[tag], value)
        elif tag in ("role_tag", "content_tag"):
            is_known = isinstance(value, str) and data_sets.is_known_property(tag.removesuffix("_tag"), value)
        else:
            is_known = value in ("function_call", "tool_call", "tool_calls")
        reason = (
            "this name is recognised" if is_known else "this name is not recognised; rename it in the rows"
        )
        rules.ledger.close(
            info.name, [(name, "tags", tag)], "not_needed" if is_known else "not_taken", reason
        )


def _limit_and_mixture(rules: Rules, source: Source, sets: list[DataSet]) -> None:
    ledger, file = rules.ledger, source.name
    if limit := whole(source.values.get("max_samples")):
        if len(sets) == 1:
            ledger.take(file, [("max_samples",)], {"data.limit": limit}, "rows from the start of the data")
        elif sets:
            for each in sets[1:]:
                each.rows = each.rows or limit
            ledger.take(
                file, [("max_samples",)], {"data.limit": limit}, "of each source, by data.limit and rows="
            )
    given = source.values.get("interleave_probs")
    parts = words(given if not isinstance(given, list) else [str(item) for item in given])
    shares = [number(part) for part in parts] if parts else []
    if not shares:
        return
    total = sum(share for share in shares if share is not None)
    if (
        len(shares) != len(sets)
        or any(share is None or share <= 0 for share in shares)
        or abs(total - 1) > 0.01
    ):
        ledger.close(
            file, [("interleave_probs",)], "not_taken", "expected a share for each data set, 1 in all"
        )
        return
    for each, share in zip(sets, shares, strict=True):
        each.weight = share
    ledger.close(
        file, [("interleave_probs",)], "not_needed", "taken as weight= of the further sources in data.also"
    )
    reason = "sources are mixed by their shares of one pass here"
    ledger.close(file, [("mix_strategy",)], "not_needed", reason)


def _template(rules: Rules, source: Source) -> None:
    """Rows are rendered by a template of the tool there, and by the model's own here."""
    given = rules.role("chat_template")
    if given is None:
        return
    more = rules.more(source)
    name = word(given.value)
    if name is None:
        rules.refuse(given, "expected the name of a template")
    elif name in more["templates"]:
        rules.take(given, {"data.template": more["templates"][name]})
    elif name in more["template_reasons"]["plain"]:
        rules.refuse(given, more["template_reasons"]["none"])
    else:
        rules.ledger.close(given.file, [given.place], "not_needed", more["template_reasons"]["own"])
