"""Runs on disk: making and finding them, the queue they wait in, requests to them, and their status."""

from __future__ import annotations

import os
import secrets
import shutil
from typing import TYPE_CHECKING

import pytest

from tuner_tui.config import paths
from tuner_tui.config.spec import DataSpec, ModelSpec, RunSpec
from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.planning.plan import Plan, decode_plan
from tuner_tui.runs import lock, queue
from tuner_tui.runs.control import leave_request, take_requests
from tuner_tui.runs.create import create_run
from tuner_tui.runs.events import (
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
    WorkerStarted,
)
from tuner_tui.runs.folder import RunFolder, find_run, find_run_or_folder, list_runs
from tuner_tui.runs.journal import append_event
from tuner_tui.runs.notes import Note, write_note
from tuner_tui.runs.run_names import ADJECTIVES, ANIMALS, fresh_name, given_name
from tuner_tui.runs.status import LIVE, RunFollower, read_run
from tuner_tui.ui.widgets.literal import fit_name

if TYPE_CHECKING:
    from pathlib import Path

PLAN = Plan(
    model_kind="folder",
    model_location="/models/m",
    model_name="m",
    revision=None,
    learning_rate=1e-4,
    threads=1,
    choices=(),
)
STARTED = RunStarted(protocol=1)
AT_WORK = WorkerStarted(pid=1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def spec_named(name: str | None) -> RunSpec:
    return RunSpec(name=name, model=ModelSpec(source="/models/m"), data=DataSpec(train="/data/rows.jsonl"))


def make_run(name: str | None = "one") -> RunFolder:
    return create_run(spec_named(name), PLAN)


def test_a_new_run_is_whole() -> None:
    run = make_run("My Run: \x1b[31m äöü/../..")
    assert run.path.parent == paths.runs_dir()
    assert run.name.rsplit("-", 2)[0] == given_name(run.name) == "my-run-31m"
    assert read_spec(run.spec).model.source == "/models/m"
    assert decode_plan(run.plan.read_bytes()) == PLAN
    assert run.control.is_dir() and run.checkpoints.is_dir()
    assert run.events.read_bytes() == run.log.read_bytes() == run.lock.read_bytes() == b""
    assert read_run(run).status == "interrupted"


def test_a_name_that_is_taken_is_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(("brave", "otter") * 2 + ("calm", "heron") * 2 + ("calm", "owl"))
    monkeypatch.setattr(secrets, "choice", lambda _: next(drawn))
    assert [make_run("twin").name for _ in range(2)] == ["twin-brave-otter", "twin-calm-heron"]
    write_note("twin-calm-heron", Note(text="of a run that was deleted"))
    shutil.rmtree(paths.runs_dir() / "twin-calm-heron")
    assert make_run("twin").name == "twin-calm-owl"


@pytest.mark.parametrize(
    ("model", "begins"),
    [
        ("/models/m", "m-sft"),
        ("demo", "demo-sft"),
        ("Qwen/Qwen3-4B-Instruct-2507", "qwen3-4b-sft"),
        ("Qwen/Qwen2.5-0.5B", "qwen2-5-0-5b-sft"),
        ("mistralai/Mixtral-8x7B-v0.1", "mixtral-8x7b-sft"),
        ("./SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-sft"),
        ("openai-community/some-very-long-name-without-a-size", "some-very-long-name-sft"),
    ],
)
def test_a_run_without_a_name_is_called_after_model_and_method(model: str, begins: str) -> None:
    spec = RunSpec(model=ModelSpec(source=model), data=DataSpec(train="/data/rows.jsonl"))
    name = fresh_name(spec, lambda _: False)
    given, adjective, animal = name.rsplit("-", 2)
    assert (given, adjective in ADJECTIVES, animal in ANIMALS) == (begins, True, True)
    assert given_name(name) == begins
    assert len(name) <= 40


def test_the_words_of_names_are_short_and_many() -> None:
    assert all(word.isascii() and word.isalpha() and len(word) <= 7 for word in (*ADJECTIVES, *ANIMALS))
    assert len(set(ADJECTIVES)) * len(set(ANIMALS)) > 10_000


@pytest.mark.parametrize(
    "text", ["brave-otter", "otter", "tools", "Tools!", "tools-brave", "tools-brave-otter"]
)
def test_a_run_is_found_by_what_a_person_says(text: str) -> None:
    for name in ("tools-brave-otter", "my-tools-calm-heron", "tools-and-more-brave-owl"):
        (paths.runs_dir() / name).mkdir(parents=True)
    assert find_run(text).name == "tools-brave-otter"


@pytest.mark.parametrize("width", [16, 19, 24, 40])
def test_a_shortened_name_keeps_the_words_that_tell_it_from_others(width: int) -> None:
    shown = fit_name("qwen3-4b-sft-brave-otter", width)
    assert len(shown) == width
    assert shown.strip().endswith("brave-otter")
    (paths.runs_dir() / "qwen3-4b-sft-brave-otter").mkdir(parents=True)
    assert find_run(shown.strip()).name == "qwen3-4b-sft-brave-otter"


@pytest.mark.parametrize("below", ["", "data", "data/runs"])
def test_a_data_folder_that_cannot_be_written_leaves_nothing(home: Path, below: str) -> None:
    """A file in the place of a folder stops root too, which rights would not."""
    blocked = home / below if below else home
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("a file")
    with pytest.raises(TunerError) as caught:
        make_run()
    assert "TUNER_TUI_HOME" in caught.value.hint
    assert blocked.read_text() == "a file"
    assert list_runs() == []


def test_a_run_that_cannot_be_completed_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("other")
    real_mkdir = os.mkdir

    def full(path: str | os.PathLike[str], *rest: int) -> None:
        if str(path).endswith("checkpoints"):
            raise OSError(28, "No space left on device")
        real_mkdir(path, *rest)

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(TunerError, match="No space left"):
        make_run("broken")
    assert len(list(paths.runs_dir().iterdir())) == 1


def test_runs_are_listed_the_newest_first() -> None:
    assert list_runs() == []
    runs = [make_run(f"run-{number}") for number in range(3)]
    for age, run in enumerate(runs):
        os.utime(run.spec, (1000.0 - age, 1000.0 - age))
    (paths.runs_dir() / ".making-half").mkdir()
    (paths.runs_dir() / "a file").touch()
    assert list_runs() == runs


def test_a_run_is_found_by_what_is_known_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError):
        find_run("last")
    first, second = make_run("on a day in May"), make_run("on a day in June")
    os.utime(first.spec, (1.0, 1.0))
    assert find_run(first.name) == first
    assert find_run("last") == second
    assert find_run(first.name.rpartition("-")[2]) == first
    assert find_run(first.name[:-2]) == first
    assert find_run_or_folder(str(second.path)) == second
    monkeypatch.chdir(paths.runs_dir())
    assert find_run_or_folder(f"./{second.name}") == second
    for no_name in ("", " ", ".", "..", "/", str(second.path), f"./{second.name}"):
        with pytest.raises(InputError, match="Not a run's name"):
            find_run(no_name)
    with pytest.raises(InputError, match="ambiguous") as caught:
        find_run("on-a-day")
    assert first.name in caught.value.message and second.name in caught.value.message
    with pytest.raises(NotFoundError):
        find_run("banana")


