"""Other users on the machine, and users of whom the system knows nothing: each error names what is in the way."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuner_tui.errors import TunerError
from tuner_tui.feedback.collections import list_collections, open_collection
from tuner_tui.files import barred, path_problem
from tuner_tui.hardware.doctor import check_folder
from tuner_tui.runs.folder import find_run, list_runs, unlisted_runs

NOBODY = 65534


def as_somebody(look: Callable[[], Any]) -> Any:
    """What a function gives for a user to whom modes apply, which they do not for root."""
    if os.getuid() != 0:
        return look()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                found = look()
            except TunerError as error:
                found = f"{error.title}: {error.message}"
            os.write(writing, pickle.dumps(found))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(said)


def told(look: Callable[[], Any]) -> Callable[[], str]:
    """The error of a function in words."""

    def words() -> str:
        try:
            return str(look())
        except TunerError as error:
            return f"{error.title}: {error.message}"

    return words


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home that another user may enter, with a data folder that is closed."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    monkeypatch.setenv("TUNER_TUI_HOME", str(folder))
    for name in ("runs", "feedback"):
        (folder / "data" / name / "x").mkdir(parents=True)
        (folder / "data" / name).chmod(0o000)
    yield folder
    for name in ("runs", "feedback"):
        (folder / "data" / name).chmod(0o700)
    shutil.rmtree(folder)


def test_what_is_in_the_way_is_named(home: Path) -> None:
    runs = home / "data" / "runs"
    said = as_somebody(lambda: barred(runs / "x" / "run.toml"))
    assert said.startswith(f"{runs} may not be entered (d---------, of ")
    assert as_somebody(lambda: barred(home / "data" / "missing")) == ""

    def fail() -> str:
        try:
            (runs / "x").stat()
        except OSError as error:
            return path_problem(error, home)
        return ""

    assert as_somebody(fail) == said


def test_runs_that_cannot_be_listed_are_not_none(home: Path) -> None:
    assert as_somebody(list_runs) == []
    for look in (unlisted_runs, lambda: find_run("last"), lambda: find_run("x")):
        assert f"{home}/data/runs may not be read (d---------" in as_somebody(told(look))
    (home / "data" / "runs").chmod(0o755)
    assert as_somebody(unlisted_runs) is None


@pytest.mark.parametrize("look", [list_collections, lambda: open_collection("evening")])
def test_collections_that_cannot_be_listed(home: Path, look: Callable[[], Any]) -> None:
    assert f"{home}/data/feedback may not be " in as_somebody(told(look))


def test_the_doctor_looks_into_the_data_folder(home: Path) -> None:
    for name in ("data", "data/runs"):
        (home / name).chmod(0o777)
    check = as_somebody(lambda: check_folder("Data folder", home / "data", ("runs", "feedback")))
    assert (check.status, check.value) == ("problem", "cannot be written: feedback is not accessible to you")
    assert check.detail.startswith(f"{home}/data/feedback may not be ")


NO_HOME = """
import os, pwd, sys
for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
    os.environ.pop(name, None)
def missing(number):
    raise KeyError(number)
pwd.getpwuid = missing
from tuner_tui.cli import main
sys.argv[:] = ["tuner-tui", *sys.argv[1:]]
main()
"""


def without_home(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("TUNER_TUI_HOME", "HF_HOME")
    }
    return subprocess.run(
        [sys.executable, "-P", "-c", NO_HOME, *arguments],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("command", ["runs list", "data check demo", "feedback list", "config list"])
def test_a_user_without_a_home_gets_words(command: str) -> None:
    done = without_home(*command.split())
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "Internal error" not in done.stderr
    said = " ".join(done.stderr.split())
    assert "No home folder is known" in said and "TUNER_TUI_HOME" in said


def test_a_user_without_a_home_and_a_folder_of_ours_can_work(tmp_path: Path) -> None:
    done = without_home("feedback", "add", "x", "--prompt", "q", TUNER_TUI_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    done = without_home("data", "check", "hub:owner/name", TUNER_TUI_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert "The data set is not on this machine" in done.stderr, done.stderr
    unknown = without_home("runs", "list", TUNER_TUI_HOME="~nobody-of-that-name/x")
    assert unknown.returncode == 2 and "No home folder is known" in unknown.stderr


def test_an_internal_error_without_a_folder_for_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.toml").write_text("broken =")
    done = without_home("runs", "list", TUNER_TUI_HOME=str(tmp_path))
    assert "Traceback" not in done.stderr and "settings.toml" in done.stderr
