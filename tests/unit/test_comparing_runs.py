"""Runs beside each other: differences, notes, families and branches, on real run folders."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest
from click.testing import CliRunner

from tests.ui.recorded_runs import every_status, held, make_run, recorded_events
from tuner_tui.cli.runs import runs as runs_command
from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import InputError, NotFoundError, RunProblem
from tuner_tui.planning.plan import StartAdapter, decode_plan, encode_plan
from tuner_tui.runs.comparison import ComparisonReader, differences, has_one_kind_of_loss, results
from tuner_tui.runs.family import FamilyReader, branch_spec, find_checkpoint
from tuner_tui.runs.folder import list_runs
from tuner_tui.runs.lineage import find_start
from tuner_tui.runs.notes import Note, NotesReader, fits, note_file, parse_tags, read_note, write_note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    with held(tmp_path):
        yield tmp_path


def command(*arguments: str) -> str:
    done = CliRunner().invoke(runs_command, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def with_spec(home: Path, name: str, *changes: tuple[str, str], age: float = 0.0) -> RunFolder:
    folder = make_run(home, name, recorded_events(), age=age)
    text = folder.spec.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    folder.spec.write_text(text)
    return folder


def begun_from(folder: RunFolder, name: str, path: str, *, is_run: bool = True) -> None:
    start = StartAdapter(name=name, is_run=is_run, path=path, base="demo", rank=8, alpha=16)
    plan = decode_plan(folder.plan.read_bytes())
    folder.plan.write_bytes(encode_plan(msgspec.structs.replace(plan, start=start)))


def test_only_what_differs_is_told(home: Path) -> None:
    a = with_spec(home, "a-run")
    rank = read_spec(a.spec).tuning.rank  # type: ignore[union-attr]
    b = with_spec(home, "b-run", ('kind = "lora"', f'kind = "lora"\nrank = {rank * 2}'))
    compared = ComparisonReader().read([a, b])
    rows = differences([each.settings for each in compared])
    assert {row.key: row.values for row in rows} == {"tuning.rank": (str(rank), str(rank * 2))}
    assert differences([compared[0].settings, compared[0].settings]) == ()
    told = {row.key: row.values for row in results(compared)}
    assert told["status"] == ("finished", "finished")
    assert told["last loss"][0] == told["last loss"][1] != "-"
    assert has_one_kind_of_loss(compared)


def test_a_spec_that_cannot_be_read_is_said_and_the_rest_compared(home: Path) -> None:
    a, b = with_spec(home, "a-run"), with_spec(home, "b-run")
    b.spec.write_text("= nothing")
    broken = ComparisonReader().read([a, b])[1]
    assert broken.problem
    assert broken.settings == {}
    assert broken.run.step > 0


def test_a_live_run_is_read_on(home: Path) -> None:
    events = recorded_events()
    live = make_run(home, "live", events[: len(events) // 2])
    reader = ComparisonReader()
    before = reader.read([live])[0].run.step
    live.events.write_bytes(make_run(home, "done", events).events.read_bytes())
    assert reader.read([live])[0].run.step > before


def test_losses_of_two_methods_are_not_of_a_kind(home: Path) -> None:
    a, b = ComparisonReader().read([with_spec(home, "a-run"), with_spec(home, "b-run")])
    b.settings["method.kind"] = "dpo"
    assert not has_one_kind_of_loss([a, b])


def test_the_compare_command(home: Path) -> None:
    with_spec(home, "a-run")
    with_spec(home, "b-run", ("[training]", "[training]\nseed = 7"))
    shown = command("compare", "a-run", "b-run")
    assert "A  a-run" in shown
    assert "training.seed" in shown
    assert "training.epochs" not in shown
    report = json.loads(command("compare", "a-run", "b-run", "--json"))
    assert set(report["differences"]) == {"training.seed"}
    assert report["differences"]["training.seed"][1] == "7"
    assert len(report["runs"][0]["state"]["curves"]["steps"]) > 5
    with pytest.raises(InputError, match="Too few runs"):
        command("compare", "a-run", "a-run")


def test_notes_are_kept_beside_the_runs_and_sought(home: Path) -> None:
    runs = every_status(home)
    name = runs["finished"].name
    before = sorted(path.name for path in runs["finished"].path.iterdir())
    assert command("note", name) == "No note.\n"
    command("note", name, "--text", "Best so far.\nSecond line", "--tag", "#Keep demo")
    assert sorted(path.name for path in runs["finished"].path.iterdir()) == before
    shown = command("note", name)
    assert "#keep #demo" in shown
    assert "Second line" in shown
    assert command("list", "--find", "#keep").count("\n") == 1
    assert name in command("list", "--find", "best far")
    assert "No run matches" in command("list", "--find", "#kee")
    command("note", name, "--untag", "keep", "--text", "")
    assert read_note(name) == Note(tags=("demo",))
    command("delete", name, "--yes")
    assert not note_file(name).exists()


def test_notes_read_again_only_when_they_change(home: Path) -> None:
    reader = NotesReader()
    assert reader.read() == {}
    write_note("a", Note(text="one"))
    assert reader.read()["a"].text == "one"
    write_note("a", Note(text="two"))
    assert reader.read()["a"].text == "two"
    note_file("b").write_bytes(b"\xff no JSON")
    assert set(reader.read()) == {"a"}


def test_tags_are_short_words() -> None:
    assert parse_tags(" #Good, good  best ") == ("good", "best")
    with pytest.raises(InputError, match="too long"):
        parse_tags("x" * 31)
    with pytest.raises(InputError, match="too long"):
        write_note("a", Note(text="x" * 20_001))
    assert fits(["#good", "run"], "a-run failed", Note(tags=("good",)))
    assert not fits(["#goo"], "a-run failed", Note(tags=("good",)))


def test_a_family_from_its_first_to_its_last(home: Path) -> None:
    first = with_spec(home, "first", age=50)
    second = with_spec(home, "second", age=40)
    third = with_spec(home, "third", age=30)
    with_spec(home, "stranger", age=20)
    begun_from(second, first.name, str(first.adapter))
    begun_from(third, "x", str(second.checkpoints / "step-000020"), is_run=False)
    for run in (first, second, third):
        lines = FamilyReader().tree(run, list_runs())
        assert [(line.name, line.depth) for line in lines] == [("first", 0), ("second", 1), ("third", 2)]
        assert lines[1].words == "from its adapter"
        assert lines[2].words == "from step-000020"
    shown = command("tree", "second")
    assert "    third  (from step-000020)" in shown
    shutil.rmtree(first.path)
    assert [line.name for line in FamilyReader().tree(third, list_runs())] == ["first", "second", "third"]


def test_a_family_in_a_circle_ends(home: Path) -> None:
    a, b = with_spec(home, "a-run"), with_spec(home, "b-run")
    begun_from(a, b.name, str(b.adapter))
    begun_from(b, a.name, str(a.adapter))
    assert {line.name for line in FamilyReader().tree(a, list_runs())} == {"a-run", "b-run"}


def test_a_branch_begins_from_any_kept_checkpoint(home: Path, tiny_model: Path) -> None:
    from tuner_tui.models.source import find_source

    run = with_spec(home, "a-run")
    for step in (20, 36):
        checkpoint = run.checkpoints / f"step-{step:06}"
        checkpoint.mkdir()
        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "/elsewhere/x"}
        (checkpoint / "adapter_config.json").write_text(json.dumps(config))
        (checkpoint / "adapter_model.safetensors").write_bytes(
            (2).to_bytes(8, "little") + b"{}"
        )  # no tensors
    assert find_checkpoint(run, "last").name == "step-000036"
    spec = branch_spec(run, find_checkpoint(run, "20"))
    assert spec.model.adapter == str(run.checkpoints / "step-000020")
    assert spec.name is not None
    assert spec.name.endswith("-from-20")
    plan = decode_plan(run.plan.read_bytes())
    plan = msgspec.structs.replace(plan, model_kind="folder", model_location=str(tiny_model))
    run.plan.write_bytes(encode_plan(plan))
    start = find_start(spec, find_source(str(tiny_model)))
    assert start is not None  # its base is the run's, whatever the checkpoint calls it
    assert (start.name, start.is_run) == ("a-run", True)
    out = home / "branch.toml"
    command("branch", "a-run", "--step", "36", "--out", str(out))
    assert read_spec(out).model.adapter == str(run.checkpoints / "step-000036")
    with pytest.raises(InputError, match="exists"):
        command("branch", "a-run", "--out", str(out))
    with pytest.raises(NotFoundError, match="step 7"):
        command("branch", "a-run", "--step", "7")
    (run.checkpoints / "step-000040").mkdir()
    with pytest.raises(RunProblem, match="No run can start from there"):
        branch_spec(run, find_checkpoint(run, "last"))
