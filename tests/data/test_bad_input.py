"""Whatever a data file is, it is read or refused in plain words that name it; nothing hangs, floods or is changed."""

from __future__ import annotations

import gzip
import json
import os
import random
import struct
import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuner_tui.data.checking.checks import check
from tuner_tui.data.files import opened
from tuner_tui.data.files.hub import cached_folder
from tuner_tui.data.files.listing import look_at_data
from tuner_tui.data.files.rows import each_row, locate, read_rows
from tuner_tui.data.recognition.reading import Reading, plain_rows
from tuner_tui.errors import InputError, NotFoundError, TunerError

if TYPE_CHECKING:
    from pathlib import Path

ROW = b'{"question": "q", "answer": "a"}\n'


def complaint(path: Path, **how: Any) -> TunerError:
    with pytest.raises(TunerError) as caught:
        for _ in plain_rows(Reading(path, **how)).strict():
            pass
    assert path.name in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cut.jsonl", ROW + b'{"question": "q", "ans', "cut.jsonl:2"),
        ("cut.json", b'[{"question": "q", "answer": "a"}, {"question": "q"', "row 2"),
        ("comma.json", b'[{"question": "q", "answer": "a"} {"question": "q"}]', "expected ','"),
        ("number.jsonl", ROW + b"42\n", "number.jsonl:2: expected {...} with named fields, found a number"),
        ("number.json", b"[42]", "found a number"),
        ("scalar.json", b"42", "scalar.json"),
        ("empty.jsonl", b"", "has no rows"),
        ("empty.json", b"[]", "has no rows"),
        ("empty.csv", b"", "has no rows"),
        ("empty.gz", b"", "empty.gz"),
        ("nul.jsonl", b"\0" * 4096, "NUL bytes"),
        ("nul.txt", b"text\n\xff\xfe", "not valid UTF-8"),
        ("latin.jsonl", ROW + '{"question": "é", "answer": "a"}\n'.encode("cp1252"), "latin.jsonl:2"),
        ("latin.csv", "question,answer\nà,é\n".encode("cp1252"), "not valid UTF-8"),
        (
            "cut.csv.gz",
            gzip.compress(b"question,answer\n" + random.Random(0).randbytes(9999).hex().encode(), mtime=0)[
                :-99
            ],
            "cut.csv.gz",
        ),
        ("fake.parquet", b"not parquet at all", "does not begin like a Parquet file"),
        ("cut.parquet", b"PAR1" + b"\0" * 50, "cut.parquet"),
        ("fake.arrow", b"ARROW1" + b"\0" * 50, "fake.arrow"),
        ("what.bin", b"\x7fELF" + b"\0" * 50, "neither JSON"),
        ("twice.csv", b"question,question\na,b\n", "question"),
        ("wide.csv", b"question,answer\na,b,c\n", "wide.csv:2: 3 fields, and the header has 2"),
        ("deep.jsonl", ROW + b'{"question": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", "deep.jsonl:2"),
        ("deep.json", b'[{"question": ' + b"[" * 50_000 + b"]" * 50_000 + b"}]", "nested too deeply"),
        ("half.json", b'[{"question": "\\ud800", "answer": "a"}]', "surrogate"),
        ("half.jsonl", ROW + b'{"question": "\\ud800", "answer": "a"}\n', "half.jsonl:2"),
        ("nan.json", b'[{"question": NaN}]', "NaN"),
        ("splits.json", b'{"train": 3}', "splits.json"),
        ("other.json", b'{"test": [{"question": "q", "answer": "a"}]}', "none is called train"),
    ],
)
def test_it_is_refused_in_plain_words(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    error = complaint(path)
    assert words in f"{error.title} {error.message}"
    assert path.read_bytes() == content


def test_a_guess_at_the_encoding_is_given_and_taken(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    text = "question,answer\n" + "Où est la forêt près de l'été ?,Là-bas derrière la rivière\n" * 20
    path.write_bytes(text.encode("cp1252"))
    error = complaint(path)
    assert "data.encoding" in error.hint
    rows = [row for _, _, row in plain_rows(Reading(path, encoding="cp1252")).strict()]
    assert rows[0]["messages"][1]["content"] == "Là-bas derrière la rivière"
    assert "Unknown encoding" in complaint(path, encoding="klingon").title


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_marked_encodings_and_mixed_line_ends_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"a": "ü"}\r\n{"a": 2}\n\n{"a": 3}\r{"a": 4}'.encode(encoding))
    assert list(read_rows(path)) == [(1, {"a": "ü"}), (2, {"a": 2}), (4, {"a": 3}), (5, {"a": 4})]


def test_one_column_missing_far_down_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROW * 70_000 + b'{"question": "q"}\n' + ROW)
    assert "rows.jsonl:70001: The row has no field `answer`" in complaint(path).message


