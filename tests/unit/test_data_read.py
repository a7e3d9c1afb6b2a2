"""Reading JSONL rows: what is passed over, and errors that name file and line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tuner_tui.data.files.rows import locate, read_rows
from tuner_tui.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def test_rows_carry_their_line_numbers(rows: Path) -> None:
    rows.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n   \n{"a": 2}\r\n{"a": "\xc3\xbc"}')
    assert list(read_rows(rows)) == [(1, {"a": 1}), (4, {"a": 2}), (5, {"a": "ü"})]


@pytest.mark.parametrize(("limit", "lines"), [(None, [1, 3, 4]), (2, [1, 3]), (9, [1, 3, 4])])
def test_a_limit_counts_rows(rows: Path, limit: int | None, lines: list[int]) -> None:
    rows.write_text('{"a": 1}\n\n{"a": 2}\n{"a": 3}\n')
    assert [line for line, _ in read_rows(rows, limit)] == lines


@pytest.mark.parametrize(
    ("text", "line", "title"),
    [
        (b'{"a": 1}\n{"a": \n', 2, "not JSON"),
        (b'{"a": 1}\n\n[1, 2]\n', 3, "not an object"),
        (b'{"a": "\xff"}\n', 1, "not UTF-8"),
        (b'{"a": 1}\n{"a": NaN}\n', 2, "not JSON"),
        (b"\x00\x01\x02\n", 1, "not JSON"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(rows: Path, text: bytes, line: int, title: str) -> None:
    rows.write_bytes(text)
    with pytest.raises(InputError) as caught:
        list(read_rows(rows))
    assert title in caught.value.title
    assert f"{rows}:{line}:" in caught.value.message


def test_one_big_array_is_read_whatever_the_file_is_called(rows: Path) -> None:
    rows.write_text('[\n{"a": 1},\n{"a": 2}\n]\n')
    assert list(read_rows(rows)) == [(1, {"a": 1}), (2, {"a": 2})]


def test_a_deeply_nested_row_is_refused(rows: Path) -> None:
    rows.write_text('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(InputError):
        list(read_rows(rows))


def test_the_demo_is_located_and_readable() -> None:
    assert len(list(read_rows(locate("demo")))) > 50


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nothing\.jsonl"):
        locate(str(tmp_path / "nothing.jsonl"))
    with pytest.raises(NotFoundError, match="holds no data files"):
        locate(str(tmp_path))
