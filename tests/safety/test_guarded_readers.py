"""Files that another process or a person may have touched are opened in one place only, `guarded.py`."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tuner_tui
from tuner_tui.guarded import Unreadable
from tuner_tui.keeper.heartbeat import heartbeat_file, read_beat
from tuner_tui.runs.control import take_requests
from tuner_tui.runs.folder import RunFolder
from tuner_tui.sharing.checksums import SUMS, matches_sums
from tuner_tui.sharing.scan import Secrets, scan_file
from tuner_tui.worker.training.checkpoints import MANIFEST, why_corrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(tuner_tui.__file__).parent
OWNERS = ("guarded.py", "files.py")
"""What may open files: the guarded readers, and the writers beside them."""
SYSTEM = "a file of the kernel or of the system's own settings, which no user writes"
FOLDER = "opens a folder, to delete below it without following a link"
OWN_EVENTS = "the worker's own events, which it holds open for appending; they may be of any length"
JUST_WRITTEN = "what this process wrote just before"
CHECKED_DATA = "a data file of any size, whose kind data/files/opened.py has looked at"
CHECKED_SIZE = "a checkpoint's file of any size, whose kind and size were looked at just before"
NO_FILE = "a measure's own method"
EXCEPTIONS = {
    ("data/files/opened.py", "open_bytes"): CHECKED_DATA,
    ("data/files/opened.py", "packing_of"): CHECKED_DATA,
    ("feedback/collections.py", "_copy_synced"): JUST_WRITTEN,
    ("hardware/amd.py", "_text"): SYSTEM,
    ("hardware/gpu.py", "nvidia_gpu_on_the_bus"): SYSTEM,
    ("hardware/survival.py", "_lines"): SYSTEM,
    ("hardware/system.py", "_text"): SYSTEM,
    ("hardware/system.py", "process_tree"): SYSTEM,
    ("importing/table.py", "_read"): "a file of this package",
    ("models/architectures.py", "table"): "a file of this package",
    ("owned.py", "Owned._is_marked"): "reads a few bytes of our mark, follows no link and waits for no pipe",
    ("owned.py", "Owned._itself"): FOLDER,
    ("owned.py", "Owned._parent_of"): FOLDER,
    ("owned.py", "_opened"): FOLDER,
    ("owned.py", "mounts_below"): SYSTEM,
    ("owned.py", "_opened_path"): FOLDER,
    ("planning/place.py", "cpu_has_16_bit"): SYSTEM,
    ("runs/history.py", "History._open"): NO_FILE,
    ("sharing/archive.py", "_require_same"): JUST_WRITTEN,
    ("worker/training/checkpoints.py", "_make_complete"): JUST_WRITTEN,
    ("worker/training/checkpoints.py", "_sha256"): CHECKED_SIZE,
    ("worker/device/memory.py", "MemoryMeter.measured"): OWN_EVENTS,
    ("worker/device/memory.py", "MemoryMeter._workload"): OWN_EVENTS,
    ("worker/device/memory.py", "_status"): SYSTEM,
    ("worker/training/samples.py", "_has_base_answers"): OWN_EVENTS,
    ("worker/text/template_time.py", "run_began"): OWN_EVENTS,
    ("worker/text/token_cache.py", "cache_key"): CHECKED_DATA,
    ("worker/training/guarded_steps.py", "GuardedSteps._remember"): OWN_EVENTS,
    ("worker/training/guarded_steps.py", "OverdueEvaluation._was_prevented"): OWN_EVENTS,
}
"""(module, function): why it opens a file itself."""


def writes_only(mode: ast.expr) -> bool:
    """Whether a mode is surely one that reads nothing."""
    if isinstance(mode, ast.IfExp):
        return writes_only(mode.body) and writes_only(mode.orelse)
    return (
        isinstance(mode, ast.Constant)
        and isinstance(mode.value, str)
        and mode.value[:1] in ("w", "a", "x")
        and "+" not in mode.value
    )


def imported_names(tree: ast.Module) -> dict[str, str]:
    """What names of modules, functions and classes stand for; `Path` among them."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def opens_a_file(call: ast.Call, names: dict[str, str]) -> bool:
    """Whether a call opens a file to read it, as far as its form tells."""
    function, modes = call.func, [word.value for word in call.keywords if word.arg == "mode"]
    if isinstance(function, ast.Name):
        modes = modes or call.args[1:2]
        return function.id == "open" and "open" not in names and not (modes and writes_only(modes[0]))
    if not isinstance(function, ast.Attribute):
        return False
    origin = names.get(function.value.id, "") if isinstance(function.value, ast.Name) else ""
    is_module = bool(origin) and origin.split(".")[0] in sys.stdlib_module_names and origin != "pathlib.Path"
    if function.attr in ("read_text", "read_bytes"):
        return not origin.startswith("tuner_tui")
    if function.attr != "open" or origin.startswith("tuner_tui"):
        return False
    if is_module:  # os.open, io.open, tarfile.open ...
        modes = modes or call.args[1:2]
        return not (modes and writes_only(modes[0].elts[0] if isinstance(modes[0], ast.Tuple) else modes[0]))
    modes = modes or call.args[:1]
    return not modes or (isinstance(modes[0], (ast.Constant, ast.IfExp)) and not writes_only(modes[0]))