def test_a_row_of_fifty_megabytes_is_refused_without_holding_it_twice(tmp_path: Path) -> None:
    for name, content in (
        ("big.jsonl", ROW + b'{"question": "' + b"x" * 50_000_000 + b'"}\n'),
        ("big.json", b'[{"question": "' + b"x" * 50_000_000 + b'"}]'),
        ("big.csv", b"question,answer\n" + b"x" * 50_000_000 + b",b\n"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert "A row is too large" in complaint(path).title


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_a_bomb_is_stopped_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str) -> None:
    monkeypatch.setattr(opened, "BOMB_FREE_BYTES", 1 << 20)
    monkeypatch.setattr(opened, "BOMB_RATIO", 20)
    path = tmp_path / f"bomb.jsonl.{'gz' if packing == 'gzip' else 'zst'}"
    rows = ROW * 300_000
    path.write_bytes(
        gzip.compress(rows, 1) if packing == "gzip" else pa.Codec("zstd").compress(rows, asbytes=True)
    )
    taken = 0
    with pytest.raises(InputError, match="far more than it should"):
        for _ in each_row(path):
            taken += 1
    assert taken * len(ROW) < max(1 << 20, path.stat().st_size * 20) + (1 << 19)


def test_a_bomb_without_line_ends_is_stopped_early(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b"\0" * 100_000_000, 1))
    assert "too large" in complaint(path).title


def test_a_folder_called_like_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "data.jsonl"
    folder.mkdir()
    with pytest.raises(NotFoundError, match="holds no data files"):
        locate(str(folder))
    (folder / "part-1.jsonl").write_bytes(ROW)
    assert [found.number for found in each_row(locate(str(folder)))] == [1]


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    with pytest.raises(InputError, match="a pipe"):
        locate(str(path))
    assert look_at_data(str(path)).problem is not None


@pytest.mark.parametrize("name", ["a\0b.jsonl", "x" * 5000, "~nobody-here/rows.jsonl", ""])
def test_a_name_that_no_file_has(name: str) -> None:
    with pytest.raises(TunerError):
        list(each_row(locate(name)))


def test_a_file_without_rights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROW)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert "cannot be read" in complaint(path).title


@pytest.mark.parametrize("kind", ["grows", "vanishes", "shrinks"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROW * 60_000)
    rows = plain_rows(Reading(path)).strict()
    next(rows)
    if kind == "vanishes":
        path.unlink()
    elif kind == "grows":
        with path.open("ab") as file:
            file.write(ROW)
    else:
        os.truncate(path, len(ROW) * 100)
    with pytest.raises(InputError, match=r"rows\.jsonl:\d+") as caught:
        list(rows)
    assert {"grows": "changes", "vanishes": "gone", "shrinks": "changes"}[kind] in caught.value.title


def test_a_writer_at_work_does_not_hang_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROW)
    stop = threading.Event()

    def write() -> None:
        with path.open("ab") as file:
            while not stop.is_set():
                file.write(ROW * 2000)
                file.flush()
                stop.wait(0.005)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        result = check(Reading(path, limit=200_000))
    finally:
        stop.set()
        writer.join()
    assert result.rows >= 1


