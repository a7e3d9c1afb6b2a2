"""Files that are broken, too much, or made to do harm: refused with file, line and key, and nothing of them is run."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.importing.test_imported import flattened
from tuner_tui.config.spec_file import parse_spec
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.importing.imported import import_settings
from tuner_tui.importing.source import read_source
from tuner_tui.importing.table import TOOLS, table
from tuner_tui.importing.written import toml_text
from tuner_tui.text import plain

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
REFUSED = {
    "an object": (
        "base_model: x\nadapter: !!python/object/apply:os.system ['touch pwned']\n",
        (":2", "!!python/object"),
    ),
    "a name of Python": ("base_model: !!python/name:os.system\n", (":1", "!!python/name")),
    "a tag of its own": ("base_model: x\nfoo: !Thing {a: 1}\n", (":2", "!Thing")),
    "binary": ("base_model: !!binary aGk=\n", (":1", "!!binary")),
    "aliases that multiply": (LAUGHS, ("aliases", "20,000")),
    "an alias in itself": ("base_model: x\na: &a [1, *a]\n", (":2", "contains itself")),
    "an alias of nothing": ("base_model: x\na: *b\n", (":2",)),
    "a key that is given twice": (
        "base_model: x\nlora_r: 8\nseed: 1\nlora_r: 16\n",
        (":4", "lora_r", "line 2"),
    ),
    "a key below that is given twice": ("a:\n  b: 1\n  b: 2\n", (":3", "b", "line 2")),
    "deep lists": ("a: " + "[" * 5000 + "]" * 5000 + "\n", ("nested",)),
    "deep tables": ("a: " + "{a: " * 3000 + "1" + "}" * 3000 + "\n", ("nested",)),
    "a second document": ("base_model: x\n---\nbase_model: y\n", (":2", "second document")),
    "a tab": ("base_model: x\n\tadapter: lora\n", (":2",)),
    "no closing bracket": ("base_model: x\na: [1, 2\nb: 3\n", (":3",)),
    "a list": ("- base_model\n", ("a list",)),
    "a text": ("only words\n", ("text",)),
    "nothing": ("# only a comment\n", ("nothing",)),
    "a list as a key": ("? [a, b]\n: 1\n", (":1",)),
    "a number with too many digits": ("base_model: x\nseed: " + "9" * 5000 + "\n", (":2", "seed")),
    "a merge of a word": ("base_model: x\na:\n  <<: word\n", (":3",)),
    "NUL": ("base_model: x\0\n", ("NUL",)),
}
REFUSED_JSON = {
    "a key that is given twice": ('{"a": 1,\n "b": 2,\n "a": 3}', (":3", "a", "twice")),
    "no closing brace": ('{"a": 1,\n "b": [1}', (":2",)),
    "deep lists": ('{"a": ' + "[" * 20000 + "]" * 20000 + "}", ("nested",)),
    "too many digits": ('{"a": ' + "9" * 6000 + "}", ("digits",)),
}


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        import_settings(path)
    return str(caught.value)


@pytest.mark.parametrize("case", REFUSED)
def test_yaml_that_is_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, words = REFUSED[case]
    path = tmp_path / "settings.yml"
    path.write_text(text)
    begun = time.process_time()
    message = refusal(path)
    assert time.process_time() - begun < 10
    assert "settings.yml" in message and [word for word in words if word not in message] == []
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("case", REFUSED_JSON)
def test_json_that_is_refused(case: str, tmp_path: Path) -> None:
    text, words = REFUSED_JSON[case]
    path = tmp_path / "settings.json"
    path.write_text(text)
    message = refusal(path)
    assert "settings.json" in message and [word for word in words if word not in message] == []


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        import_settings(tmp_path / "nothing.yml")
    (tmp_path / "big.yml").write_text("a: " + "x" * (2 << 20))
    assert "more than 1 MiB" in refusal(tmp_path / "big.yml")
    os.mkfifo(tmp_path / "pipe.yml")
    assert "pipe" in refusal(tmp_path / "pipe.yml")
    (tmp_path / "latin.yml").write_bytes(b"base_model: x\nname: \xff\n")
    assert "line 2" in refusal(tmp_path / "latin.yml")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError):
        import_settings(tmp_path / "empty")


def test_a_pickle_is_named_and_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "training_args.bin"
    path.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    path.chmod(0)
    assert "pickle" in refusal(path)
    with pytest.raises(NotFoundError) as caught:
        import_settings(tmp_path)
    assert "training_args.bin" in str(caught.value)


def test_a_tool_that_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "some.yml"
    path.write_text("seed: 1\nname: x\n")
    assert "seed, name" in refusal(path)
    with pytest.raises(InputError) as caught:
        import_settings(path, tool="axolotl")
    assert "no model" in str(caught.value) and "--model" in caught.value.hint


def test_aliases_and_merges_that_are_harmless_are_read(tmp_path: Path) -> None:
    path = tmp_path / "settings.yml"
    path.write_text(
        "base: &base {learning_rate: 1e-4, seed: 3}\nbase_model: x\nadapter: lora\nmore:\n  <<: *base\n  seed: 4\n"
    )
    source = read_source(path)
    assert source.values["more"] == {"learning_rate": "1e-4", "seed": 4}
    assert source.line(("more", "seed")) == 6


def test_what_cannot_be_used_is_listed_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "settings.yml"
    path.write_text(
        "base_model: x\nadapter: lora\nlora_r: many\nlora_alpha: -3\nlearning_rate: .nan\nmicro_batch_size: 0\n"
        "num_epochs: [1, 2]\nwarmup_ratio: 3\nval_set_size: 0.9\nearly_stopping_patience: 2\nlora_dropout: null\n"
        "seed: 99999999999999999999999\nbase_modle: y\n"
    )
    reasons = {entry.key: entry for entry in import_settings(path).entries}
    refused = ["lora_r", "lora_alpha", "learning_rate", "micro_batch_size", "num_epochs", "warmup_ratio"]
    refused += ["val_set_size", "early_stopping_patience", "seed", "base_modle"]
    assert [key for key in refused if reasons[key].account != "not_taken" or not reasons[key].reason] == []
    assert "not a setting of Axolotl" in reasons["base_modle"].reason
    assert reasons["lora_dropout"].account == "not_needed"


def _value(random_: random.Random, depth: int) -> Any:
    choices: list[Any] = [
        None, True, False, 0, 1, -1, 8, 0.5, 1e-4, 1e300, 2**70, "", "auto", "1e-4", "all", "lora", "dpo", "text",
        "x/y", "./here", "a,b", "\u202ename", "nul\0", "\ud800", ["a"], [], {}, [1, 2], "path with\nline", float("inf"),
    ]  # fmt: skip
    if depth and random_.random() < 0.25:
        if random_.random() < 0.5:
            return [_value(random_, depth - 1) for _ in range(random_.randint(0, 3))]
        keys = [
            "path",
            "type",
            "data_files",
            "name",
            "split",
            "roles",
            "field_messages",
            "message_property_mappings",
        ]
        keys += [
            "fraction",
            "role",
            "content",
            "format",
            "field_prompt",
            "field_chosen",
            "field_rejected",
            "field",
        ]
        return {random_.choice(keys): _value(random_, depth - 1) for _ in range(random_.randint(0, 4))}
    return random_.choice(choices)


def _keys(tool: str) -> list[str]:
    known = table(tool)
    keys = [*known.take, *known.fixed, *(words.key for words in known.words), *known.signature]
    keys += [key for names in known.roles.values() for key in names]
    keys += [pattern.replace("*", "x") for left in known.left for pattern in left.patterns]
    return [
        *keys,
        "unknown",
        "datasets",
        "dataset",
        "chat_template",
        "chat_template_jinja",
        "interleave_probs",
        "data",
    ]


def _settings(random_: random.Random, tool: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key in random_.sample(_keys(tool), 30):
        at = made
        *heads, last = key.split(".")
        for head in heads:
            at = at.setdefault(head, {}) if isinstance(at.get(head, {}), dict) else {}
        at[last] = _value(random_, 3)
    return made


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool != "folder"])
def test_random_settings_end_in_an_account_or_an_explained_error(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dataset_info.json").write_text(
        '{"a": {"file_name": "a.jsonl", "columns": 3}, "b": {"ranking": 1}}'
    )
    accounts = 0
    for seed in range(150):
        path = tmp_path / "settings.json"
        values = _settings(random.Random(f"{tool}{seed}"), tool)
        path.write_text(json.dumps(values))
        try:
            result = import_settings(path, tool=tool, model="someone/model")
        except InputError as error:
            assert error.message
            continue
        accounts += 1
        keys = Counter(entry.key for entry in result.entries if entry.file == path.name)
        assert keys == Counter(map(plain, flattened(values))), seed
        text = toml_text(result, tmp_path)
        assert parse_spec(text, "run.toml", tmp_path).training == result.spec.training
    assert accounts > 75
