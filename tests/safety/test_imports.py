"""Nothing that lies in the current folder, a run's folder or the data folder is imported by a process of ours."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tuner_tui
from tests.faults.home import Home
from tests.worker.runs import write_rows
from tuner_tui.hardware.environment import worker_environment
from tuner_tui.keeper.process import start_keeper
from tuner_tui.owned import LOG_TITLE
from tuner_tui.python import python_command
from tuner_tui.runs.events import RunFinished

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOURCES = Path(tuner_tui.__file__).parent
CONSOLE_ENTRY = [str(Path(sys.executable).with_name("tuner-tui"))]
AS_MODULE = [sys.executable, "-m", "tuner_tui"]
LOADED_AT_START = "import sys; print(*sys.modules)"
LOADED_BY_RUNPY = "import runpy, importlib.util, sys; runpy.run_module('this'); print(*sys.modules)"
NO_HUB = "http://127.0.0.1:9"
PLAIN_COMMANDS = (
    ["config", "list"],
    ["runs", "list"],
    ["presets", "list"],
    ["models", "list"],
    ["doctor", "--no-torch"],
    ["data", "show", "rows.jsonl", "1"],
)


def modules_after(*arguments: str) -> set[str]:
    """What an interpreter of this environment holds once it ran a program."""
    command = [sys.executable, "-I", *arguments]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def third_party_names() -> set[str]:
    """Modules that an installed library could be imported by, but those that Python itself takes in for `.pth` files.

    Those are looked up along `PYTHONPATH` before any line of ours runs, in every program of that environment.
    """
    names = importlib.metadata.packages_distributions()
    at_start = modules_after("-c", LOADED_AT_START)
    return {name for name in names if name.isidentifier() and name not in at_start | {"tuner_tui"}}


def standard_names() -> set[str]:
    """Modules of the standard library, but those that `python -m` itself loads before any line of ours runs."""
    loaded = modules_after("-c", LOADED_BY_RUNPY)
    return {name for name in sys.stdlib_module_names if name not in loaded and not name.startswith("_")}


class Poison:
    """Modules that write down who imported them."""

    def __init__(self, marker: Path, names: set[str]) -> None:
        self.marker = marker
        self._names = names

    def spread(self, folder: Path) -> Path:
        """Put one of each name into a folder, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        code = (
            "import os, sys\n"
            f"with open({str(self.marker)!r}, 'a') as marker:\n"
            "    marker.write(f'{__name__} by {sys.orig_argv} in {os.getcwd()}\\n')\n"
        )
        for name in self._names:
            (folder / f"{name}.py").write_text(code)
        return folder

    def victims(self) -> list[str]:
        """Which modules ran, in which processes."""
        return self.marker.read_text().splitlines() if self.marker.exists() else []


@pytest.fixture
def poison(tmp_path: Path) -> Poison:
    return Poison(tmp_path / "marker", third_party_names() | standard_names())


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)


def run(command: Sequence[str], cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=os.environ | variables, capture_output=True, text=True, check=False
    )


def test_poison_is_imported_by_a_python_that_is_not_careful(poison: Poison, tmp_path: Path) -> None:
    run([sys.executable, "-c", "import msgspec"], poison.spread(tmp_path / "here"))
    assert len(poison.victims()) == 1


@pytest.mark.parametrize("launcher", [CONSOLE_ENTRY, AS_MODULE], ids=["tuner-tui", "python -m"])
def test_commands_import_nothing_from_the_current_folder(
    poison: Poison, tmp_path: Path, launcher: list[str]
) -> None:
    here = poison.spread(tmp_path / "here")
    write_rows(here / "rows.jsonl")
    for arguments in PLAIN_COMMANDS:
        done = run([*launcher, *arguments], here)
        assert (poison.victims(), done.returncode) == ([], 0), (arguments, done.stderr)


@pytest.mark.parametrize("search_path", ["{old}:", ":{old}", "lib:{old}", "."])
def test_entries_of_the_search_path_that_mean_the_current_folder_do_not_count(
    tmp_path: Path, search_path: str
) -> None:
    """`export PYTHONPATH=$PYTHONPATH:/some/folder` leaves an empty entry, which Python takes as the current folder."""
    poison = Poison(tmp_path / "marker", third_party_names())
    here = poison.spread(tmp_path / "here")
    poison.spread(here / "lib")
    write_rows(here / "rows.jsonl")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    variables = {"PYTHONPATH": search_path.format(old=elsewhere)}
    done = run([*CONSOLE_ENTRY, "data", "show", "rows.jsonl", "1"], here, **variables)
    assert (poison.victims(), done.returncode) == ([], 0), done.stderr
    show = "import os, tuner_tui.cli; print(os.environ['PYTHONPATH'])"
    given_on = run([sys.executable, "-P", "-c", show], tmp_path, **variables).stdout.strip()
    assert given_on == (str(elsewhere) if "{old}" in search_path else "")


