"""The run's lock across processes: who holds it, who hands it on, and when it is free."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tuner_tui.runs import lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_held_once_free_after_release(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not lock.is_held(path)
    held = lock.acquire(path)
    assert held is not None
    assert lock.is_held(path)
    assert lock.acquire(path) is None
    held.release()
    assert not lock.is_held(path)
    again = lock.acquire(path)
    assert again is not None
    again.release()


def test_a_child_holds_it_on_after_its_parent_was_killed(tmp_path: Path) -> None:
    """Parent: takes the lock, starts a child with the descriptor, is killed. The child ends when its stdin closes."""
    path = tmp_path / "lock"
    script = (
        "import subprocess, sys\nfrom pathlib import Path\nfrom tuner_tui.runs import lock\n"
        "held = lock.acquire(Path(sys.argv[1]))\n"
        "child = [sys.executable, '-c', 'import sys; sys.stdin.read()']\n"
        "subprocess.Popen(child, pass_fds=(held.descriptor,))\n"
        "subprocess.Popen(child)\n"  # given no descriptor: it must not matter
        "print('ready', flush=True)\nsys.stdin.read()\n"
    )
    reading, writing = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=reading, stdout=subprocess.PIPE, text=True
    )
    os.close(reading)
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        parent.wait()
        assert lock.is_held(path)
        assert lock.acquire(path, patience_seconds=0.2) is None
    finally:
        os.close(writing)
        parent.stdout.close()  # type: ignore[union-attr]
    wait_for(lambda: not lock.is_held(path))


def test_a_lock_is_not_inherited_unasked(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = lock.acquire(path)
    assert held is not None
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        held.release()
        assert not lock.is_held(path)
    finally:
        child.kill()
        child.wait()


def test_looking_leaves_no_lock_and_no_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(50):
        assert not lock.is_held(path)
    held = lock.acquire(path)
    assert held is not None
    for _ in range(50):
        assert lock.is_held(path)
        assert lock.acquire(path) is None
    held.release()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_patience_outlasts_a_reader_that_looks(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "lock"
    with path.open("w") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        assert not lock.is_held(path), "readers do not take each other for a holder"
        assert lock.acquire(path) is None
        started = time.monotonic()
        assert lock.acquire(path, patience_seconds=0.1) is None
        assert time.monotonic() - started >= 0.1
    held = lock.acquire(path, patience_seconds=5)
    assert held is not None
    held.release()


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    assert not lock.is_held(tmp_path / "gone" / "lock")
    with pytest.raises(OSError, match="No such file"):
        lock.acquire(tmp_path / "gone" / "lock")