@pytest.mark.parametrize("text", ["tools", "Tools", "tools!", "tools-52a5", "52a5", "2026-11-30-tools-5"])
def test_a_run_is_found_by_the_name_that_it_was_given(text: str) -> None:
    for name in ("2026-11-30-tools-52a5", "2026-11-30-my-tools-0b0b", "2026-11-30-tools-and-more-aaaa"):
        (paths.runs_dir() / name).mkdir(parents=True)
    assert find_run(text).name == "2026-11-30-tools-52a5"


@pytest.mark.parametrize("text", ["?", "*", "~", "!!", "\u202e", "наука"])
def test_signs_alone_are_not_the_name_of_a_renamed_run(text: str) -> None:
    (paths.runs_dir() / "mine").mkdir(parents=True)
    with pytest.raises(NotFoundError):
        find_run(text)


def test_a_run_is_found_by_its_name_as_lists_shorten_it() -> None:
    name = "2026-11-19-mistral-7b-instruct-customer-support-tickets-c01d"
    (paths.runs_dir() / name).mkdir(parents=True)
    (paths.runs_dir() / "2026-11-19-mistral-7b-instruct-other-c02d").mkdir()
    for width in (12, 16, 24, 40):
        assert find_run(fit_name(name, width).strip()).name == name
    with pytest.raises(InputError, match="ambiguous"):
        find_run("mistral-7b…")


def test_two_runs_of_one_name_are_told_apart() -> None:
    for name in ("2026-11-29-tools-0b0b", "2026-11-30-tools-52a5"):
        (paths.runs_dir() / name).mkdir(parents=True)
    with pytest.raises(InputError, match="ambiguous") as caught:
        find_run("tools")
    assert all(name in caught.value.message for name in ("2026-11-29-tools-0b0b", "2026-11-30-tools-52a5"))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("tols", "Did you mean 2026-11-30-tools-52a5?"),
        ("tools-52a6", "Did you mean 2026-11-30-tools-52a5?"),
        ("2026-11-30-tool-52a5", "Did you mean 2026-11-30-tools-52a5?"),
        ("octopuss", "Did you mean 2026-11-21-octopus-3f2a or 2026-11-21-octopus-b-aaaa?"),
        ("brave-oter", "Did you mean demo-sft-brave-otter?"),
        ("zzz", "See: tuner-tui runs list"),
    ],
)
def test_near_names_are_listed(text: str, hint: str) -> None:
    for name in (
        "2026-11-30-tools-52a5",
        "2026-11-21-octopus-3f2a",
        "2026-11-21-octopus-b-aaaa",
        "demo-sft-brave-otter",
    ):
        (paths.runs_dir() / name).mkdir(parents=True)
    with pytest.raises(NotFoundError) as caught:
        find_run(text)
    assert caught.value.hint == hint


