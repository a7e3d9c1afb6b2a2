"""The person's settings: read, checked, changed, and heeded by those they are for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuner_tui.config import paths
from tuner_tui.config.setting_list import SETTINGS
from tuner_tui.config.settings import (
    SettingsError,
    read_settings,
    set_setting,
    settings_file,
    unset_setting,
    worker_variables,
)
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.keeper import process
from tuner_tui.runs import lock
from tuner_tui.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(paths.DATA_VARIABLE, raising=False)
    return tmp_path


def write(text: str) -> Path:
    path = settings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def tuner(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tuner_tui", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_without_a_file_all_have_their_defaults() -> None:
    settings = read_settings()
    assert [settings[setting.key] for setting in SETTINGS] == [setting.default for setting in SETTINGS]
    assert not settings_file().exists()


def test_each_says_what_it_is() -> None:
    for setting in SETTINGS:
        assert len(setting.help) > 20
        assert setting.help.endswith(".")
        assert setting.title


def test_a_change_is_read_back_and_comments_stay() -> None:
    path = write("# mine\n[energy]\nprice = 0.3  # a kWh\n")
    assert set_setting("energy.price", "0.45") == 0.45
    assert set_setting("notify.bell", "off") is False
    assert set_setting("trackers.report_to", "tensorboard, trackio") == ("tensorboard", "trackio")
    settings = read_settings()
    assert settings.number("energy.price") == 0.45
    assert not settings.switch("notify.bell")
    assert settings.words("trackers.report_to") == ("tensorboard", "trackio")
    assert "# mine" in path.read_text()
    assert "# a kWh" in path.read_text()
    unset_setting("notify.bell")
    assert read_settings().switch("notify.bell")
    assert "bell" not in path.read_text()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("energy.price", "cheap"),
        ("energy.price", "-1"),
        ("energy.price", "nan"),
        ("energy.price", "inf"),
        ("memory.leave_free", "inf"),
        ("notify.bell", "maybe"),
        ("notify.terminal", "osc52"),
        ("trackers.report_to", "wandb, mlflow"),
        ("notify.on_finish_seconds", "0"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(key: str, value: str) -> None:
    with pytest.raises(InputError, match=key):
        set_setting(key, value)
    assert not settings_file().exists()


def test_what_is_no_table_is_told_and_left() -> None:
    write("app = 5\n")
    with pytest.raises(SettingsError, match="must be a table"):
        set_setting("app.theme", "tuner-dark")
    with pytest.raises(SettingsError, match="must be a table"):
        unset_setting("app.theme")
    assert settings_file().read_text() == "app = 5\n"


def test_the_nearest_key_is_suggested() -> None:
    with pytest.raises(NotFoundError) as told:
        set_setting("energy.prise", "1")
    assert "energy.price" in told.value.hint
    with pytest.raises(NotFoundError) as told:
        set_setting("bell", "on")
    assert "notify.bell" in told.value.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[energy\n", ("TOML", "line 1")),
        ('# one\n[energy]\nprice = "much"\n', ("energy.price", "line 3", "a number")),
        ('[notify]\nterminal = 3\nbell = "x"\n', ("notify.terminal", "notify.bell", "line 3")),
        ('[folders]\ndata = "here"\n', ("folders.data", "absolute path")),
    ],
)
def test_a_file_that_cannot_be_used_says_where(text: str, words: tuple[str, ...]) -> None:
    path = write(text)
    with pytest.raises(SettingsError) as told:
        read_settings()
    said = f"{told.value.title} {told.value.message}"
    assert str(path) in said
    for word in words:
        assert word in said


def test_a_broken_file_is_never_overwritten() -> None:
    path = write("[energy\n")
    with pytest.raises(SettingsError):
        set_setting("energy.price", "1")
    assert path.read_text() == "[energy\n"


def test_keys_of_another_version_are_left_alone() -> None:
    path = write("odd = 1\n[energy]\nprice = 1\nsolar = true\n")
    settings = read_settings()
    assert settings.number("energy.price") == 1.0
    assert set(settings.unknown) == {"odd", "energy.solar"}
    set_setting("energy.price", "2")
    assert "solar = true" in path.read_text()


def test_a_file_changed_elsewhere_is_read_again() -> None:
    path = write("[energy]\nprice = 1\n")
    assert read_settings().number("energy.price") == 1.0
    path.write_text("[energy]\nprice = 2\n")
    os.utime(path, ns=(1, 1))
    assert read_settings().number("energy.price") == 2.0


def test_folders_move_and_a_keeper_keeps_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = paths.data_dir()
    assert before == home / "home" / "data"
    set_setting("folders.data", str(home / "big"))
    set_setting("folders.cache", str(home / "cold"))
    assert (home / "big").is_dir()
    assert paths.runs_dir() == home / "big" / "runs"
    assert paths.dequantised_dir() == home / "cold" / "dequantised"
    monkeypatch.setenv(paths.DATA_VARIABLE, str(before))
    monkeypatch.setenv(paths.CACHE_VARIABLE, str(home / "cold"))
    settings_file().write_text("broken")
    assert paths.data_dir() == before
    assert paths.dequantised_dir() == home / "cold" / "dequantised"


@pytest.mark.parametrize("folder", ["relative/x", ".", "runs"])
@pytest.mark.parametrize("key", ["folders.data", "folders.cache"])
def test_a_relative_folder_is_refused_with_what_it_would_be(
    home: Path, monkeypatch: pytest.MonkeyPatch, key: str, folder: str
) -> None:
    monkeypatch.chdir(home)
    with pytest.raises(InputError) as raised:
        set_setting(key, folder)
    assert str(home / folder) in raised.value.message
    assert list(home.iterdir()) == []


def test_runs_that_a_change_takes_out_of_the_list_are_told(home: Path) -> None:
    old = home / "home" / "data"
    for name in ("a", "b", "c"):
        (old / "runs" / name).mkdir(parents=True)
    changed = tuner("config", "set", "folders.data", str(home / "big"))
    note = " ".join(changed.stdout.split())
    assert f"folders.data = {home}/big Note: 3 runs stay in {old} and are no longer listed" in note
    assert "Note" not in tuner("config", "set", "folders.data", str(home / "big")).stdout  # the same again
    assert "Note" not in tuner("config", "unset", "folders.data").stdout  # nothing is left there
    assert "Note" not in tuner("config", "set", "folders.cache", str(home / "cold")).stdout
    (old / "runs" / "d").mkdir()
    tuner("config", "set", "folders.data", str(home / "big"))
    (home / "big" / "runs" / "e").mkdir(parents=True)
    assert f"1 run stays in {home}/big" in " ".join(tuner("config", "unset", "folders.data").stdout.split())


def test_a_folder_that_cannot_be_made_is_refused(home: Path) -> None:
    (home / "file").touch()
    with pytest.raises(TunerError, match="cannot be created"):
        set_setting("folders.data", str(home / "file" / "below"))
    assert not settings_file().exists()


def test_a_settings_file_that_cannot_be_written_is_told(home: Path) -> None:
    (home / "home").mkdir()
    (home / "home" / "config").touch()
    with pytest.raises(TunerError, match="cannot be written"):
        set_setting("energy.price", "1")


def test_workers_are_told_what_was_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real start of a worker, whose interpreter only prints its environment."""
    write('[privacy]\noffline = true\n[trackers]\nreport_to = ["wandb"]\nproject = "octopus"\n')
    folder = RunFolder(home / "run")
    folder.path.mkdir()
    folder.log.touch()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    startup = home / "startup"
    startup.mkdir()
    code = "import json, os\nprint(json.dumps(dict(os.environ)), flush=True)\nos._exit(0)\n"
    (startup / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(startup), prepend=os.pathsep)
    held = lock.acquire(folder.lock)
    assert held is not None
    assert process.start_worker(folder, held, 1, is_resumed=False).wait(60) == 0
    held.release()
    environment = json.loads(folder.log.read_text())
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["WANDB_PROJECT"] == "octopus"
    unset_setting("privacy.offline")
    unset_setting("trackers.report_to")
    assert worker_variables(read_settings()) == {}


