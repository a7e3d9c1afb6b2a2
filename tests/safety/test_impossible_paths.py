"""Texts in files that cannot be paths: named, and never in the way of the keeper, the queue or a command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomlkit
from click.testing import CliRunner

from tests.faults.home import Home
from tests.ui.recorded_runs import make_run, recorded_events
from tuner_tui.cli import tuner_tui
from tuner_tui.config import paths
from tuner_tui.errors import TunerError
from tuner_tui.files import can_be_path, is_folder, write_atomic
from tuner_tui.keeper import start
from tuner_tui.keeper.waiting import Line
from tuner_tui.runs import lock, queue
from tuner_tui.runs.events import RunFailed

NAME = "2026-11-20-first-try-94b2"
IMPOSSIBLE = {"a NUL": "x\0y", "too long": "x" * 5000, "a NUL and a user": "~x\0y"}


def change(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_bytes()) | {"lock": "", "after_lock": ""} | fields
    write_atomic(path, json.dumps(content))


@pytest.mark.parametrize("text", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
@pytest.mark.parametrize("field", ["folder", "after"])
def test_an_entry_with_an_impossible_path_stops_nobody(home: Home, field: str, text: str) -> None:
    first, second = home.make_hopeless_run("first"), home.make_hopeless_run("second")
    start.hold_queue()
    start.submit(first.folder)
    change(queue.entries()[0][0], **{field: str(paths.runs_dir() / text) if field == "folder" else text})
    start.submit(second.folder)
    start.release_queue()
    assert isinstance(second.wait_for_event(RunFailed), RunFailed)
    home.wait_until_idle()
    assert "is not a run in" in queue.problems()[first.folder.name]
    done = CliRunner().invoke(tuner_tui, ["queue", "list"])
    assert done.exit_code == 0 and first.folder.name in done.stdout
    assert ("\\x00" in done.stdout) is (len(text) != 5000)
    assert CliRunner().invoke(tuner_tui, ["runs", "list"]).exit_code == 0
    assert queue.withdraw(first.folder.name)


def test_an_entry_that_cannot_be_looked_at_is_blocked(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = home.make_hopeless_run("first"), home.make_hopeless_run("second")
    start.hold_queue()
    for run in (first, second):
        start.submit(run.folder)
    real = lock.look

    def look(path: Path) -> lock.LockState:
        if path == first.folder.lock:
            raise ValueError("embedded null byte")
        return real(path)

    monkeypatch.setattr(lock, "look", look)
    places = Line().places()
    assert [place.state for place in places] == ["blocked", "ready"]
    assert "its run cannot be read" in places[0].reason


@pytest.mark.parametrize("text", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_lock_that_cannot_be_is_told(home: Home, text: str) -> None:
    path = Path("/tmp") / text / "lock"
    assert lock.look(path).problem
    assert lock.identity(path) == ""
    with pytest.raises(OSError):
        lock.acquire(path)
    assert not can_be_path(str(path)) and not is_folder(path)
    assert can_be_path("/nowhere/at/all")


@pytest.mark.parametrize("text", [*IMPOSSIBLE.values(), "../..", ""])
def test_a_hold_that_names_no_run_holds(home: Home, text: str) -> None:
    queue.hold()
    (paths.queue_dir() / queue.HELD_FILE).write_text(f"{text}\nmark")
    assert queue.is_on_hold() and queue.held_for() == ""
    assert queue.release()


@pytest.mark.parametrize("text", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
@pytest.mark.parametrize("key", ["folders.data", "folders.cache"])
def test_a_setting_that_cannot_be_a_folder_is_told(home: Home, key: str, text: str) -> None:
    section, _, name = key.partition(".")
    file = home.path / "config" / "settings.toml"
    file.parent.mkdir(parents=True)
    value = text if text.startswith("~") else f"/{text}"
    file.write_text(tomlkit.dumps({section: {name: value}}))
    for command in (["config", "list"], ["runs", "list"], ["queue", "list"], ["doctor"]):
        done = CliRunner().invoke(tuner_tui, command)
        assert isinstance(done.exception, SystemExit | TunerError | None), command
    with pytest.raises(TunerError, match="must be a path"):
        CliRunner().invoke(tuner_tui, ["runs", "list"], catch_exceptions=False)


@pytest.mark.parametrize("text", ["a/b" + "x" * 5000, "/p/a\0b", "~x\0/y"])
def test_an_adapter_that_cannot_be_a_path_is_told(home: Home, text: str) -> None:
    run = make_run(home.path, NAME, recorded_events())
    spec = tomlkit.loads(run.spec.read_text())
    spec["model"]["adapter"] = text
    run.spec.write_text(tomlkit.dumps(spec))
    with pytest.raises(TunerError):
        CliRunner().invoke(tuner_tui, ["train", "--check", str(run.spec)], catch_exceptions=False)


@pytest.mark.parametrize("text", ["/p/a\0b", "/" + "x" * 5000])
def test_a_plan_with_an_impossible_path_is_listed(home: Home, text: str) -> None:
    run = make_run(home.path, NAME, recorded_events())
    plan = msgspec.json.decode(run.plan.read_bytes())
    plan["model_location"] = text
    plan["start"] = {"name": text, "is_run": True, "path": text, "base": text, "rank": 8, "alpha": 16}
    run.plan.write_bytes(msgspec.json.encode(plan))
    for command in ("list", "show", "disk", "lineage", "compare"):
        names = {"show": [NAME], "lineage": [NAME], "compare": [NAME, NAME]}.get(command, [])
        done = CliRunner().invoke(tuner_tui, ["runs", command, *names])
        assert isinstance(done.exception, SystemExit | TunerError | None), command