def test_a_whole_name_wins_over_being_the_start_of_another() -> None:
    short = RunFolder(paths.runs_dir() / "run")
    for name in ("run", "run-2"):
        (paths.runs_dir() / name).mkdir(parents=True)
    assert find_run("run") == short


def test_the_queue_keeps_its_order() -> None:
    runs = [make_run(f"run-{number}") for number in (2, 0, 1)]
    for run in runs:
        queue.enqueue(run, resume=run is runs[1])
    (paths.queue_dir() / "00-garbage.json").write_bytes(b"\xff")
    (paths.queue_dir() / "00-torn.json").write_text("{")
    (paths.queue_dir() / ".hidden.json").write_text("{}")
    (paths.queue_dir() / "00-folder.json").mkdir()
    assert [entry.folder for _, entry in queue.entries()] == [str(run.path) for run in runs]
    assert [entry.resume for _, entry in queue.entries()] == [False, True, False]
    assert all(read_run(run).status == "queued" for run in runs)

    assert queue.withdraw(runs[1].name)
    assert not queue.withdraw(runs[1].name)
    assert not queue.is_queued(runs[1].name)
    assert [entry.folder for _, entry in queue.entries()] == [str(runs[0].path), str(runs[2].path)]


def test_names_that_end_alike_are_not_confused() -> None:
    long, short = RunFolder(paths.runs_dir() / "big-run"), RunFolder(paths.runs_dir() / "run")
    queue.enqueue(long)
    assert queue.is_queued("big-run")
    assert not queue.is_queued("run")
    assert not queue.withdraw(short.name)


def test_an_entry_is_either_claimed_or_withdrawn() -> None:
    first, second = make_run("first"), make_run("second")
    queue.enqueue(first)
    queue.enqueue(second)
    [(one, _), (two, _)] = queue.entries()
    claimed = queue.claim(one)
    assert claimed is not None
    assert not queue.withdraw(first.name)
    assert queue.is_queued(first.name)
    assert [entry.folder for _, entry in queue.entries()] == [str(first.path), str(second.path)]
    assert queue.claim(claimed) == claimed
    assert queue.withdraw(second.name)
    assert queue.claim(two) is None


def test_requests_are_taken_once_and_garbage_is_removed() -> None:
    run = make_run()
    assert take_requests(run) == []
    asked = {leave_request(run, kind): kind for kind in ("stop", "save", "sample")}
    for name, content in {
        "a": b"",
        "b": b"{",
        "c": b'{"id": "\xff", "request": "stop"}',
        "d": b'{"id": "1", "request": "dance"}',
        "e": b"[]",
    }.items():
        (run.control / f"{name}.json").write_bytes(content)
    (run.control / "f.json").mkdir()
    (run.control / "note.txt").write_text("not for you")
    taken = take_requests(run)
    assert {request.id: request.request for request in taken} == asked
    assert take_requests(run) == []
    assert sorted(path.name for path in run.control.iterdir()) == ["f.json", "note.txt"]


def test_a_control_folder_that_is_gone_is_made_again() -> None:
    run = make_run()
    run.control.rmdir()
    assert take_requests(run) == []
    leave_request(run, "save")
    assert [request.request for request in take_requests(run)] == ["save"]


@pytest.mark.parametrize(
    ("events", "when_free", "when_held"),
    [
        ([], "interrupted", "starting"),
        ([STARTED], "interrupted", "starting"),
        ([STARTED, AT_WORK], "interrupted", "running"),
        ([STARTED, AT_WORK, RunFinished(step=1, loss=1.0, seconds=1.0)], "finished", "finished"),
        ([STARTED, AT_WORK, RunStopped(step=1, checkpoint=None, seconds=1.0)], "stopped", "stopped"),
        ([STARTED, RunFailed(kind="lost", title="t")], "failed", "failed"),
        ([STARTED, AT_WORK, RunFailed(kind="lost", title="t"), STARTED], "interrupted", "starting"),
    ],
)
def test_status_from_events_and_lock(events: list[Event], when_free: str, when_held: str) -> None:
    run = make_run()
    for event in events:
        append_event(run.events, event)
    assert read_run(run).status == when_free
    assert read_run(run).can_resume == (when_free in ("stopped", "failed", "interrupted"))
    held = lock.acquire(run.lock)
    assert held is not None
    assert read_run(run).status == when_held
    queue.enqueue(run)
    assert read_run(run).status == "queued"  # whoever holds the lock: no keeper has begun to start it
    assert queue.claim(queue.entries()[0][0]) is not None
    is_over = when_held not in LIVE
    assert read_run(run).status == ("queued" if is_over else when_held)
    held.release()
    assert read_run(run).status == "queued"


def test_a_follower_goes_on_where_it_was() -> None:
    run = make_run()
    follower = RunFollower(run)
    held = lock.acquire(run.lock)
    assert held is not None
    assert follower.poll() == "starting"
    append_event(run.events, STARTED)
    append_event(run.events, AT_WORK)
    assert follower.poll() == "running"
    append_event(run.events, RunFinished(step=1, loss=1.0, seconds=1.0))
    held.release()
    assert follower.poll() == "finished"
    assert follower.state.attempt == 1
