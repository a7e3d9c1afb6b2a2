"""Twenty thousand spoiled files: each is read or refused in plain words within seconds, and none is changed."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tuner_tui.cli.data_words import report_lines
from tuner_tui.data.checking.checks import check
from tuner_tui.data.files.rows import locate
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.errors import TunerError
from tuner_tui.text import plain

SHAPES = Path(__file__).parent / "shapes"
SEED = 20_261_121
FILES = 20_000
LONGEST_SECONDS = 5.0
"""Of one file's process time; a hang is more."""
Mutate = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, draw: random.Random) -> bytes:
    """Ends too early."""
    return data[: draw.randrange(len(data) + 1)]


def flip_bits(data: bytes, draw: random.Random) -> bytes:
    """A few bits are others."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def insert_noise(data: bytes, draw: random.Random) -> bytes:
    """Random bytes stand in the middle."""
    place = draw.randrange(len(data) + 1)
    return data[:place] + draw.randbytes(draw.randint(1, 40)) + data[place:]


def insert_nul(data: bytes, draw: random.Random) -> bytes:
    """NUL bytes stand in the middle."""
    place = draw.randrange(len(data) + 1)
    return data[:place] + b"\0" * draw.randint(1, 2000) + data[place:]


def take_out(data: bytes, draw: random.Random) -> bytes:
    """A stretch is missing."""
    begin = draw.randrange(len(data) + 1)
    return data[:begin] + data[begin + draw.randint(1, 60) :]


def double(data: bytes, draw: random.Random) -> bytes:
    """A stretch stands twice."""
    begin = draw.randrange(len(data) + 1)
    end = begin + draw.randint(1, 200)
    return data[:end] + data[begin:]


def swap_marks(data: bytes, draw: random.Random) -> bytes:
    """Marks of the format's grammar are exchanged."""
    marks = b'{}[]",:\\\n;\t'
    changed = bytearray(data)
    places = [place for place, byte in enumerate(changed) if byte in marks]
    for place in draw.sample(places, min(len(places), draw.randint(1, 4))):
        changed[place] = draw.choice(marks)
    return bytes(changed)


def other_encoding(data: bytes, draw: random.Random) -> bytes:
    """The text is written in another encoding."""
    encoding = draw.choice(["utf-16", "utf-16-le", "utf-32", "cp1252", "shift_jis", "utf-7", "utf-8-sig"])
    return data.decode("utf-8", "replace").encode(encoding, "replace")


def nest(data: bytes, draw: random.Random) -> bytes:
    """A value is nested deeply."""
    depth = draw.choice([50, 900, 20_000])
    inner = draw.choice([b"[", b'{"a":']) * depth
    place = data.find(b":") + 1
    return data[:place] + inner + data[place:]


def other_values(data: bytes, draw: random.Random) -> bytes:
    """Values are of another type."""
    values = [
        b"null",
        b"7",
        b"-1e999",
        b"NaN",
        b"true",
        b"[]",
        b"{}",
        b'"\\ud800"',
        b'"\\u0000"',
        b"1" * 5000,
    ]
    parts = data.split(b'"')
    if len(parts) > 3:
        parts[draw.randrange(1, len(parts) - 1)] = draw.choice(values).strip(b'"')
    return draw.choice([b'"', b""]).join(parts) if draw.random() < 0.2 else b'"'.join(parts)


def hostile_text(data: bytes, draw: random.Random) -> bytes:
    """Escape sequences, markup and invisible characters stand in the text."""
    words = [
        "\x1b]0;title\x07",
        "\\u001b[2J",
        "[bold red]",
        "\u202e",
        "\u200b" * 50,
        "\r",
        "\ufeff",
        "%n%s",
        "{x}",
        "\x9b31m",
    ]
    place = draw.randrange(len(data) + 1)
    return data[:place] + draw.choice(words).encode() + data[place:]


def other_line_ends(data: bytes, draw: random.Random) -> bytes:
    """Line ends are mixed or lost."""
    return b"".join(draw.choice([b"\n", b"\r\n", b"\r", b"", b"\n\n"]) + line for line in data.split(b"\n"))


def pack_badly(data: bytes, draw: random.Random) -> bytes:
    """It is packed, and the packed bytes are spoiled."""
    packed = gzip.compress(data, 1) if draw.random() < 0.5 else pa.Codec("zstd").compress(data, asbytes=True)
    return draw.choice([cut, flip_bits, double])(packed, draw)


def graft(data: bytes, draw: random.Random) -> bytes:
    """It begins like one file and goes on like another."""
    other = draw.choice(ORIGINALS)[1]
    return data[: draw.randrange(len(data) + 1)] + other[draw.randrange(len(other) + 1) :]


def repeat(data: bytes, draw: random.Random) -> bytes:
    """All of it many times over."""
    return data * draw.randint(2, 30)


MUTATORS: tuple[Mutate, ...] = (
    cut, flip_bits, insert_noise, insert_nul, take_out, double, swap_marks, other_encoding, nest, other_values,
    hostile_text, other_line_ends, pack_badly, graft, repeat,
)  # fmt: skip
CASES = Path(__file__).parent / "cases"
ORIGINALS = [
    (path.name, path.read_bytes())
    for folder in (SHAPES, CASES / "rows", CASES / "preferences")
    for path in sorted(folder.iterdir())
]


def look(path: Path) -> str:
    """What is said of a file: a report, or an error in plain words."""
    try:
        result = check(Reading(locate(str(path))))
        return "\n".join(report_lines(str(path), result))
    except TunerError as error:
        assert error.title
        return plain(str(error))  # as it is shown


def run(folder: Path, files: int, seed: int) -> dict[str, int]:
    """Spoil and look at so many files; gives how many each mutator made."""
    draw = random.Random(seed)
    made = dict.fromkeys((mutate.__name__ for mutate in MUTATORS), 0)
    for number in range(files):
        name, data = draw.choice(ORIGINALS)
        mutators = draw.sample(MUTATORS, draw.choice([1, 1, 1, 2, 3]))
        for mutate in mutators:
            data = mutate(data, draw)
            made[mutate.__name__] += 1
        path = folder / f"{number % 50}-{name}"
        path.write_bytes(data)
        began = time.process_time()
        try:
            told = look(path)
        except BaseException:
            kept = folder / f"failed-{name}"
            kept.write_bytes(data)
            pytest.fail(
                f"file {number} ({', '.join(m.__name__ for m in mutators)}) from {name}: see {kept}",
                pytrace=True,
            )
        assert time.process_time() - began < LONGEST_SECONDS, (number, name, mutators)
        assert path.read_bytes() == data
        assert all(plain(line) == line for line in told.split("\n")), (number, name, told)
        assert len(told) < 20_000
        assert "Traceback" not in told
    return made


def test_some_spoiled_files(tmp_path: Path) -> None:
    made = run(tmp_path, 300, SEED + 1)
    assert min(made.values()) >= 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_thousand_spoiled_files(tmp_path: Path) -> None:
    made = run(tmp_path, FILES, SEED)
    assert min(made.values()) > 500
