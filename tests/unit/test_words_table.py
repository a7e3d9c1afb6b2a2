"""Texts that a person meets use the field's words: the table in CONTRIBUTING.md, as far as a pattern can tell."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import tuner_tui

PRODUCT = Path(tuner_tui.__file__).parent
PRIVATE = re.compile(
    r"""\b(
    held\ (as|in)\b | cut\ off | (end|start)\ tokens?\b | learnt\ (from|tokens?) | trained\ tokens?\ within
    | carr(y|ies|ied)\ (no\ |the\ )?loss | of\ like\ length | rungs?\b | climb | ladder | ways\ out | torn\b
    | go(es|ne)?\ on\b | rated\ answers | mend(s|ed|ing)?\b | judgements?\b | raters?\b | spill | thoughts\b
    | nobody\ waits | proven | and\ its\ kin\b | heeded | told\ of\ below | beyond\ its\ scale
    )""",
    re.IGNORECASE | re.VERBOSE,
)
NO_PROSE = re.compile(r"\b(SELECT|INSERT|CREATE)\b|^judgement: |</?\(")
"""SQL, the name of a column of the database, patterns."""


def texts(path: Path) -> list[tuple[int, str]]:
    """The texts of several words in a file of code, with their lines; docstrings are not shown to anybody."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if path.parts[-2] != "cli"  # there they are the help of commands
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        if " " in node.value and NO_PROSE.search(node.value) is None
    ]


def test_texts_in_the_code_use_the_words_of_the_field() -> None:
    private = [
        f"{path.relative_to(PRODUCT)}:{line}: {match[0]}"
        for path in sorted(PRODUCT.rglob("*.py"))
        for line, text in texts(path)
        for match in PRIVATE.finditer(text)
    ]
    assert private == []


def test_the_documentation_uses_the_words_of_the_field() -> None:
    root = PRODUCT.parent
    pages = [root / "README.md", *sorted((root / "presets").glob("*.toml"))]
    pages += [page for page in sorted((root / "docs").rglob("*.md")) if page.parent.name != "reference"]
    private = [
        f"{page.relative_to(root)}: {match[0]}"
        for page in pages
        for match in PRIVATE.finditer(re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8")))
    ]
    assert private == []


@pytest.mark.parametrize(
    "text",
    ["no token carries loss", "the run goes on", "rows that are learnt from", "torn files", "its judgements"],
)
def test_a_private_word_is_seen(text: str) -> None:
    assert PRIVATE.search(text) is not None
