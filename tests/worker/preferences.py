"""Pairs and rated answers for tests of the methods that learn from what people prefer."""

from __future__ import annotations

from typing import Any

from tuner_tui.config.methods.traits import TRAITS, method_traits

METHODS = tuple(kind for kind, traits in TRAITS.items() if traits.rows != "examples")
ASKED = (
    "Why?",
    "Who?",
    "When is it?",
    "How many are there?",
    "Where?",
    "Which?",
    "Whose is it?",
    "What now?",
)


def pairs(count: int = 8) -> list[dict[str, Any]]:
    """Rows with turns: kind answers are chosen, short ones rejected; every prompt is another."""
    return [
        {
            "prompt": [{"role": "user", "content": f"{ASKED[n % len(ASKED)]} {n}"}],
            "chosen": [{"role": "assistant", "content": f"Well, friend, it is {n} of them."}],
            "rejected": [{"role": "assistant", "content": f"No{'!' * (n % 3 + 1)}"}],
        }
        for n in range(count)
    ]


def rated(count: int = 8) -> list[dict[str, Any]]:
    """The sides of as many pairs, each with a thumb."""
    rows = []
    for pair in pairs(count):
        rows.append({"prompt": pair["prompt"], "completion": pair["chosen"], "label": True})
        rows.append({"prompt": pair["prompt"], "completion": pair["rejected"], "label": False})
    return rows


def rows_for(method: str, count: int = 8) -> list[dict[str, Any]]:
    """Rows that a method learns from."""
    return rated(count) if method_traits(method).rows == "answers" else pairs(count)
