"""Collections in and out: every shape that is imported, every kind that is exported, cards, and runs on feedback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.feedback_rows import answer, make_store
from tuner_tui.config.spec import RunSpec
from tuner_tui.data.rows.preference import read_pairs, read_rated
from tuner_tui.errors import InputError
from tuner_tui.feedback.as_data import with_collections
from tuner_tui.feedback.card import data_card
from tuner_tui.feedback.collections import collection_path
from tuner_tui.feedback.exporting import (
    Filters,
    available_kind,
    card_path,
    export_rows,
    split_by_prompt,
    write_rows,
)
from tuner_tui.feedback.importing import import_file
from tuner_tui.feedback.records import CollectionSettings, Proposal
from tuner_tui.feedback.session import Session
from tuner_tui.feedback.store import Store
from tuner_tui.generation.messages import Turn

TURNS = [{"role": "user", "content": "Hi?"}]
SHAPES: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[int, ...]]] = {
    "pair": ({"prompt": "Hi?", "chosen": "good", "rejected": "bad"}, ("good", "bad"), (1, 2)),
    "pair of turns": (
        {
            "prompt": TURNS,
            "chosen": [{"role": "assistant", "content": "good"}],
            "rejected": [{"role": "assistant", "content": "bad"}],
        },
        ("good", "bad"),
        (1, 2),
    ),
    "ranked": ({"prompt": "Hi?", "answers": ["a", "b", "c"], "ranks": [2, 1, 3]}, ("a", "b", "c"), (2, 1, 3)),
    "ranked with gaps": ({"prompt": "Hi?", "responses": ["a", "b"], "ranks": [5, 0]}, ("a", "b"), (2, 1)),
    "unjudged": ({"prompt": "Hi?", "answers": ["a", {"text": "b", "model": "m"}]}, ("a", "b"), ()),
    "a bare prompt": ({"prompt": "Hi?"}, (), ()),
    "a question": ({"question": "Hi?"}, (), ()),
}


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_that_are_imported(tmp_path: Path, shape: str) -> None:
    row, texts, ranks = SHAPES[shape]
    store = make_store(tmp_path / "a.sqlite3")
    report = import_file(store, write(tmp_path / "rows.jsonl", row))
    (item,) = store.items()
    assert item.prompt == (Turn("user", "Hi?"),)
    assert item.origin == "rows.jsonl:1"
    assert tuple(each.text for each in item.answers) == texts
    assert all(each.is_finished is None for each in item.answers)
    judged = [entry.annotation for entry in store.entries()]
    assert [each.ranks for each in judged if each] == ([ranks] if ranks else [])
    assert store.annotation_count() == report.judged == bool(ranks)
    assert import_file(store, str(tmp_path / "rows.jsonl")).already_there == 1


def test_ratings_are_imported(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3")
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "completion": "x", "label": True},
        {"prompt": "b", "completion": "y", "label": False},
        {"prompt": "c", "completion": "z", "score": 5},
        {"prompt": "d", "answers": ["p", "q"], "scores": [1, 3]},
    ]
    import_file(store, write(tmp_path / "rows.jsonl", *rows))
    assert [row.columns["label"] for row in export_rows(store, "rated", Filters())] == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"x": 1}, ["rows.jsonl:2", "fields are: x"]),
        ({"prompt": "Hi", "answers": []}, ["rows.jsonl:2", "answers"]),
        ({"prompt": "Hi", "answers": ["a", 3]}, ["rows.jsonl:2", "answers[1]"]),
        ({"prompt": "Hi", "answers": ["a"] * 5}, ["rows.jsonl:2", "is 5"]),
        ({"prompt": "Hi", "answers": ["a", "b"], "ranks": [1]}, ["rows.jsonl:2", "ranks"]),
        ({"prompt": "Hi", "completion": "a", "score": 7}, ["rows.jsonl:2", "score"]),
        ({"prompt": "Hi", "chosen": "same", "rejected": "same"}, ["rows.jsonl:2", "the same"]),
        ({"prompt": "", "answers": ["a", "b"]}, ["rows.jsonl:2", "prompt"]),
    ],
)
def test_rows_that_cannot_be_imported_leave_nothing(
    tmp_path: Path, row: dict[str, Any], words: list[str]
) -> None:
    store = make_store(tmp_path / "a.sqlite3")
    with pytest.raises(InputError) as caught:
        import_file(store, write(tmp_path / "rows.jsonl", {"prompt": "fine"}, row))
    for word in words:
        assert word in f"{caught.value.title} {caught.value.message}"
    assert store.items() == []


def full_store(path: Path) -> Store:
    """A choice, a slight choice with an unfinished answer, a tie, both bad, a flag, an edit, and a proposal."""
    store = make_store(path)
    for number in range(7):
        store.add_item(
            [Turn("user", f"Question {number}?")],
            "test",
            [answer(f"a{number}"), answer(f"b{number}", "tuned", is_finished=number != 1)],
        )
    session = Session(store, "me", seed=5)
    for number in range(6):
        shown = session.next()
        assert shown is not None
        best = next(place for place in range(2) if shown.answers[place].maker.model == "base")
        match number:
            case 0:
                session.choose(shown, best)
            case 1:
                session.choose(shown, best, strength="slight")
            case 2:
                session.keep(shown, "tie", ranks=[1, 1])
            case 3:
                session.keep(shown, "both_bad", ranks=[1, 1])
            case 4:
                session.keep(shown, "flag")
            case 5:
                session.keep(shown, "choice", written="edited", edited_from=shown.answers[0].id)
    last = store.items()[6].answers
    ids = (last[0].id, last[1].id)
    store.propose(
        7, Proposal(judge="judge", principles="short", answers=ids, preferred=(ids[1], ids[1]), certainty=1.0)
    )
    return store


def test_pairs(tmp_path: Path) -> None:
    store = full_store(tmp_path / "a.sqlite3")
    rows = export_rows(store, "pairs", Filters())
    said = [(row.columns["chosen"][0]["content"], row.columns["rejected"][0]["content"]) for row in rows]
    assert said[:2] == [("a0", "b0"), ("a1", "b1")]
    assert {chosen for chosen, _ in said[2:]} == {"edited"}
    assert len(said) == 4
    assert [row.columns["rejected_finished"] for row in rows[:2]] == [True, False]
    assert {row.annotator_kind for row in rows} == {"person"}
    assert len(export_rows(store, "pairs", Filters(clear_only=True))) == 3
    assert len(export_rows(store, "pairs", Filters(finished_only=True))) == 3
    with_ai = export_rows(store, "pairs", Filters(with_ai=True))
    assert [row.columns["rater_kind"] for row in with_ai].count("ai") == 1
    assert with_ai[-1].columns["chosen"][0]["content"] == "b6"
    assert len(export_rows(store, "pairs", Filters(with_ai=True, person_only=True))) == 4
    assert available_kind(store, Filters()) == "pairs"


def test_rated_and_demonstrations(tmp_path: Path) -> None:
    store = full_store(tmp_path / "a.sqlite3")
    rated = export_rows(store, "rated", Filters())
    labels = {row.columns["completion"][0]["content"]: row.columns["label"] for row in rated}
    assert labels == {
        "a0": True, "b0": False, "a1": True, "b1": False, "a3": False, "b3": False,
        "edited": True, "a5": False, "b5": False,
    }  # fmt: skip
    (row,) = export_rows(store, "demonstrations", Filters())
    assert row.columns["completion"] == [{"role": "assistant", "content": "edited"}]


def test_disagreement_is_left_out_when_asked(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 1)
    for annotator, place in (("me", 0), ("you", 1)):
        shown = Session(make_reader(store), annotator, seed=1)._shown(store.item(1), store.settings(), set())
        assert shown is not None
        Session(store, annotator, seed=1).choose(shown, place)
    assert len(export_rows(store, "pairs", Filters())) == 2
    assert export_rows(store, "pairs", Filters(agreed_only=True)) == []


def make_reader(store: Store) -> Store:
    return Store.open(store.path)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_files_that_training_reads(tmp_path: Path, suffix: str) -> None:
    store = full_store(tmp_path / "a.sqlite3")
    for kind in ("pairs", "rated"):
        rows = export_rows(store, kind, Filters(with_ai=True))
        path = tmp_path / f"{kind}{suffix}"
        write_rows(rows, path, data_card(store, kind, rows, Filters(with_ai=True)))
        if suffix == ".parquet":
            import pyarrow.parquet as parquet

            found = parquet.read_table(path).to_pylist()
        else:
            found = [json.loads(line) for line in path.read_text().splitlines()]
        assert found == [row.columns for row in rows]
        card = card_path(path).read_text()
        assert "by a person: " in card
        assert ("judge model, not reviewed by a person: 1" in card) is (kind == "pairs")
        assert "was truncated at its maximum length" in card
    if suffix == ".jsonl":
        assert len(read_pairs(tmp_path / "pairs.jsonl")) == 5
        assert len(read_rated(tmp_path / "rated.jsonl")) == 11
        assert "<|" not in (tmp_path / "pairs.jsonl").read_text()


def test_text_rows(tmp_path: Path) -> None:
    (row, *_) = export_rows(full_store(tmp_path / "a.sqlite3"), "pairs", Filters(), is_text=True)
    assert (row.columns["prompt"], row.columns["chosen"], row.columns["rejected"]) == (
        "Question 0?",
        "a0",
        "b0",
    )


def test_an_empty_answer_is_not_exported(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3")
    store.add_item([Turn("user", "x")], "test", [answer("\n\n"), answer("said")])
    store.add_item([Turn("user", "y")], "test", [answer("same "), answer("same")])
    session = Session(store, "me")
    while shown := session.next():
        session.choose(shown, 0)
    assert export_rows(store, "pairs", Filters()) == []
    with pytest.raises(InputError, match="Nothing to export"):
        available_kind(make_store(tmp_path / "b.sqlite3"), Filters())


def test_a_split_keeps_prompts_together(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3")
    for number in range(40):
        store.add_item(
            [Turn("user", f"prompt {number % 10}")], "test", [answer(f"a{number}"), answer(f"b{number}")]
        )
    session = Session(store, "me")
    while shown := session.next():
        session.choose(shown, 0)
    train, held = split_by_prompt(export_rows(store, "pairs", Filters()), 0.2)
    assert (len(train), len(held)) == (32, 8)
    assert {row.prompt_key for row in train}.isdisjoint(row.prompt_key for row in held)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    return tmp_path


def spec(**data: Any) -> RunSpec:
    return RunSpec.model_validate({"model": {"source": "demo"}, "data": data})


def test_a_collection_is_a_data_set(home: Path) -> None:
    full_store(collection_path("evening")).close()
    plain = spec(train="rows.jsonl")
    assert with_collections(plain) is plain
    found = with_collections(spec(train="feedback:evening"))
    assert json.loads(Path(found.data.train).read_text())["completion"][0]["content"] == "edited"
    assert with_collections(spec(train="feedback:evening")) == found  # the same rows, the same file
    with pytest.raises(InputError, match="Not a collection"):
        with_collections(spec(train="feedback:../x"))


def test_a_collection_without_rows_for_the_method(home: Path) -> None:
    make_store(collection_path("evening"), 3, CollectionSettings()).close()
    with pytest.raises(InputError, match="Nothing to export"):
        with_collections(spec(train="feedback:evening"))


SHAPE_FILES = Path(__file__).parent.parent / "data" / "shapes"
JUDGED_FILES = sorted(
    path.name for path in SHAPE_FILES.iterdir() if path.name.startswith(("preference", "rated"))
)


@pytest.mark.parametrize("name", JUDGED_FILES)
def test_pairs_and_unpaired_rows_of_every_known_type_are_annotations(tmp_path: Path, name: str) -> None:
    store = make_store(tmp_path / "collection.sqlite")
    report = import_file(store, str(SHAPE_FILES / name))
    assert report.items == report.judged >= 3
    assert not report.prompts
