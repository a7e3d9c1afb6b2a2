"""One bad file never hides the other runs: each file of a run, spoilt in each way, as commands and Home see it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.safety.spoilt import WAYS, permissions_count, spoil
from tests.ui.looking import screen_lines, until
from tests.ui.recorded_runs import held, make_run, recorded_events
from tuner_tui.cli import tuner_tui
from tuner_tui.errors import TunerError
from tuner_tui.files import LineFollower
from tuner_tui.runs.notes import Note, note_file, write_note
from tuner_tui.runs.summary import SUMMARY_FILE, write_summary
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.screens.home import Home
from tuner_tui.ui.screens.monitor import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


GOOD = ("good-one-aaaa", "good-two-bbbb")
NAMES_OF_FILES = {
    "run.toml": "2026-spec",
    "plan.json": "2026-plan",
    "events.jsonl": "2026-events",
    "telemetry.jsonl": "2026-telemetry",
    "worker.log": "2026-log",
    "report.md": "2026-report",
    "summary.json": "2026-summary",
    "memory.json": "2026-memory",
    "control": "2026-control",
    "checkpoints": "2026-checkpoints",
    "adapter": "2026-adapter",
    "note": "2026-note",
}
ANY_TEXT = ("worker.log", "report.md")
"""Whatever bytes are in these are shown as text."""
OF_ANOTHER_VERSION = ("summary.json", "memory.json")
"""Made again where their content does not fit."""
NO_FILE = ("a folder", "a pipe", "a socket", "an endless device", "a terminal", "a loop of symlinks")
PERMISSIONS = ("without permission",)
IS_FOLDER = ("control", "checkpoints", "adapter")
QUICK_WAYS = ("a folder", "a pipe", "nested objects", "without permission", "binary garbage", "another JSON")
QUICK_IN_THE_APP = ("a pipe", "nested objects")
WATCHED = ("events.jsonl", "telemetry.jsonl", "worker.log", "plan.json")
STEPS = 36
SECONDS = 20


def expects_problem(file: str, way: str) -> bool:
    """Whether a person has to be told."""
    if file in IS_FOLDER:
        return way != "a folder"
    if way in (*NO_FILE, *PERMISSIONS, "a dangling symlink"):
        return True
    if file in ANY_TEXT:
        return False
    return not (file in OF_ANOTHER_VERSION and way == "another JSON")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("LANG", "C.UTF-8")
    return tmp_path


def make_spoilt(home: Path, way: str) -> None:
    """Two good runs, and one for each file in which that is spoilt."""
    for age, name in enumerate(GOOD):
        write_summary(make_run(home, name, recorded_events(), age=10_000 * age))
    for age, (file, name) in enumerate(NAMES_OF_FILES.items(), 1):
        folder = make_run(home, name, recorded_events(), age=100.0 * age)
        if file != "summary.json":
            write_summary(folder)
        path = note_file(name) if file == "note" else folder.path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        spoil(path, way)


def invoke(*arguments: str) -> tuple[str, TunerError | None]:
    """What a command prints; an error for the person is one that is explained."""
    done = CliRunner().invoke(tuner_tui, arguments)
    if done.exception is not None and not isinstance(done.exception, (TunerError, SystemExit)):
        raise done.exception
    return done.output, done.exception if isinstance(done.exception, TunerError) else None


def as_parameters(quick: tuple[str, ...]) -> list[Any]:
    """All ways; those that are not quick are for the slow suite."""
    return [pytest.param(way, marks=() if way in quick else pytest.mark.slow) for way in WAYS]


@pytest.fixture(params=as_parameters(QUICK_WAYS))
def way(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    make_spoilt(home, request.param)
    with held(home), permissions_count():
        yield request.param


@pytest.mark.timeout(120)
def test_commands_list_every_run_and_name_what_is_wrong(way: str) -> None:
    begun = time.monotonic()
    output, error = invoke("runs", "list", "--json")
    assert error is None
    listed: dict[str, Any] = {run["run"]: run for run in json.loads(output)}
    assert set(listed) == {*GOOD, *NAMES_OF_FILES.values()}
    for name in GOOD:
        assert listed[name]["status"] == "finished"
        assert listed[name]["step"] == listed[name]["total_steps"] == STEPS
        assert listed[name]["problem"] is None
    for file, name in NAMES_OF_FILES.items():
        assert bool(listed[name]["problem"]) == expects_problem(file, way), (file, listed[name])
        if expects_problem(file, way):
            assert file in listed[name]["problem"]
        if file != "events.jsonl":
            assert (listed[name]["status"], listed[name]["step"]) == ("finished", STEPS), file
    output, error = invoke("runs", "list")
    assert error is None
    assert all(name in output for name in listed)
    for file, name in NAMES_OF_FILES.items():
        output, error = invoke("runs", "show", name)
        assert error is None
        if expects_problem(file, way):
            assert "problem" in output and file in output, (file, output)
        shown, error = invoke("runs", "show", name, "--json")
        assert error is None
        assert bool(json.loads(shown)["problems"]) == expects_problem(file, way), file
        output, error = invoke("runs", "compare", GOOD[0], name)
        assert error is None
        assert GOOD[0] in output
        assert name in output
        for command in ("tree", "log"):
            _, error = invoke("runs", command, name)
            assert error is None
    assert time.monotonic() - begun < SECONDS


@pytest.mark.timeout(240)
@pytest.mark.parametrize("way", as_parameters(QUICK_IN_THE_APP), indirect=True)
async def test_home_and_monitor_show_every_run(way: str) -> None:
    app = TunerApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(app.screen.summaries) == len(NAMES_OF_FILES) + 2)  # type: ignore[attr-defined]
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, Home)
        text = "\n".join(screen_lines(app))
        for file, name in NAMES_OF_FILES.items():
            assert name in text
            assert bool(screen.summaries[name].problem) == expects_problem(file, way), file
        assert all(
            screen.summaries[name].step == STEPS and not screen.summaries[name].problem for name in GOOD
        )
        watched = [folder for folder in screen.folders if folder.name in map(NAMES_OF_FILES.get, WATCHED)]
        assert len(watched) == len(WATCHED)
        for folder in watched:
            app.open_monitor(folder)
            await until(pilot, lambda: isinstance(app.screen, Monitor) and app.screen.view is not None)
            await pilot.pause()
            app.pop_screen()
            await pilot.pause()
        assert isinstance(app.screen, Home)


def test_a_note_that_cannot_be_read_is_not_overwritten(home: Path) -> None:
    folder = make_run(home, GOOD[0], recorded_events())
    write_note(folder.name, Note(text="dear to me"))
    note_file(folder.name).write_text('{"text": "dear to me", "tags": 5}')
    with held(home):
        _, error = invoke("runs", "note", folder.name, "--tag", "best")
    assert error is not None
    assert str(note_file(folder.name)) in error.message
    assert "dear to me" in note_file(folder.name).read_text()


IMPOSSIBLE = ("3.2e16", "-5", "1e300", "NaN", '"noon"', "null", "[]", "-1e308", "99999999999999999999999999")


@pytest.mark.parametrize("at", IMPOSSIBLE)
def test_impossible_times_are_named_and_hide_nothing(home: Path, at: str) -> None:
    good, bad = (make_run(home, name, recorded_events(), age=age) for age, name in enumerate(GOOD))
    lines = bad.events.read_text().splitlines()
    spoilt = [
        line.replace(f'"at":{json.loads(line)["at"]}', f'"at":{at}') if number % 3 == 0 else line
        for number, line in enumerate(lines)
    ]
    assert spoilt != lines
    bad.events.write_text("\n".join(spoilt) + "\n")
    with held(home):
        listed = {run["run"]: run for run in json.loads(invoke("runs", "list", "--json")[0])}
        assert listed[good.name]["problem"] is None
        assert "events.jsonl" in listed[bad.name]["problem"]
        output, error = invoke("runs", "show", bad.name)
        assert error is None
        assert "problem" in output
        assert invoke("runs", "compare", *GOOD)[1] is None


@pytest.mark.parametrize("number", ["-3", "1e3", "10000000000000000000000000000", '"many"', "9" * 400])
def test_impossible_counts_are_named_and_hide_nothing(home: Path, number: str) -> None:
    folder = make_run(home, GOOD[0], recorded_events())
    lines = folder.events.read_text().splitlines()
    spoilt = [
        line.replace('"total_steps":36', f'"total_steps":{number}') if "step" in line else line
        for line in lines
    ]
    folder.events.write_text("\n".join(spoilt) + "\n")
    with held(home):
        (listed,) = json.loads(invoke("runs", "list", "--json")[0])
        assert listed["status"] == "finished"
        assert "events.jsonl" in listed["problem"]
        assert invoke("runs", "show", folder.name)[1] is None


def test_a_line_torn_by_a_kill_and_a_newer_kind_are_no_problem(home: Path) -> None:
    folder = make_run(home, GOOD[0], recorded_events())
    lines = folder.events.read_bytes().splitlines(keepends=True)
    torn = lines[5][: len(lines[5]) // 2] + b"\n"
    newer = b'{"event":"galaxy_found","at":5.0,"stars":{"a":[1]}}\n'
    folder.events.write_bytes(b"".join([*lines[:5], torn, newer, *lines[5:]]))
    with held(home):
        (listed,) = json.loads(invoke("runs", "list", "--json")[0])
    assert (listed["problem"], listed["status"], listed["step"]) == (None, "finished", STEPS)


def test_a_huge_line_is_left_out_and_what_follows_is_read(home: Path) -> None:
    folder = make_run(home, GOOD[0], recorded_events())
    events = folder.events.read_bytes()
    folder.events.write_bytes(b"x" * (40 << 20) + b"\n" + events)
    with held(home):
        (listed,) = json.loads(invoke("runs", "list", "--json")[0])
    assert (listed["status"], listed["step"]) == ("finished", STEPS)
    assert listed["problem"] == "events.jsonl: 1 line cannot be read"


def test_finding_reads_summaries_and_not_every_event(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        write_summary(make_run(home, f"run-{number:03}", recorded_events(), age=number))
    (home / "data" / "runs" / "run-007" / SUMMARY_FILE).unlink()
    read: dict[str, int] = {}
    read_lines = LineFollower.read

    def counted(follower: LineFollower) -> bytes:
        lines = read_lines(follower)
        read[follower.path.parent.name] = read.get(follower.path.parent.name, 0) + len(lines)
        return lines

    monkeypatch.setattr(LineFollower, "read", counted)
    with held(home):
        output, error = invoke("runs", "list", "--find", "run-02 finished", "--json")
        assert error is None
        assert len(json.loads(output)) == 10
        assert set(read) == {"run-007"}  # the one without a summary
        assert len(json.loads(invoke("runs", "list", "--json")[0])) == 30
        assert set(read) == {"run-007"}