def test_a_keeper_imports_nothing_from_the_data_folder(poison: Poison, tmp_path: Path) -> None:
    data = poison.spread(tmp_path / "home" / "data")
    start_keeper(data / "keeper.log", data)
    home = Home(tmp_path / "other", tmp_path)
    home.path = tmp_path / "home"
    home.wait_until_idle()
    assert (poison.victims(), (data / "keeper.log").read_bytes()) == ([], LOG_TITLE)


def test_children_that_libraries_spawn_import_nothing_either(poison: Poison, tmp_path: Path) -> None:
    """`multiprocessing`'s spawn, its resource tracker, and a bare `python -m` as torch's compiler starts it."""
    here = poison.spread(tmp_path / "here")
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "spawning.py").write_text(
        "import multiprocessing, subprocess, sys\n"
        "def look():\n"
        "    import msgspec\n"
        "if __name__ == '__main__':\n"
        "    for way in ('spawn', 'forkserver'):\n"
        "        child = multiprocessing.get_context(way).Process(target=look)\n"
        "        child.start(); child.join(); assert child.exitcode == 0\n"
        "    multiprocessing.get_context('spawn').Semaphore()\n"
        "    subprocess.run([sys.executable, '-m', 'msgspec._utils'], check=True)\n"
    )
    command = python_command("spawning")
    done = subprocess.run(
        command, cwd=here, env=worker_environment(1) | {"PYTHONPATH": str(modules)}, check=False
    )
    assert (poison.victims(), done.returncode) == ([], 0)


def test_only_one_file_knows_how_python_is_started() -> None:
    """Command lines come from `python_command`; nobody else names the interpreter or makes processes another way."""
    strangers = []
    for path in sorted(SOURCES.rglob("*.py")):
        if path == SOURCES / "python.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names_interpreter = isinstance(node, ast.Attribute) and node.attr in (
                "executable",
                "_base_executable",
                "orig_argv",
            )
            imports_from_sys = isinstance(node, ast.ImportFrom) and node.module == "sys"
            is_multiprocessing = isinstance(node, (ast.Import, ast.ImportFrom)) and any(
                name.split(".")[0] in ("multiprocessing", "multiprocess", "runpy")
                for name in (
                    [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else [alias.name for alias in node.names]
                )
            )
            if names_interpreter or imports_from_sys or is_multiprocessing:
                strangers.append(f"{path.relative_to(SOURCES)}: {ast.unparse(node)}")
    assert strangers == []


@pytest.fixture
def home(tmp_path: Path, tiny_model: Path) -> Iterator[Home]:
    """The data folder of the environment, with real keepers and workers."""
    home = Home(tmp_path / "home", tiny_model)
    yield home
    home.end_all()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_import_nothing_from_run_and_data_folders(poison: Poison, home: Home, tmp_path: Path) -> None:
    """Training, resuming, chat, probe, export and doctor, each with real processes with torch."""
    made = home.make_run("inkwell", max_steps=4, save_every=2)
    poison.spread(made.folder.path)
    poison.spread(home.path / "data")
    here = poison.spread(tmp_path / "here")
    (here / "run.toml").write_bytes(made.folder.spec.read_bytes())
    made.submit()
    assert isinstance(made.wait_for_end(), RunFinished)
    assert poison.victims() == []
    name = made.folder.name
    for arguments in (
        ["doctor"],
        ["probe", "run.toml"],
        ["data", "show", str(home.rows), "1", "--model", str(home.model)],
        ["chat", f"{home.model}+{name}", "--prompt", "Who?", "--max-new-tokens", "2"],
        ["export", name, "--as", "merged", "--out", str(tmp_path / "merged"), "--yes"],
        ["train", "run.toml"],
        ["models", "download", "owner/nothing"],
    ):
        done = run([*AS_MODULE, *arguments], here, HF_HUB_OFFLINE="0", HF_ENDPOINT=NO_HUB)
        assert poison.victims() == [], (arguments, done.stderr)
        codes = (0, 1, 2) if arguments[0] in ("doctor", "models") else (0,)  # those two tell what is missing
        assert done.returncode in codes, (arguments, done.stderr)
    resumed = home.make_run("resumed", max_steps=40, save_every=1)
    poison.spread(resumed.folder.path)
    resumed.submit()
    resumed.wait_for_step(2)
    run([*AS_MODULE, "runs", "stop", resumed.folder.name], here)
    resumed.wait_for_end()
    again = run([*AS_MODULE, "runs", "resume", resumed.folder.name, "--json"], here)
    assert (poison.victims(), again.returncode) == ([], 0), again.stderr
    assert isinstance(resumed.ending(), RunFinished)
