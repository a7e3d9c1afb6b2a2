"""The import contracts of pyproject.toml name every folder, and see what they are there to see."""

from __future__ import annotations

import tomllib
from pathlib import Path

from grimp import ImportGraph

from tests.circles import circle_lines, circles

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def folders() -> set[str]:
    """The package's top-level folders, as modules."""
    return {f"tuner_tui.{path.parent.name}" for path in (ROOT / "tuner_tui").glob("*/__init__.py")}


def test_every_folder_but_the_worker_is_kept_from_torch() -> None:
    [contract] = [each for each in CONTRACTS if "torch" in each.get("forbidden_modules", ())]
    assert set(contract["source_modules"]) == folders() - {"tuner_tui.worker"}


def test_every_folder_has_a_layer() -> None:
    [contract] = [each for each in CONTRACTS if each["type"] == "layers"]
    layers = {name.strip(" ()") for layer in contract["layers"] for name in layer.split("|")}
    assert folders() <= layers


def test_circles_are_found_and_told_apart() -> None:
    graph = ImportGraph()
    for importer, imported in (
        ("a", "b"), ("b", "a"), ("b", "c"),  # two that import each other, and one they both lead to
        ("x", "y"), ("y", "z"), ("z", "x"), ("a", "x"),  # three in a ring
    ):  # fmt: skip
        graph.add_import(importer=importer, imported=imported)
    assert circles(graph) == [["a", "b"], ["x", "y", "z"]]
    assert circle_lines(graph)[:3] == ["2 import circles in 6 modules", "  a imports b", "  b imports a"]


def test_the_circle_contract_is_declared() -> None:
    assert [each for each in CONTRACTS if each["type"] == "no_circles"]
