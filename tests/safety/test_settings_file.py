"""The settings file as others leave it: broken while the app runs, changed by many at once, a symlink, read-only."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.safety.spoilt import WAYS, permissions_count, spoil
from tests.ui.looking import screen_lines, until
from tests.ui.recorded_runs import held, make_run, recorded_events
from tuner_tui.config import paths
from tuner_tui.config.settings import (
    SettingsError,
    go_on_with_bad_settings,
    read_settings,
    set_setting,
    settings_file,
    unset_setting,
    usable_settings,
)
from tuner_tui.errors import TunerError
from tuner_tui.ui.app import TunerApp

GOOD = '[folders]\ndata = "{home}/big"\n\n[energy]\nprice = 0.3\n'
BROKEN_LINES = (
    'theme = "dark',
    "price =",
    "[app\n",
    "x y z",
    'report_to = ["wandb"',
    'a = """',
    "price = 0.3",
)
"""Below `[energy]`, after `price = 0.3`."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (paths.DATA_VARIABLE, paths.CACHE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("LANG", "C.UTF-8")
    (tmp_path / "config").mkdir()
    (tmp_path / "big").mkdir()
    return tmp_path


def tuner(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tuner_tui", *arguments],
        env=os.environ | {"TUNER_TUI_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


CHANGES = {
    "app.theme": "tuner-light",
    "memory.leave_free": "1.5",
    "energy.price": "0.25",
    "energy.currency": "CHF",
    "notify.bell": "off",
    "notify.terminal": "osc9",
    "notify.desktop": "off",
    "notify.on_finish": "true",
    "notify.on_finish_seconds": "30",
    "trackers.report_to": "trackio",
    "trackers.project": "octopus",
    "privacy.offline": "on",
}


def test_settings_changed_by_many_processes_at_once_are_all_kept(home: Path) -> None:
    settings_file().write_text("# mine\n\n[folders]  # where things lie\n")
    changes = [*CHANGES.items(), *(("folders.data", f"{home}/big"), ("folders.cache", f"{home}/cold"))]
    changes += [("energy.price", "0.25"), ("privacy.offline", "on")]  # two of them twice
    assert len(changes) == 16
    processes = [tuner(home, "config", "set", key, value) for key, value in changes]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    text = settings_file().read_text()
    kept = {f"{section}.{name}" for section, table in tomllib.loads(text).items() for name in table}
    assert kept == {key for key, _ in changes}
    assert text.startswith("# mine\n")
    assert "[folders]  # where things lie" in text


def test_settings_changed_by_many_threads_at_once_are_all_kept(home: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(set_setting, CHANGES, CHANGES.values()))
    assert set(read_settings().given) == set(CHANGES)


def test_a_symlink_stays_one_and_what_it_leads_to_is_changed(home: Path) -> None:
    (home / "dotfiles").mkdir()
    real = home / "dotfiles" / "tuner.toml"
    real.write_text("# mine\n")
    settings_file().symlink_to(real)
    set_setting("energy.price", "1")
    assert settings_file().is_symlink()
    assert real.read_text() == "# mine\n\n[energy]\nprice = 1\n"
    unset_setting("energy.price")
    assert real.read_text().strip() == "# mine"


def test_a_file_that_may_not_be_written_is_left_and_told(home: Path) -> None:
    settings_file().write_text(GOOD.format(home=home))
    settings_file().chmod(0o444)
    for change in ("1", ""):  # nothing typed is the default again
        with pytest.raises(TunerError) as told:
            set_setting("energy.price", change)
        assert "read-only" in told.value.title
        assert str(settings_file()) in told.value.message
        assert "chmod u+w" in told.value.hint
    assert settings_file().read_text() == GOOD.format(home=home)
    settings_file().unlink()
    settings_file().symlink_to(home / "gone" / "settings.toml")
    with pytest.raises(TunerError, match="does not exist"):
        set_setting("energy.price", "1")
    with pytest.raises(
        SettingsError, match="missing"
    ):  # the folders it may have named must not move in silence
        paths.data_dir()
    settings_file().unlink()
    settings_file().symlink_to(settings_file().name)
    with pytest.raises(TunerError, match="symlink loop"):
        set_setting("energy.price", "1")
    with pytest.raises(SettingsError, match="symlink loop"):
        paths.data_dir()


@pytest.mark.timeout(60)
def test_whatever_stands_there_is_told_and_never_overwritten(home: Path) -> None:
    with permissions_count():
        for way in WAYS:
            if way == "a dangling symlink":
                continue
            spoil(settings_file(), way)
            with pytest.raises(SettingsError) as told:
                read_settings()
            assert str(settings_file()) in told.value.message, way
            before = settings_file().lstat()
            with pytest.raises(TunerError):
                set_setting("energy.price", "1")
            if way != "a folder":
                assert settings_file().lstat() == before


@pytest.mark.parametrize("line", BROKEN_LINES)
def test_commands_name_file_line_and_what_to_do(home: Path, line: str) -> None:
    settings_file().write_text(GOOD.format(home=home) + line + "\n")
    with pytest.raises(SettingsError) as told:
        paths.data_dir()
    assert f"{settings_file()}, line " in told.value.message
    assert told.value.hint
    if "=" in line and "a =" not in line:
        assert f"energy.{line.split()[0]}" in told.value.message


@pytest.mark.parametrize("line", BROKEN_LINES)
def test_folders_do_not_move_when_another_line_is_broken(home: Path, line: str) -> None:
    settings_file().write_text(GOOD.format(home=home) + line + "\n")
    settings, problem = usable_settings()
    assert problem is not None
    assert settings.text("folders.data") == f"{home}/big"
    assert "default folders" not in problem.meanwhile
    assert not settings.switch("privacy.offline")


def test_what_is_lost_of_folders_and_privacy_is_said(home: Path) -> None:
    for text in (
        '[folders]\ndata = "/mnt/big\n',
        "[folders]\ndata = 5\n",
        'folders = "/mnt/big"\n',
        "\0\1\2",
    ):
        settings_file().write_text(text)
        problem = usable_settings()[1]
        assert problem is not None
        assert "default folders" in problem.meanwhile
    settings_file().write_text("[privacy]\noffline = yes\n")
    settings, problem = usable_settings()
    assert settings.switch("privacy.offline")
    assert problem is not None
    assert "No requests are sent to the Hub" in problem.meanwhile


def test_a_section_that_is_no_table_is_told(home: Path) -> None:
    settings_file().write_text('folders = "/mnt/big"\n')
    with pytest.raises(SettingsError, match="line 1: folders must be a table"):
        read_settings()


async def test_the_app_goes_on_with_the_last_good_settings_and_says_so(home: Path) -> None:
    settings_file().write_text(GOOD.format(home=home))
    (home / "data").symlink_to(home / "big")
    make_run(home, "a-run", recorded_events())
    (home / "data").unlink()
    big = home / "wrapper"
    big.mkdir()
    (big / "data").symlink_to(home / "big")
    with held(big):
        app = TunerApp()
        async with app.run_test(size=(120, 30)) as pilot:
            await until(pilot, lambda: "a-run" in "\n".join(screen_lines(app)))
            settings_file().write_text("[energy]\nprice = true\n")
            assert paths.data_dir() == home / "big"
            await until(
                pilot,
                lambda: "energy.price must be a number" in " ".join("\n".join(screen_lines(app)).split()),
            )
            text = " ".join("\n".join(screen_lines(app)).split())
            assert "line 2" in text
            assert "a-run" in text
            assert read_settings().number("energy.price") == 0.3
            await pilot.press("o")
            await pilot.pause()
            await pilot.press("escape", "escape")
            settings_file().write_text(GOOD.format(home=home))
            await until(pilot, lambda: "! The settings" not in "\n".join(screen_lines(app)))
    settings_file().write_text("broken")
    with pytest.raises(SettingsError):  # commands do not go on
        read_settings()


async def test_the_app_starts_with_settings_that_cannot_be_used(home: Path) -> None:
    settings_file().write_text(GOOD.format(home=home) + "bell ring\n")
    (home / "data").mkdir()
    with held(home):
        app = TunerApp()
        async with app.run_test(size=(120, 30)) as pilot:
            await until(pilot, lambda: "! The settings" in "\n".join(screen_lines(app)))
            assert paths.data_dir() == home / "big"
            assert "line 6" in "\n".join(screen_lines(app))
    go_on_with_bad_settings(False)
