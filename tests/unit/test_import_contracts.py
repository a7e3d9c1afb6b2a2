"""The import contracts of pyproject.toml name every folder, and see what they are there to see."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from grimp import ImportGraph

from tests.circles import UnreadableImport, circle_lines, circles, named_imports, whole_graph

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


MODULES = ("a", "a.kinds", "a.kinds.one", "a.kinds.two", "a.kinds.two.deep", "a.other")


@pytest.mark.parametrize(
    ("code", "imported"),
    [
        ('from importlib import import_module\nimport_module(f"a.kinds.{kind}")', {"a.kinds.one", "a.kinds.two"}),
        ('def f(k):\n    importlib.import_module("a.kinds." + k).run()', {"a.kinds.one", "a.kinds.two"}),
        ('import_module(f"{__name__}.kinds.{kind}")', {"a.kinds.one", "a.kinds.two"}),
        ('from a import kinds\nimport_module(f"{kinds.__name__}.{kind}.deep")', {"a.kinds.two.deep"}),
        ('import_module(".one", "a.kinds")', {"a.kinds.one"}),
        ('import_module(f".{kind}")', {"a.kinds", "a.other"}),
        ('__import__("a.other")', {"a.other"}),
        ('import_module("json")', set()),
    ],
)  # fmt: skip
def test_imports_by_name_are_seen(code: str, imported: set[str]) -> None:
    assert set(named_imports("a", code, MODULES, is_package=True)) == imported


def test_an_import_of_any_name_is_an_error() -> None:
    with pytest.raises(UnreadableImport, match="a:2"):
        list(named_imports("a", "name = look()\nimport_module(name)", MODULES, is_package=True))


def test_a_circle_through_an_import_by_name_is_found() -> None:
    graph = whole_graph()
    updates, lora = "tuner_tui.worker.export.updates", "tuner_tui.worker.tunings.lora"
    assert circles(graph) == []
    assert lora in graph.find_modules_directly_imported_by(updates)
    graph.add_import(importer=lora, imported=updates)
    assert [group for group in circles(graph) if {updates, lora} <= set(group)]