def test_config_lists_gets_sets_and_unsets() -> None:
    listed = tuner("config", "list").stdout
    for setting in SETTINGS:
        assert setting.key in listed
        assert setting.help.split()[0] in listed
    assert tuner("config", "set", "energy.price", "0.31").returncode == 0
    assert tuner("config", "get", "energy.price").stdout == "0.31\n"
    table = {each["key"]: each for each in json.loads(tuner("config", "list", "--json").stdout)}
    assert table["energy.price"]["value"] == 0.31
    assert table["energy.price"]["is_set"]
    assert tuner("config", "path").stdout.strip() == str(settings_file())
    assert tuner("config", "unset", "energy.price").returncode == 0
    assert tuner("config", "get", "energy.price").stdout == "\n"


def test_config_refuses_in_plain_words() -> None:
    for arguments, code, word in (
        (("config", "get", "nothing"), 3, "No such setting"),
        (("config", "set", "notify.bell", "loud"), 2, "true or false"),
        (("config", "set", "app.theme", "neon-pink"), 2, "tuner-dark"),
    ):
        done = tuner(*arguments)
        assert done.returncode == code
        assert word in done.stderr
        assert "Traceback" not in done.stderr


def test_with_a_broken_file_commands_say_so_and_config_mends_it() -> None:
    write("[energy]\nprice = true\n")
    done = tuner("runs", "list")
    assert done.returncode == 2
    assert "energy.price" in done.stderr
    assert "line 2" in done.stderr
    assert tuner("config", "unset", "energy.price").returncode == 0
    assert tuner("runs", "list").returncode == 0