def test_rows_of_a_folder_are_named_by_their_file(tmp_path: Path) -> None:
    (tmp_path / "train-1.jsonl").write_bytes(ROW)
    (tmp_path / "train-2.jsonl").write_bytes(ROW + b"{}\n")
    (tmp_path / "test-1.jsonl").write_bytes(ROW * 5)
    (tmp_path / "README.md").write_text("not rows")
    error = complaint(tmp_path)
    assert "train-2.jsonl:2" in error.message
    assert len(list(each_row(tmp_path, split="test"))) == 5
    with pytest.raises(InputError, match="train"):
        list(each_row(tmp_path, split="validation"))
    assert check(Reading(tmp_path)).problems[0].rows == ("train-2.jsonl:2",)


def test_splits_within_one_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"test": [{"a": 1}], "train": [{"a": 2}, {"a": 3}]}, indent=2))
    assert [found.row for found in each_row(path)] == [{"a": 2}, {"a": 3}]
    assert [found.row for found in each_row(path, split="test")] == [{"a": 1}]
    with pytest.raises(InputError, match="test, train"):
        list(each_row(path, split="dev"))


def test_a_packed_array_larger_than_a_chunk(tmp_path: Path) -> None:
    rows = [{"question": f"q {n}", "answer": "ü" * (n % 900)} for n in range(3000)]
    path = tmp_path / "rows.json.gz"
    path.write_bytes(gzip.compress(json.dumps(rows, ensure_ascii=False).encode()))
    assert [found.row for found in each_row(path)] == rows


def test_a_parquet_file_of_odd_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table = pa.table(
        {
            "question": ["q", None],
            "answer": ["a", "b"],
            "image": [b"\x89PNG", None],
            "at": pa.array([0, 1], pa.timestamp("ns")),
        }
    )
    pq.write_table(table, path)
    error = complaint(path)
    assert "rows.parquet:2: `question` must be text, but it is empty (null)" in error.message


def test_a_hub_data_set_is_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "prepared"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(NotFoundError) as caught:
        locate("hub:some/rows")
    assert "tuner-tui models download --data some/rows" in caught.value.hint
    made = tmp_path / "prepared" / "some___rows" / "default" / "0.0.0" / "abc"
    made.mkdir(parents=True)
    table = pa.table({"question": ["q"], "answer": ["a"]})
    for split in ("train", "test"):
        with (
            pa.OSFile(str(made / f"rows-{split}.arrow"), "wb") as file,
            pa.ipc.new_stream(file, table.schema) as out,
        ):
            out.write_table(table)
    folder = locate("hub:some/rows")
    assert [found.file.name for found in each_row(folder)] == ["rows-train.arrow"]
    snapshot = tmp_path / "hub" / "datasets--some--rows" / "snapshots" / "a1"
    (snapshot / "data").mkdir(parents=True)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("a1")
    pq.write_table(table, snapshot / "data" / "validation-00000-of-00001.parquet")
    assert [found.row for found in each_row(cached_folder("some/rows"), split="validation")] == [
        {"question": "q", "answer": "a"}
    ]
    for bad in ("rows", "../etc/passwd"):
        with pytest.raises(TunerError):
            cached_folder(bad)


def test_a_parquet_header_that_lies_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1" + b"\x15" * 100 + struct.pack("<I", 4_000_000_000) + b"PAR1")
    complaint(path)


@pytest.mark.parametrize(
    ("content", "encoding", "line"),
    [
        ("prompt;completion\nfünf;größe\n", "cp1252", 2),
        ("prompt,completion\n" + "plain,text\n" * 3000 + "café,crème\n", "cp1252", 3002),
        ("prompt,completion\n" + "日本語の文章です,これは答えです\n" * 20, "cp932", 2),
    ],
    ids=["short", "far down", "Japanese"],
)
def test_an_encoding_and_its_line_are_named(tmp_path: Path, content: str, encoding: str, line: int) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content.encode(encoding))
    error = complaint(path)
    assert f"rows.csv:{line}: not valid UTF-8" in error.message
    guess = error.hint.split()[3].rstrip(":,")
    assert path.read_bytes().decode(guess) == content
