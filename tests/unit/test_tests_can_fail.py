"""Tests that cannot fail are refused by their form: an early return, `assert a or b`, a swallowed failure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


def weak_lines(source: str) -> list[str]:
    """What cannot fail in a file's tests: the line, and why."""
    return [
        f"{line}: {why}"
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name.startswith("test_")
        for node in _own_nodes(function)
        for line, why in _weakness(node)
    ]


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All of a function but what functions inside it hold."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield child
            yield from _own_nodes(child)


def _weakness(node: ast.AST) -> Iterator[tuple[int, str]]:
    match node:
        case ast.Return():
            yield node.lineno, "returns early: some cases assert nothing; give them a test of their own"
        case ast.Assert(test=ast.BoolOp(op=ast.Or())):
            yield node.lineno, "assert ... or ...: say which one holds in which case"
        case ast.Assert(test=ast.Constant() | ast.Tuple(elts=[_, *_])):
            yield node.lineno, "asserts something that is always true"
        case ast.Assert(test=ast.Compare(left=left, comparators=[right])) if ast.dump(left) == ast.dump(
            right
        ):
            yield node.lineno, "compares something with itself"
        case ast.Try(handlers=handlers) if any(_swallows(handler) for handler in handlers):
            yield (
                node.lineno,
                "passes over a failure: use pytest.raises, or suppress it around one call alone",
            )


def _swallows(handler: ast.ExceptHandler) -> bool:
    return all(isinstance(statement, ast.Pass) for statement in handler.body)


def test_every_test_can_fail() -> None:
    files = sorted(TESTS.rglob("test_*.py"))
    assert len(files) > 100
    weak = {str(path.relative_to(TESTS)): weak_lines(path.read_text("utf-8")) for path in files}
    assert {name: lines for name, lines in weak.items() if lines} == {}


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("if found:\n        return\n    assert found == 1", 1),
        ("assert not words or words[0] == 'a'", 1),
        ("assert True", 1),
        ("assert (found, 'a message')", 1),
        ("assert len(found) == len(found)", 1),
        ("try:\n        found()\n    except ValueError:\n        pass", 1),
        ("for each in found:\n        if each:\n            return", 1),
        ("def inner():\n        return 1\n    assert inner() == 1", 0),
        ("assert (found or other) == 1", 0),
        ("assert found", 0),
    ],
)
def test_weak_forms_are_seen(body: str, count: int) -> None:
    assert len(weak_lines(f"def test_it(found, other, words):\n    {body}\n")) == count
    assert weak_lines(f"async def helper(found, other, words):\n    {body}\n") == []
