"""Files as libraries write them: Arrow's JSON type, nulls of structs, folders of save_to_disk, one row as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuner_tui.data.checking.checks import check
from tuner_tui.data.files.rows import data_files, each_row
from tuner_tui.data.recognition.reading import Reading, plain_rows
from tuner_tui.data.rows.preference import read_pairs, read_rated
from tuner_tui.errors import InputError

CASES = Path(__file__).parent / "cases" / "rows"


def call(**arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "arguments": arguments}}


def talk(**arguments: Any) -> dict[str, Any]:
    answer = {"role": "assistant", "content": "", "tool_calls": [call(**arguments)]}
    return {"messages": [{"role": "user", "content": "q"}, answer, {"role": "tool", "content": "r"}]}


ROWS = [talk(a=1, n=None), talk(b="two")]


def plain(path: Path, **how: Any) -> list[dict[str, Any]]:
    return [row for _, _, row in plain_rows(Reading(path, **how)).strict()]


def arguments_of(path: Path, **how: Any) -> list[Any]:
    return [row["messages"][1]["tool_calls"][0]["function"]["arguments"] for row in plain(path, **how)]


def json_text(value: Any) -> Any:
    return pa.array([json.dumps(each) for each in value], pa.json_())


@pytest.mark.parametrize("kind", ["column", "turns", "calls"])
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_arrows_json_type_is_decoded_wherever_it_nests(tmp_path: Path, kind: str, suffix: str) -> None:
    if kind == "column":
        column: Any = json_text([row["messages"] for row in ROWS])
    elif kind == "turns":
        column = pa.ListArray.from_arrays(
            [0, 3, 6], json_text([turn for row in ROWS for turn in row["messages"]])
        )
    else:
        turns = [turn for row in ROWS for turn in row["messages"]]
        calls = json_text([each for turn in turns for each in turn.get("tool_calls", ())])
        turn = pa.StructArray.from_arrays(
            [
                pa.array([each["role"] for each in turns]),
                pa.array([each["content"] for each in turns]),
                pa.ListArray.from_arrays([0, 0, 1, 1, 1, 2, 2], calls),
            ],
            ["role", "content", "tool_calls"],
        )
        column = pa.ListArray.from_arrays([0, 3, 6], turn)
    table = pa.table({"messages": column})
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    assert arguments_of(path) == [{"a": 1, "n": None}, {"b": "two"}]


def test_nulls_that_structs_add_are_absent() -> None:
    for row in plain(CASES / "nulls_tools.parquet"):
        assert "null" not in json.dumps(row)
        assert row["tools"] and any(turn.get("tool_calls") for turn in row["messages"])


def test_a_null_that_a_row_says_stays(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n")
    assert arguments_of(path) == [{"a": 1, "n": None}]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("saved")
    rows = datasets.Dataset.from_list(ROWS, on_mixed_types="use_json")
    rows.save_to_disk(folder / "one")
    datasets.DatasetDict(train=rows, train_extra=rows, holdout=rows).save_to_disk(folder / "several")
    rows.to_parquet(folder / "rows.parquet")
    return folder


def test_what_datasets_saves_is_read(saved: Path) -> None:
    wanted = [{"a": 1, "n": None}, {"b": "two"}]
    (saved / "one" / "cache-0123.arrow").write_bytes(b"left by a map")
    assert [file.suffix for file in data_files(saved / "one")] == [".arrow"]
    assert arguments_of(saved / "one") == wanted
    assert arguments_of(saved / "rows.parquet") == wanted
    assert arguments_of(saved / "several") == wanted
    assert arguments_of(saved / "several", split="holdout") == wanted
    with pytest.raises(InputError, match=r"no files for 'other'.*holdout, train"):
        data_files(saved / "several", "other")


OBJECTS = {
    "turns": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    "texts": {"prompt": "q", "completion": "a", "tags": ["x"]},
    "tools first": {"tools": [{"type": "function", "function": {"name": "f"}}], **ROWS[1]},
    "sides": {"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
              "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]},
}  # fmt: skip


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("indent", [None, 2])
def test_one_object_that_is_a_row_is_a_row(tmp_path: Path, name: str, indent: int | None) -> None:
    path = tmp_path / "row.json"
    path.write_text(json.dumps(OBJECTS[name], indent=indent))
    report = check(Reading(path))
    assert report.rows == 1 and not [each for each in report.problems if each.level == "error"]


def test_splits_stay_splits(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    rows = [{"prompt": "q", "completion": "a"}]
    for content in ({"train": rows, "test": []}, {"train": rows, "version": "1"}, {"data": rows}):
        path.write_text(json.dumps(content, indent=1))
        assert [found.row for found in each_row(path)] == rows
    path.write_text(json.dumps({"mine": rows}, indent=1))
    assert [found.row for found in each_row(path, split="mine")] == rows
    with pytest.raises(InputError, match="none is called train"):
        list(each_row(path))


# Class labels --------------------------------------------------------------------------------------------------------


def written_by_datasets(folder: Path, rows: dict[str, list[Any]], features: Any, form: str) -> Path:
    """Rows as the library itself writes them."""
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_dict(rows, features=features)
    if form == "folder":
        dataset.save_to_disk(folder / "saved")
        return folder / "saved"
    dataset.to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


@pytest.mark.parametrize("form", ["parquet", "folder"])
@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["bad", "good"], [False, True]),
        (["good", "bad"], [True, False]),
        (["accept", "reject"], [True, False]),
    ],
)
def test_class_labels_mean_their_names(
    tmp_path: Path, form: str, names: list[str], labels: list[bool]
) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "prompt": datasets.Value("string"),
            "completion": datasets.Value("string"),
            "label": datasets.ClassLabel(names=names),
        }
    )
    rows: dict[str, list[Any]] = {"prompt": ["q", "r"], "completion": ["a", "b"], "label": [0, 1]}
    path = written_by_datasets(tmp_path, rows, features, form)
    assert [each.label for each in read_rated(Reading(path))] == labels


@pytest.mark.parametrize("form", ["parquet", "folder"])
def test_class_labels_are_text_wherever_they_nest(tmp_path: Path, form: str) -> None:
    datasets = pytest.importorskip("datasets")
    kind = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features(
        {
            "question": datasets.Value("string"),
            "answer": kind,
            "tags": datasets.List(kind),
            "meta": {"seen": kind, "n": datasets.Value("int64")},
        }
    )
    rows: dict[str, list[Any]] = {
        "question": ["q", "r"],
        "answer": [1, 0],
        "tags": [[0, 1], []],
        "meta": [{"seen": 1, "n": 1}, {"seen": -1, "n": 0}],
    }
    path = written_by_datasets(tmp_path, rows, features, form)
    found = [each.row for each in each_row(path)]
    assert found == [
        {"question": "q", "answer": "yes", "tags": ["no", "yes"], "meta": {"seen": "yes", "n": 1}},
        {"question": "r", "answer": "no", "tags": [], "meta": {"n": 0}},
    ]
    assert [row["messages"][1]["content"] for row in plain(path)] == ["yes", "no"]


def test_a_verdict_that_is_a_class_label(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("prompt", "response_a", "response_b")}
        | {"winner": datasets.ClassLabel(names=["tie", "model_b", "model_a"])}
    )
    rows: dict[str, list[Any]] = {
        "prompt": ["q"] * 3,
        "response_a": ["x"] * 3,
        "response_b": ["y"] * 3,
        "winner": [0, 1, 2],
    }
    pairs = read_pairs(Reading(written_by_datasets(tmp_path, rows, features, "parquet")))
    assert [pair.chosen for pair in pairs] == ["y", "x"]


def test_class_labels_that_say_nothing_of_good_or_bad_are_named(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("prompt", "completion")}
        | {"label": datasets.ClassLabel(names=["World", "Sports"])}
    )
    rows: dict[str, list[Any]] = {"prompt": ["q", "r"], "completion": ["a", "b"], "label": [0, 1]}
    report = check(Reading(written_by_datasets(tmp_path, rows, features, "parquet")))
    assert (report.layout.shape, report.unused_fields) == ("prompt_completion", ("label",))


def test_a_class_label_without_a_name_is_refused(tmp_path: Path) -> None:
    told = {"info": {"features": {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}}}
    table = pa.table({"prompt": ["q"], "completion": ["a"], "label": [2]})
    path = tmp_path / "rows.parquet"
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(told)}), path)
    with pytest.raises(InputError, match="`label` is 2, and the file names 2 labels: bad, good"):
        plain(path)
