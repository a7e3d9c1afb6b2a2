"""Files under other processes' eyes: atomic writes, following, and the journal of events."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tuner_tui.files import LineFollower, folder_size, last_lines, write_atomic
from tuner_tui.runs.events import Warned, decode_lines, encode
from tuner_tui.runs.journal import EventWriter, append_event

if TYPE_CHECKING:
    from pathlib import Path


def warned(text: str) -> Warned:
    return Warned(message=text, at=1.0)


@pytest.mark.parametrize(
    ("folder_mode", "mask", "mode"),
    [
        (0o700, 0o022, 0o600),
        (0o755, 0o022, 0o600),
        (0o2775, 0o002, 0o664),
        (0o775, 0o002, 0o664),
        (0o2755, 0o022, 0o644),
        (0o1777, 0o022, 0o600),  # /tmp
    ],
)
def test_an_atomic_write_replaces_the_whole_file_for_its_person_or_the_group(
    tmp_path: Path, folder_mode: int, mask: int, mode: int
) -> None:
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.parent.chmod(folder_mode)
    before = os.umask(mask)
    try:
        write_atomic(path, "old")
        write_atomic(path, b"new \xff")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new \xff"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert list(path.parent.iterdir()) == [path]


def test_an_atomic_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom tuner_tui.files import write_atomic\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_atomic(Path(sys.argv[1]), b'x' * 5000)\nexcept OSError:\n    sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 7
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_interrupted_before_its_rename_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", "new")
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208


def test_a_torn_line_waits_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    follower = LineFollower(path)
    assert follower.read() == b""
    path.write_bytes(b"one\ntw")
    assert follower.read() == b"one\n"
    assert follower.read() == b""
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
    assert follower.read() == b"two\nthree\n"
    assert follower.read() == b""


def test_a_file_replaced_by_a_shorter_one_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\n")
    follower = LineFollower(path)
    follower.read()
    path.write_bytes(b"new\n")
    assert follower.read() == b"new\n"
    path.unlink()
    assert follower.read() == b""


@pytest.mark.parametrize("size", [1, 7, 8, 9, 64, 1000])
def test_lines_of_any_length_come_whole_whatever_the_chunk(tmp_path: Path, size: int) -> None:
    path = tmp_path / "lines"
    content = b"a" * size + b"\n" + b"b\n" * 5 + b"c" * (3 * size) + b"\nd\n"
    path.write_bytes(content)
    follower = LineFollower(path, chunk_bytes=8)
    read = []
    while lines := follower.read():
        assert lines.endswith(b"\n")
        read.append(lines)
    assert b"".join(read) == content


def test_a_huge_torn_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"x" * 100)
    follower = LineFollower(path, chunk_bytes=8)
    assert follower.read() == b""
    with path.open("ab") as file:
        file.write(b"y\n")
    assert follower.read() == b"x" * 100 + b"y\n"


def test_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert last_lines(path, 3) == []
    path.write_bytes(b"one\ntwo \xff\nthree  \nfour")
    assert last_lines(path, 2) == ["three", "four"]
    assert last_lines(path, 9)[1] == "two \ufffd"
    assert folder_size(tmp_path) == path.stat().st_size


def test_a_line_torn_by_a_writer_that_died_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode(warned("before")) + encode(warned("torn"))[:20])
    append_event(path, warned("after"))
    assert decode_lines(path.read_bytes()) == [warned("before"), warned("after")]
    assert path.read_bytes().count(b"\n") == 3


def test_a_last_line_that_lacks_only_its_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode(warned("whole"))[:-1])
    EventWriter(path).close()
    assert decode_lines(path.read_bytes()) == [warned("whole")]


def test_two_processes_that_append_at_once_tear_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    script = (
        "import sys\nfrom pathlib import Path\nfrom tuner_tui.runs.events import Warned\n"
        "from tuner_tui.runs.journal import EventWriter\nwriter = EventWriter(Path(sys.argv[1]))\n"
        "for number in range(300):\n"
        "    writer.write(Warned(message=f'{sys.argv[2]}-{number}' + 'x' * (number * 37 % 9000), at=1.0))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), name]) for name in "ab"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    texts = [
        event.message.rstrip("x") for event in decode_lines(path.read_bytes()) if isinstance(event, Warned)
    ]
    for name in "ab":
        assert [text for text in texts if text.startswith(name)] == [f"{name}-{n}" for n in range(300)]


def test_a_full_disk_loses_only_what_did_not_fit(tmp_path: Path) -> None:
    """The limit on file size stands for the disk; raising it again stands for freeing space."""
    path = tmp_path / "events.jsonl"
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom tuner_tui.runs.events import Warned\n"
        "from tuner_tui.runs.journal import EventWriter\n"
        "def limit(size): resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))\n"
        f"hard = {hard}\nwriter = EventWriter(Path(sys.argv[1]))\n"
        "def write(text):\n"
        "    try:\n        writer.write(Warned(message=text, at=1.0))\n"
        "    except OSError:\n        print(text, end=' ')\n"
        "limit(130)\nwrite('fits')\nwrite('torn' + 'x' * 200)\nwrite('full')\n"
        "limit(hard)\nwrite('after')\nwrite('last')\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True
    ).stdout.split()
    assert [text[:4] for text in told] == ["torn", "full"]
    assert decode_lines(path.read_bytes()) == [warned("fits"), warned("after"), warned("last")]
