"""The guarded way of reading: whatever stands in a file's place becomes one named problem, at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.safety.spoilt import WAYS, permissions_count, spoil
from tuner_tui import guarded
from tuner_tui.guarded import Unreadable

if TYPE_CHECKING:
    from pathlib import Path

READERS: dict[str, Any] = {
    "bytes": guarded.read_bytes,
    "text": guarded.read_text,
    "json": lambda path: guarded.read_json(path, dict[str, object]),
    "toml": guarded.read_toml,
}
TEXTS_OF_A_KIND = {  # what is no problem for the reader that expects the least
    "bytes": {"binary garbage", "nested too deeply", "nested objects", "nested TOML", "only zeros", "UTF-16"},
    "text": {"nested too deeply", "nested objects", "nested TOML", "only zeros"},
    "json": {"another JSON"},
    "toml": set(),
}
TEXTS_OF_A_KIND["bytes"] |= {"another JSON", "a long number"}
TEXTS_OF_A_KIND["text"] |= {"another JSON", "a long number"}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("reader", READERS)
def test_whatever_stands_there_is_one_named_problem(tmp_path: Path, reader: str) -> None:
    with permissions_count():
        for way in WAYS:
            path = tmp_path / "plan.json"
            spoil(path, way)
            begun = time.monotonic()
            if way in TEXTS_OF_A_KIND[reader]:
                READERS[reader](path)
            else:
                with pytest.raises(Unreadable) as raised:
                    READERS[reader](path)
                problem = raised.value
                assert problem.named_problem.startswith("plan.json: "), way
                assert str(path) in problem.message
                assert problem.message.isprintable()
                assert len(problem.problem) < 300
                assert problem.is_missing == (way == "a dangling symlink")
            assert time.monotonic() - begun < 2, way


def test_the_words_say_what_stands_there(tmp_path: Path) -> None:
    expected = {
        "a folder": "it is a folder, not a file",
        "a pipe": "it is a pipe, not a file",
        "an endless device": "it is a device, not a file",
        "without permission": "there is no permission to read it",
        "nested too deeply": "its content does not fit (Expected `object`, got `array`)",
        "nested objects": "it is nested too deeply",
        "one huge line": "it has more than 16 MiB",
        "a dangling symlink": "it is missing",
        "a loop of symlinks": "it is a symlink loop",
    }
    with permissions_count():
        for way, words in expected.items():
            spoil(tmp_path / "plan.json", way)
            with pytest.raises(Unreadable) as raised:
                guarded.read_json(tmp_path / "plan.json", dict[str, object])
            assert raised.value.problem == words


def test_a_good_file_is_read_through_a_symlink_too(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text('{"a": 1}')
    (tmp_path / "link.json").symlink_to("real.json")
    assert guarded.read_json(tmp_path / "link.json", dict[str, int]) == {"a": 1}
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert guarded.read_toml(tmp_path / "marked.toml") == {"a": 1}


def test_a_name_that_cannot_be_is_told(tmp_path: Path) -> None:
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(Unreadable):
            guarded.read_bytes(tmp_path / name)


def test_foreign_text_in_a_problem_is_literal_and_short(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    path.write_bytes(msgspec.json.encode({"kind": "\x1b]52;c;" + "x" * 5000}))
    kind = msgspec.defstruct("Tagged", [("kind", int)])
    with pytest.raises(Unreadable) as raised:
        guarded.read_json(path, kind)
    assert "\x1b" not in raised.value.message
    assert len(raised.value.message) < 600
