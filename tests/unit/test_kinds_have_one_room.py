"""A method and a tuning each have files of their own; all other code reads their traits and never asks for a name."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

import tuner_tui
from tests.worker.microscope_cases import MICROSCOPE_CASES
from tuner_tui.config.learning_rate import usual_learning_rate
from tuner_tui.config.methods.metrics import METRICS
from tuner_tui.config.methods.traits import TRAITS as METHODS
from tuner_tui.config.presets import list_presets, preset_spec
from tuner_tui.config.rules import RULES, check_rules
from tuner_tui.config.sections import kinds_of
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.tunings.traits import TRAITS as TUNINGS
from tuner_tui.config.tunings.traits import LoadedPrecision
from tuner_tui.planning.tunings import TuningMemory, memory_of

PRODUCT = Path(tuner_tui.__file__).parent
KINDS = frozenset((*METHODS, *TUNINGS))
ROOMS = re.compile(
    rf"(config/(methods|tunings)|worker/(methods|tunings)|planning/tunings|sharing/scripts/(methods|tunings))"
    rf"/({'|'.join((*KINDS, 'prompt', 'traits', 'options'))})\.py"
)
AMBIGUOUS = frozenset(("reward", "full"))
"""Kinds that are everyday words, too: of these only comparisons, branches, tables and defaults are looked at."""
OTHER_MEANINGS = {
    ("data/recognition/columns.py", "reward"),  # names of columns in other people's data
    ("data/recognition/ranked.py", "reward"),
    ("data/recognition/verdicts.py", "reward"),
    ("worker/export/gguf_write.py", "lora"),  # what llama.cpp's file format calls its only type of adapter
}
OPTION_CLASSES = frozenset(
    each.__name__ for section in ("method", "tuning") for each in kinds_of(section).values()
)


def kinds_in(node: ast.AST | None) -> set[str]:
    """The kinds that stand as texts in an expression or pattern."""
    return (
        set()
        if node is None
        else {
            child.value
            for child in ast.walk(node)
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and child.value in KINDS
        }
    )


def named_kinds(tree: ast.AST) -> set[tuple[int, str]]:
    """(line, kind) wherever code names a kind: to compare, to branch, in a table, as a default or as an argument."""
    named: set[tuple[int, str]] = set()
    for node in ast.walk(tree):
        kinds: set[str] = set()
        match node:
            case ast.Constant(value=str() as text):
                kinds = {text} & (KINDS - AMBIGUOUS)
            case ast.Compare():
                kinds = kinds_in(node)
            case ast.match_case():
                kinds = kinds_in(node.pattern)
            case ast.Dict():
                kinds = {kind for key in node.keys if isinstance(key, ast.Constant) for kind in kinds_in(key)}
            case ast.arguments():
                kinds = {kind for value in (*node.defaults, *node.kw_defaults) for kind in kinds_in(value)}
            case ast.AnnAssign() | ast.Assign():
                is_plain = isinstance(node.value, (ast.Constant, ast.Tuple, ast.List, ast.Set))
                kinds = kinds_in(node.value) if is_plain else set()
            case ast.keyword(arg="default"):
                kinds = kinds_in(node.value)
            case ast.Call(func=ast.Name(id="isinstance")):
                kinds = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)} & OPTION_CLASSES
        line = next((child.lineno for child in ast.walk(node) if hasattr(child, "lineno")), 0)
        named |= {(line, kind) for kind in kinds}
    return named


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ('if method == "sft": pass', "sft"),
        ('if spec.tuning.kind in ("prompt", "full"): pass', "full"),
        ('match kind:\n    case "reward" | "other": pass', "reward"),
        ('RATES = {"orpo": 1e-4}', "orpo"),
        ('RATES = {"reward": 1e-4}', "reward"),
        ('PAIRED = ("other", "reward")', "reward"),
        ('PAIRED = frozenset(["cpo"])', "cpo"),
        ('def look(tuning="full"): pass', "full"),
        ('class Load:\n    tuning: str = "full"', "full"),
        ('click.option("--method", default="reward")', "reward"),
        ("if isinstance(spec.method, KtoMethod): pass", "KtoMethod"),
        ("if isinstance(tuning, (int, FullTuning)): pass", "FullTuning"),
    ],
)
def test_the_walk_sees_every_way_to_name_a_kind(code: str, kind: str) -> None:
    assert {found for _, found in named_kinds(ast.parse(code))} == {kind}


def test_the_walk_lets_other_words_pass() -> None:
    code = 'words = f"such as {kind}"\nsay("a reward model, or sft")\nif is_full or shape == "text": pass'
    assert named_kinds(ast.parse(code)) == set()


def test_no_code_outside_a_kinds_own_files_asks_for_it() -> None:
    asked = []
    for path in sorted(PRODUCT.rglob("*.py")):
        name = path.relative_to(PRODUCT).as_posix()
        if ROOMS.fullmatch(name):
            continue
        for line, kind in sorted(named_kinds(ast.parse(path.read_text(encoding="utf-8")))):
            if (name, kind) not in OTHER_MEANINGS:
                asked.append(f"{name}:{line}: {kind}")
    assert asked == []


NO_PRESET: dict[str, str] = {}
"""Kinds without a shipped preset, each with the reason."""


def parts_of(section: str, kind: str) -> list[str]:
    """The files that a kind has to have."""
    traits = METHODS[kind] if section == "methods" else TUNINGS[kind]  # type: ignore[index]
    files = [f"config/{section}/{kind}.py"]
    if section == "methods":
        files.append(f"worker/methods/{kind}.py")
        files += [f"sharing/scripts/methods/{kind}.py"] if traits.script_trainer else []  # type: ignore[union-attr]
    else:
        files += [f"planning/tunings/{kind}.py", f"worker/tunings/{kind}.py"]
        has_script = traits.is_adapter and "script" in traits.export_forms  # type: ignore[union-attr]
        files += [f"sharing/scripts/tunings/{kind}.py"] if has_script else []
    return files


@pytest.mark.parametrize(
    ("section", "kind"), [*(("methods", kind) for kind in METHODS), *(("tunings", kind) for kind in TUNINGS)]
)
def test_a_kind_has_all_its_parts(section: str, kind: str) -> None:
    assert [file for file in parts_of(section, kind) if not (PRODUCT / file).is_file()] == []
    options = kinds_of(section.removesuffix("s"))[kind]
    assert options.__module__ == f"tuner_tui.config.{section}.{kind}"
    own_rules = getattr(import_module(options.__module__), "RULES", ())
    assert [rule for rule in own_rules if rule not in RULES] == []
    presets = [preset.name for preset in list_presets() if _kind_in(preset, section) == kind]
    assert bool(presets) != (kind in NO_PRESET)


def _kind_in(preset: Any, section: str) -> str:
    kind: str = getattr(preset_spec(preset), section.removesuffix("s")).kind
    return kind


def test_traits_and_options_name_the_same_kinds() -> None:
    assert list(kinds_of("method")) == list(METHODS)
    assert list(kinds_of("tuning")) == list(TUNINGS)


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_has_words_metrics_and_a_microscope_case(kind: Any) -> None:
    traits = METHODS[kind]
    known = {metric.name for metric in METRICS}
    assert traits.metrics and set(traits.metrics) <= known
    assert traits.dataset_types and traits.title
    assert kind in {method for method, _, _ in MICROSCOPE_CASES}
    assert f"`{kind}`" in (PRODUCT.parent / "README.md").read_text(encoding="utf-8")


def test_every_metric_is_some_methods() -> None:
    logged = {name for traits in METHODS.values() for name in traits.metrics}
    assert [metric.name for metric in METRICS if metric.name not in logged] == []


@pytest.mark.parametrize("kind", TUNINGS)
def test_a_tuning_answers_all_that_the_estimate_asks(kind: Any) -> None:
    asked = [name for name in vars(TuningMemory) if not name.startswith("_")]
    assert len(asked) > 5
    assert [name for name in asked if not hasattr(memory_of(kind), name)] == []
    traits = TUNINGS[kind]
    assert traits.precisions and traits.export_forms
    assert traits.is_adapter == (traits.peft_type is not None)
    assert f"`{kind}`" in (PRODUCT.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", TUNINGS)
def test_a_precision_that_a_tuning_does_not_work_on_is_refused(kind: Any) -> None:
    for precision in get_args(LoadedPrecision):
        table = {
            "model": {"source": "m", "precision": precision},
            "data": {"train": "d"},
            "tuning": {"kind": kind},
        }
        keys = [problem.key for problem in check_rules(RunSpec.model_validate(table))]
        assert ("model.precision" in keys) == (precision not in TUNINGS[kind].precisions), precision


def test_learning_rates_are_those_of_before() -> None:
    rates = {"sft": 2e-4, "dpo": 5e-5, "cpo": 5e-5, "kto": 5e-5, "orpo": 1e-4, "reward": 1e-4}
    for method, rate in rates.items():
        assert usual_learning_rate(method, "lora") == pytest.approx(rate)
        assert usual_learning_rate(method, "full") == pytest.approx(rate / 10)
