"""Exports of arenas and annotation tools in collections: every verdict is kept as what it is, or told of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.unit.feedback_rows import make_store
from tuner_tui.cli.feedback import feedback
from tuner_tui.errors import InputError
from tuner_tui.feedback.collections import open_collection
from tuner_tui.feedback.exporting import Filters, export_rows
from tuner_tui.feedback.importing import import_file, read_import
from tuner_tui.feedback.saved_rows import ImportReport, keep_rows
from tuner_tui.feedback.store import Store

PREFERENCES = Path(__file__).parent.parent / "data" / "cases" / "preferences"
Row = dict[str, Any]
BETTER = [
    "About nine minutes for a firm yolk.", "A trucker's hitch, tightened twice.",
    "Yes, it gains flavour and is easier to score.", "It tells when a bolt has the set tightness.",
    "They rest then, so cuts heal before growth.",
]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "a.sqlite3")


def take(
    store: Store, rows: list[Row], name: str = "rows.jsonl", mapping: tuple[str, ...] = ()
) -> ImportReport:
    path = store.path.with_name(name)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return import_file(store, str(path), mapping)


def verdicts(store: Store) -> list[str]:
    """Each annotation in words: who, about what, and the answer that is preferred or the verdict."""
    texts = {answer.id: answer.text for item in store.items() for answer in item.answers}
    lines = []
    for entry in store.entries():
        if entry.annotation is not None:
            best = entry.annotation.best()
            said = texts[best] if best is not None else entry.annotation.verdict
            lines.append(f"{entry.annotator.partition(':')[2]}: {said}")
    return lines


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("arena33k.jsonl", {2: "tie", 3: "both_bad"}),
        ("arena55k.jsonl", {2: "tie", 3: "tie"}),
        ("argilla2.jsonl", {}),
        ("helpsteer2.jsonl", {2: "tie"}),
        ("helpsteer3.jsonl", {2: "tie"}),
        ("labelstudio_min.json", {}),
    ],
)
def test_exports_row_by_row(store: Store, name: str, others: dict[int, str]) -> None:
    report = import_file(store, str(PREFERENCES / name))
    assert (report.items, report.judged, report.prompts) == (5, 5, 0)
    assert [line.rpartition(": ")[2] for line in verdicts(store)] == [
        others.get(number, text) for number, text in enumerate(BETTER)
    ]
    assert [len(item.answers) for item in store.items()] == [2] * 5
    assert all(item.prompt_text.endswith("?") and "[" not in item.prompt_text for item in store.items())
    assert import_file(store, str(PREFERENCES / name)).already_there == 5
    rows = export_rows(store, "pairs", Filters())
    assert [row.columns["chosen"][0]["content"] for row in rows] == [
        text for number, text in enumerate(BETTER) if number not in others
    ]
    bad = [row.columns["label"] for row in export_rows(store, "rated", Filters())]
    assert bad.count(False) == 5 - len(others) + 2 * [*others.values()].count("both_bad")


def test_models_and_annotators_are_kept(store: Store) -> None:
    import_file(store, str(PREFERENCES / "arena33k.jsonl"))
    assert [answer.maker.model for answer in store.item(1).answers] == ["vole-7b", "newt-3b"]
    assert [entry.annotator for entry in store.entries()][1] == "file:arena33k.jsonl:arena_user_1"


def test_slight_preferences_are_slight(store: Store) -> None:
    import_file(store, str(PREFERENCES / "helpsteer2.jsonl"))
    assert [entry.annotation.strength for entry in store.entries() if entry.annotation] == [
        "clear", "clear", "clear", "slight", "clear",
    ]  # fmt: skip


def pair(winner: str, **more: Any) -> Row:
    return {"prompt": "q", "response_a": "one", "response_b": "two", "winner": winner, **more}


def test_no_annotators_verdict_is_lost(store: Store) -> None:
    rows = [pair("a", annotator="x"), pair("b", annotator="y"), pair("tie", annotator="z")]
    swapped = {"prompt": "q", "response_a": "two", "response_b": "one", "winner": "a", "annotator": "w"}
    report = take(store, [*rows, swapped])
    assert (report.items, report.judged, report.ties, report.annotators) == (1, 1, 1, 4)
    expected = ["rows.jsonl:x: one", "rows.jsonl:y: two", "rows.jsonl:z: tie", "rows.jsonl:w: two"]
    assert verdicts(store) == expected
    assert take(store, [*rows, swapped]).already_there == 4
    assert verdicts(store) == expected
    assert len(export_rows(store, "pairs", Filters())) == 3
    assert export_rows(store, "pairs", Filters(agreed_only=True)) == []


def test_verdicts_of_nobody_by_name_are_kept_apart(store: Store) -> None:
    rows = [pair("a"), pair("b"), pair("a")]
    assert (take(store, rows).items, verdicts(store)) == (1, ["rows.jsonl: one", "rows.jsonl (2): two"])
    assert take(store, rows).already_there == 3
    assert len(verdicts(store)) == 2
    report = take(store, [pair("tie")])  # the file was changed
    assert (report.items, report.more) == (0, 1) and verdicts(store)[-1] == "rows.jsonl: tie"


def test_an_item_without_a_verdict_gets_one(store: Store) -> None:
    assert take(store, [{"prompt": "q", "answers": ["one", "two"]}]).unjudged == 1
    assert take(store, [pair("b")], "later.jsonl").more == 1
    assert len(store.items()) == 1 and verdicts(store) == ["later.jsonl: two"]


def test_suggestions_of_models_are_proposals(store: Store) -> None:
    row = {
        "prompt": "q", "response_1": "one", "response_2": "two", "preference.responses": None,
        "preference.suggestion": "response_2", "preference.suggestion.agent": "gpt",
    }  # fmt: skip
    report = take(store, [row])
    assert (report.judged, report.unjudged, report.proposals) == (0, 1, 1)
    [entry] = store.entries()
    assert (entry.annotator, entry.annotator_kind, entry.annotation) == ("gpt", "ai", None)
    assert entry.proposal is not None and entry.proposal.choice == store.item(1).answers[1].id
    assert export_rows(store, "pairs", Filters()) == []
    assert len(export_rows(store, "pairs", Filters(with_ai=True))) == 1
    assert (take(store, [row]).proposals, len(store.entries())) == (0, 1)


def test_all_ranks_are_kept(store: Store) -> None:
    answers = [
        {"model": f"m{n}", "response": f"a{n}", "overall_score": score}
        for n, score in enumerate((3.0, 8.5, 3.0, 6.0, 1.0))
    ]
    assert take(store, [{"instruction": "q", "completions": answers, "source": "x"}]).judged == 1
    [entry] = store.entries()
    assert entry.annotation is not None
    assert (entry.annotation.verdict, entry.annotation.ranks) == ("ranking", (3, 1, 3, 2, 4))
    assert [answer.maker.model for answer in store.item(1).answers] == ["m0", "m1", "m2", "m3", "m4"]
    assert len(export_rows(store, "pairs", Filters())) == 9


def test_scores_are_kept_as_scores(store: Store) -> None:
    more = {"correctness": 4, "coherence": 4, "complexity": 2, "verbosity": 2}
    take(store, [{"prompt": f"q{n}", "response": "a", "helpfulness": n, **more} for n in (3, 1, 2)])
    take(store, [{"prompt": f"r{n}", "response": "a", "stars": n} for n in (5, 1, 3)], "stars.jsonl")
    scores = [entry.annotation.scores for entry in store.entries() if entry.annotation]
    assert scores == [(4,), (2,), (3,), (5,), (1,), (3,)]
    labels = [row.columns["label"] for row in export_rows(store, "rated", Filters())]
    assert labels == [True, False, True, False]  # what is neither is neither


def test_written_answers_are_demonstrations(store: Store) -> None:
    rows = [{"instruction": "q", "output": "a", "source": "x"}]
    assert take(store, rows).judged == 1
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "r"},
    ]
    assert (
        take(store, [{"messages": [*turns, {"role": "assistant", "content": "b"}]}], "chat.jsonl").judged == 1
    )
    assert take(store, [{"messages": turns}], "open.jsonl").prompts == 1
    exported = [row.columns for row in export_rows(store, "demonstrations", Filters())]
    assert [row["completion"][0]["content"] for row in exported] == ["a", "b"]
    assert [turn["content"] for turn in exported[1]["prompt"]] == ["q", "a", "r"]
    other = make_store(store.path.with_name("b.sqlite3"))
    assert take(other, exported, "again.jsonl").judged == 2  # our own export, with all its columns
    assert [row.columns["completion"] for row in export_rows(other, "demonstrations", Filters())] == [
        row["completion"] for row in exported
    ]


def test_only_prompts_where_these_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"instruction": "q", "output": "a"}) + "\n")
    imported = read_import(path, prompts_only=True)
    assert [(len(row.answers), row.verdicts) for row in imported.rows] == [(0, ())]
    assert imported.lines() == [
        "Read as: `instruction`, `output` are an exchange.",
        "The answers of 1 row are not taken, only their prompts.",
    ]


def test_dialogues_that_differ_are_left_out_and_told(tmp_path: Path) -> None:
    def turns(*texts: str) -> list[Row]:
        return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]

    long = turns("q", "x", "r", "one")
    rows = [
        {"conversation_a": turns("q", "one"), "conversation_b": turns("q", "two"), "winner": "model_b"},
        {"conversation_a": long, "conversation_b": turns("q", "y", "r", "two"), "winner": "model_a"},
        {"conversation_a": long, "conversation_b": turns("q", "x", "r", "two"), "winner": "model_a"},
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    imported = read_import(path)
    assert [[turn.content for turn in row.prompt] for row in imported.rows] == [["q"], ["q", "x", "r"]]
    assert imported.lines()[1] == "1 row is left out, dialogues that differ before the last answer: row 2."
    path.write_text(json.dumps(rows[1]) + "\n")
    with pytest.raises(InputError, match="Nothing can be imported") as caught:
        read_import(path)
    assert "data.train" in caught.value.hint
    chosen = {"chosen": rows[1]["conversation_a"], "rejected": rows[1]["conversation_b"]}
    path.write_text(json.dumps(chosen) + "\n" + json.dumps({"prompt": "q"}) + "\n")
    assert read_import(path).left_out == {"dialogues that differ before the last answer": [1]}


def test_thoughts_are_told_and_calls_left_out(tmp_path: Path) -> None:
    said = {"role": "assistant", "content": "one", "reasoning_content": "hm"}
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
    }
    asked = [{"role": "user", "content": "q"}]
    other = [{"role": "assistant", "content": "two"}]
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": asked, "chosen": [side], "rejected": other} for side in (said, call)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    imported = read_import(path)
    assert [answer.text for answer in imported.rows[0].answers] == ["one", "two"]
    assert (imported.dropped_thoughts, imported.left_out) == (1, {"with tool calls": [2]})


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"prompt": "q", "assessment": "A"}, "`assessment`"),
        ({"prompt": "q", "response_1": "one", "response_2": "two", "assessment": "x"}, "assessment"),
        ({"prompt": "q", "answers": ["one", "two"], "best": 1}, "best"),
        ({"prompt": "q", "answers": [{"text": "one", "votes_up": 3}, {"text": "two", "votes_up": 1}]}, "`votes_up`"),
        ({"prompt": "q", "completion": "a", "assessment": "poor"}, "`assessment`"),
        ({"messages": [{"role": "user", "content": "q"}], "assessment": "poor"}, "`assessment`"),
        (pair("a") | {"winner": 1}, "`winner` is 1"),
        (pair("the funnier"), "`winner` is 'the funnier'"),
    ],
)  # fmt: skip
def test_what_may_be_a_verdict_is_never_taken_for_a_bare_prompt(store: Store, row: Row, named: str) -> None:
    with pytest.raises(InputError) as caught:
        take(store, [row])
    assert named in caught.value.message and "rows.jsonl" in caught.value.message
    with pytest.raises(InputError):
        take(store, [{"prompt": "fine"}, row], "mixed.jsonl")
    assert store.items() == []


def test_notes_on_a_prompt_are_no_verdict(store: Store) -> None:
    notes = {
        "id": 3,
        "source": "web",
        "created_at": "x",
        "metadata": {"a": 1},
        "category": "c",
        "lang": "en",
        "tags": ["t"],
    }
    assert take(store, [{"prompt": "q", **notes}]).prompts == 1
    assert (
        take(store, [{"prompt": "q", "response_a": "one", "response_b": "two", **notes}], "b.jsonl").unjudged
        == 1
    )


def test_a_direction_is_stated_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"q{n}", "response_a": "one", "response_b": "two", "preference": n} for n in (1, 4, 7)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = CliRunner().invoke(feedback, ["import", "evening", str(path)])
    assert isinstance(refused.exception, InputError) and "--map" in refused.exception.hint
    arguments = ["import", "evening", str(path), "--map", "verdict={preference} > 4"]
    done = CliRunner().invoke(feedback, arguments, catch_exceptions=False)
    said = " ".join(done.stdout.split())
    assert "3 annotated" in said and "without a winner: 1 tie" in said
    assert "below 4 `response_b`, above it `response_a`" in said
    with open_collection("evening") as store:
        assert [line.rpartition(": ")[2] for line in verdicts(store)] == ["two", "tie", "one"]


def test_a_thousand_rows_are_imported_at_once(store: Store) -> None:
    path = store.path.with_name("rows.jsonl")
    rows = [
        {"prompt": f"q{n}", "response_a": "one", "response_b": "two", "winner": "ab"[n % 2]}
        for n in range(1000)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    imported = read_import(path)
    assert keep_rows(store, imported.rows, "file:rows.jsonl").judged == 1000
    assert verdicts(store)[:2] == ["rows.jsonl: one", "rows.jsonl: two"]
