"""Being told: what terminals are sent, what the person's command gets, and that none of it harms anything."""

from __future__ import annotations

import ast
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tuner_tui.config import paths
from tuner_tui.config.settings import Settings, money_words, set_setting
from tuner_tui.keeper import on_finish
from tuner_tui.keeper.outcome import Outcome, read_outcome
from tuner_tui.keeper.terminal_notice import terminal_notice
from tuner_tui.runs.events import PROTOCOL, RunFailed, RunFinished, RunStarted, StepLogged
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.journal import append_event

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    folder = RunFolder(tmp_path / "data" / "runs" / "a-run")
    folder.path.mkdir(parents=True)
    folder.lock.touch()
    folder.adapter.mkdir()
    append_event(folder.events, RunStarted(at=1000.0, protocol=PROTOCOL))
    append_event(folder.events, StepLogged(at=1001.0, step=7, total_steps=9, epoch=1.0, loss=0.51234567))
    return folder


def finish(run: RunFolder) -> Outcome:
    append_event(run.events, RunFinished(at=1090.0, step=7, loss=0.5, seconds=80.0))
    outcome = read_outcome(run)
    assert outcome is not None
    return outcome


def fail(run: RunFolder, title: str, message: str = "") -> Outcome:
    append_event(run.events, RunFailed(at=1090.0, kind="error", title=title, message=message))
    outcome = read_outcome(run)
    assert outcome is not None
    return outcome


def settings(**given: Any) -> Settings:
    return Settings({f"notify.{name}": value for name, value in given.items()})


@pytest.mark.parametrize(
    ("environment", "given", "sent"),
    [
        ({"TERM": "xterm-256color"}, {}, "\a"),
        ({"TERM": "xterm-256color"}, {"bell": False}, ""),
        ({"TERM": "xterm-kitty"}, {}, "\a\x1b]9;tuner-tui: a finished. well\a"),
        (
            {"TERM": "screen", "LC_TERMINAL": "iTerm2"},
            {"bell": False},
            "\x1b]9;tuner-tui: a finished. well\a",
        ),
        ({"TERM": "foot"}, {"bell": False}, "\x1b]777;notify;tuner-tui: a finished;well\a"),
        ({"TERM": "foot"}, {"terminal": "off"}, "\a"),
        ({}, {"terminal": "osc777", "bell": False}, "\x1b]777;notify;tuner-tui: a finished;well\a"),
        (
            {"TMUX": "1"},
            {"terminal": "osc9", "bell": False},
            "\x1bPtmux;\x1b\x1b]9;tuner-tui: a finished. well\a\x1b\\",
        ),
    ],
)
def test_each_terminal_gets_what_it_takes(
    environment: dict[str, str], given: dict[str, Any], sent: str
) -> None:
    assert terminal_notice("a finished", "well", settings(**given), environment) == sent


def test_a_notice_cannot_carry_an_escape_sequence() -> None:
    evil = "x\x1b]0;title\x07\x9c;\n"
    for way in ("osc9", "osc777"):
        sent = terminal_notice(evil, evil, settings(terminal=way, bell=False), {})
        assert sent.count("\x1b") == 1
        assert sent.count("\a") == 1
        assert "\x9c" not in sent
        assert "\n" not in sent


def test_what_the_command_is_told(run: RunFolder, tmp_path: Path) -> None:
    outcome = finish(run)
    out = tmp_path / "told"
    assert on_finish.run_command(f"env > '{out}'", outcome, 20) == 0
    told = dict(line.partition("=")[::2] for line in out.read_text().splitlines())
    assert {name: value for name, value in told.items() if name.startswith("TUNER_") and name[6] != "T"} == {
        "TUNER_RUN": "a-run",
        "TUNER_STATUS": "finished",
        "TUNER_FOLDER": str(run.path),
        "TUNER_STEP": "7",
        "TUNER_LOSS": "0.512346",
        "TUNER_SECONDS": "90",
        "TUNER_ADAPTER": str(run.adapter),
        "TUNER_MESSAGE": "",
    }
    assert told["TUNER_TOTAL_STEPS"] == "0"  # no training event said how many
    assert told["TUNER_TITLE"] == ""


def test_a_failure_is_told_with_its_words_made_literal(run: RunFolder) -> None:
    outcome = fail(run, "It [red]broke\x1b[31m", "line one\nline two\0")
    variables = outcome.variables()
    assert variables["TUNER_STATUS"] == "failed"
    assert variables["TUNER_TITLE"] == "It [red]broke\\x1b[31m"
    assert variables["TUNER_MESSAGE"] == "line one\\nline two\\x00"
    assert "It [red]broke" in outcome.details


def test_a_command_that_hangs_is_ended_with_all_it_started(run: RunFolder, tmp_path: Path) -> None:
    outcome = finish(run)
    pid = tmp_path / "pid"
    started = time.monotonic()
    assert on_finish.run_command(f"sleep 60 & echo $! > '{pid}'; wait", outcome, 0.5) is None
    assert time.monotonic() - started < 10
    deadline = time.monotonic() + 5
    while _is_running(int(pid.read_text())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_running(int(pid.read_text()))


def _is_running(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_command_that_fails_is_a_line_in_the_log(run: RunFolder, capfd: pytest.CaptureFixture[str]) -> None:
    set_setting("notify.desktop", "off")
    set_setting("notify.on_finish", "echo its own words; exit 3")
    finish(run)
    thread = on_finish.tell(run)
    assert thread is not None
    thread.join(20)
    said = capfd.readouterr().out
    assert "its own words" in said
    assert "a-run: notify.on_finish exited with code 3" in said


def test_settings_that_cannot_be_read_are_a_line_too(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(paths.DATA_VARIABLE, str(tmp_path / "data"))  # as a keeper has it
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.toml").write_text("[notify\n")
    finish(run)
    thread = on_finish.tell(run)
    assert thread is not None
    thread.join(20)
    assert "settings:" in capfd.readouterr().out


def test_who_never_began_or_is_gone_is_not_told_of(run: RunFolder) -> None:
    assert on_finish.tell(RunFolder(run.path.with_name("nothing"))) is None
    run.events.write_bytes(b"")
    assert on_finish.tell(run) is None


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A notify-send that writes down what it was called with."""
    programs = tmp_path / "bin"
    programs.mkdir()
    out = tmp_path / "shown"
    program = programs / "notify-send"
    program.write_text(f"#!{sys.executable}\nimport sys\nopen({str(out)!r}, 'w').write(repr(sys.argv[1:]))\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nothing")
    return out


def test_the_desktop_shows_it_without_markup_or_options(run: RunFolder, desktop: Path) -> None:
    assert on_finish.show_on_desktop(fail(run, "--help <b>&", "more"))
    shown = ast.literal_eval(desktop.read_text())
    assert shown[-3:] == ["--", "a-run failed", "--help &lt;b>&amp;. more"]
    assert "--urgency=critical" in shown


def test_without_a_desktop_nothing_is_tried(
    run: RunFolder, desktop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert not on_finish.show_on_desktop(finish(run))
    assert not desktop.exists()


def test_energy_in_money(run: RunFolder) -> None:
    assert money_words(500.0) == ""
    set_setting("energy.price", "0.3")
    assert money_words(500.0) == "0.15 EUR"
    assert money_words(None) == ""
