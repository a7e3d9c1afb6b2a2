"""Variables are named for what they hold; CONTRIBUTING.md has the table of words."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import tuner_tui

MOST = {"told": 0, "said": 0, "kept": 4}
"""How often a word may be a variable or parameter: `kept` is a field or parameter where it is what the value is."""


def test_words_that_name_no_value_are_no_variables() -> None:
    counts: Counter[str] = Counter()
    for path in Path(tuner_tui.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                counts[node.id] += 1
            elif isinstance(node, ast.arg):
                counts[node.arg] += 1
    assert {word: counts[word] for word in MOST if counts[word] > MOST[word]} == {}