def openings(source: str) -> Iterator[tuple[str, int]]:
    """(function, line) of each call in a module that opens a file to read it."""
    tree = ast.parse(source)
    names = imported_names(tree)

    def visit(node: ast.AST, function: str) -> Iterator[tuple[str, int]]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            function = f"{function}.{node.name}".lstrip(".")
        elif isinstance(node, ast.Call) and opens_a_file(node, names):
            yield function, node.lineno
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function)

    return visit(tree, "")


def test_only_the_guarded_readers_open_files() -> None:
    opened = {
        (path.relative_to(SOURCES).as_posix(), function): line
        for path in sorted(SOURCES.rglob("*.py"))
        if path.relative_to(SOURCES).as_posix() not in OWNERS
        for function, line in openings(path.read_text(encoding="utf-8"))
    }
    unguarded = [
        f"{module}:{line} in {function}: read it with tuner_tui.guarded"
        for (module, function), line in opened.items()
        if (module, function) not in EXCEPTIONS
    ]
    assert not unguarded, "\n".join(unguarded)
    assert not EXCEPTIONS.keys() - opened.keys(), "exceptions that are needed no longer"


@pytest.mark.parametrize(
    ("statement", "is_opening"),
    [
        ("path.read_text()", True),
        ("(folder / name).read_bytes()", True),
        ("path.open()", True),
        ("path.open('rb')", True),
        ("path.open(mode='r+b')", True),
        ("path.open('ab' if have else 'rb')", True),
        ("open(path)", True),
        ("os.open(path, os.O_RDONLY)", True),
        ("Path(name).read_text()", True),
        ("path.open('wb')", False),
        ("path.open('ab' if have else 'wb')", False),
        ("open(path, 'w')", False),
        ("guarded.read_text(path)", False),
        ("tarfile.open(path, 'w:gz')", False),
        ("pane.open(reading)", False),
    ],
)
def test_what_opens_a_file_is_noticed(statement: str, is_opening: bool) -> None:
    imports = "import os, tarfile\nfrom pathlib import Path\nfrom tuner_tui import guarded\n"
    assert bool(list(openings(f"{imports}def read():\n    {statement}\n"))) is is_opening


@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    run = RunFolder(tmp_path / "run")
    for path in (
        heartbeat_file(),
        run.control / "stop.json",
        tmp_path / SUMS,
        tmp_path / "README.md",
        tmp_path / MANIFEST,
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)
    assert read_beat() is None
    assert take_requests(run) == []
    assert not matches_sums(tmp_path)
    assert why_corrupt(tmp_path) == "its manifest is missing or corrupt"
    with pytest.raises(Unreadable, match="it is a pipe, not a file"):
        list(scan_file(tmp_path / "README.md", Secrets()))
