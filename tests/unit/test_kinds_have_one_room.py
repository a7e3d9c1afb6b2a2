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
from tuner_tui.planning.place import is_applicable
from tuner_tui.planning.tunings import TuningMemory, memory_of

PRODUCT = Path(tuner_tui.__file__).parent
KINDS: frozenset[str] = frozenset((*METHODS, *TUNINGS))
ROOMS = re.compile(
    rf"(config/(methods|tunings)|worker/(methods|tunings)|planning/tunings|sharing/scripts/(methods|tunings))"
    rf"/({'|'.join((*KINDS, 'prompt', 'traits', 'options', 'own_options'))})\.py"
)
AMBIGUOUS = frozenset(("reward", "full"))
"""Kinds that are everyday words, too: of these only comparisons, branches, tables and defaults are looked at."""
OTHER_NAMES: dict[str, str] = {
    **{traits.title: kind for kind, traits in METHODS.items()},
    **{traits.title: kind for kind, traits in TUNINGS.items()},
    **{traits.peft_type: kind for kind, traits in TUNINGS.items() if traits.peft_type is not None},
}
"""Titles and PEFT types stand for a kind as much as its name does."""
PEFT_TYPES = frozenset(traits.peft_type for traits in TUNINGS.values() if traits.peft_type is not None)
OTHER_MEANINGS = {
    ("data/recognition/columns.py", "reward"),  # names of columns in other people's data
    ("data/recognition/ranked.py", "reward"),
    ("data/recognition/verdicts.py", "reward"),
    ("worker/export/gguf_write.py", "lora"),  # what llama.cpp's file format calls its only type of adapter
}
OPTION_CLASSES = frozenset(
    each.__name__ for section in ("method", "tuning") for each in kinds_of(section).values()
)


OWNERS = {
    name: [kind for kind, options in kinds_of(section).items() if name in options.model_fields]
    for section in ("method", "tuning")
    for options in kinds_of(section).values()
    for name in options.model_fields
}
"""By option, the kinds that have it."""

TAKERS = frozenset(("method_traits", "tuning_traits", "memory_of", "usual_learning_rate", "import_module"))
"""Functions that take a kind."""
TABLES = frozenset(("TRAITS", "METHODS", "TUNINGS", "_ALL"))
COLLECTIONS = frozenset(("frozenset", "set", "tuple", "list", "dict"))
PARTS = frozenset(
    (
        "startswith",
        "endswith",
        "find",
        "index",
        "count",
        "removeprefix",
        "removesuffix",
        "partition",
        "match",
        "fullmatch",
        "search",
    )
)
"""What tells a kind by a part of its name."""
SHORTEST_PART = 2


def kinds_in(node: ast.AST | None) -> set[str]:
    """The kinds that stand as texts, by any of their names, in an expression or pattern."""
    return set() if node is None else {kind for child in ast.walk(node) for kind in _named_by(child)}


def _named_by(node: ast.AST) -> set[str]:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return set()
    word = node.value.strip()
    return {word.casefold()} & KINDS or ({OTHER_NAMES[word]} if word in OTHER_NAMES else set())


def _classes_in(node: ast.AST) -> set[str]:
    """The kinds' classes of options in an expression or pattern."""
    names = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    names |= {str(child.value) for child in ast.walk(node) if isinstance(child, ast.Constant)}
    return (
        names | {child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)}
    ) & OPTION_CLASSES


def _called(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _without_texts(node: ast.AST) -> str:
    return " ".join(
        child.id if isinstance(child, ast.Name) else child.attr
        for child in ast.walk(node)
        if isinstance(child, (ast.Name, ast.Attribute))
    )


def _by_part(call: ast.Call | ast.Compare) -> set[str]:
    """The kinds that a call such as `kind.startswith("lor")` or `kind[:3] == "lor"` tells from others."""
    if re.search(r"\b(kind|method|tuning|peft_type|title)\b", _without_texts(call)) is None:
        return set()
    parts = {
        re.sub(r"\W", "", part.value)
        for part in ast.walk(call)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }
    names: dict[str, str] = {**{kind: kind for kind in KINDS}, **OTHER_NAMES}
    return {
        kind for name, kind in names.items() for part in parts if len(part) >= SHORTEST_PART and part in name
    }


def _by_own_option(call: ast.Call) -> set[str]:
    """The kind that `hasattr(method, "margin")` tells from others, where only one has the option."""
    match call.args:
        case [asked, ast.Constant(value=str() as option), *_] if _called(asked) in ("method", "tuning"):
            owners = OWNERS.get(option, [])
            return set(owners) if len(owners) == 1 else set()
    return set()


def named_kinds(tree: ast.AST) -> set[tuple[int, str]]:
    """(line, kind) wherever code names a kind: to compare, to branch, in a table, as a default or as an argument."""
    named: set[tuple[int, str]] = set()
    for node in ast.walk(tree):
        kinds: set[str] = set()
        match node:
            case ast.Constant(value=str() as text):
                kinds = ({text} & (KINDS - AMBIGUOUS)) or (
                    {OTHER_NAMES[text]} if text in PEFT_TYPES else set()
                )
            case ast.Compare(left=ast.Subscript(slice=ast.Slice())):
                kinds = kinds_in(node) | _by_part(node)
            case ast.Compare():
                kinds = kinds_in(node) | _classes_in(node)
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str() as text), attr="split")):
                kinds = set(re.split(r"[\s,]+", text)) & KINDS
            case ast.Call(func=function) if _called(function) in ("hasattr", "getattr", "setattr"):
                kinds = _by_own_option(node)
            case ast.match_case():
                kinds = kinds_in(node.pattern) | _classes_in(node.pattern)
            case ast.Dict():
                kinds = {kind for key in node.keys if isinstance(key, ast.Constant) for kind in kinds_in(key)}
            case ast.arguments():
                kinds = {kind for value in (*node.defaults, *node.kw_defaults) for kind in kinds_in(value)}
            case ast.AnnAssign() | ast.Assign():
                is_plain = isinstance(node.value, (ast.Constant, ast.Tuple, ast.List, ast.Set))
                kinds = kinds_in(node.value) if is_plain else set()
            case ast.keyword(arg="default"):
                kinds = kinds_in(node.value)
            case ast.Subscript(value=value) if _called(value) in TABLES:
                kinds = kinds_in(node.slice)
            case ast.Call(func=function) if _called(function) in ("isinstance", "issubclass"):
                kinds = _classes_in(node)
            case ast.Call(func=function) if _called(function) in TAKERS:
                kinds = {kind for value in node.args for kind in kinds_in(value)}
            case ast.Call(func=ast.Name(id=name)) if name in COLLECTIONS:
                kinds = {kind for value in node.args for kind in kinds_in(value)}
                kinds |= {word.arg for word in node.keywords if word.arg in KINDS}
            case ast.Call(func=function) if _called(function) in PARTS:
                kinds = _by_part(node)
        if kinds:
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
        ("if isinstance(tuning, spec.FullTuning): pass", "FullTuning"),
        ("if type(tuning) is FullTuning: pass", "FullTuning"),
        ("if tuning.__class__ == spec.FullTuning: pass", "FullTuning"),
        ("match tuning:\n    case FullTuning(): pass", "FullTuning"),
        ("match tuning:\n    case spec.FullTuning(): pass", "FullTuning"),
        ('if spec.tuning.kind.startswith("lor"): pass', "lora"),
        ('if kind.endswith("ull"): pass', "full"),
        ('SCORED = frozenset(("reward",))', "reward"),
        ('SCORED = set(["reward"])', "reward"),
        ("RATES = dict(reward=1e-4)", "reward"),
        ('if method_traits("reward").output: pass', "reward"),
        ('if TRAITS["full"].is_adapter: pass', "full"),
        ('if traits.title == "LoRA": pass', "lora"),
        ('match traits.title:\n    case "full tuning": pass', "full"),
        ('if "reward models" in titles: pass', "reward"),
        ('adapter_type = "LORA"', "lora"),
        ('write(peft_type="IA3")', "ia3"),
        ('if kind[:3] == "lor": pass', "lora"),
        ('if re.match("^dpo$", kind): pass', "dpo"),
        ('if kind in "dpo kto".split(): pass', "dpo, kto"),
        ('if kind.upper() == "DPO": pass', "dpo"),
        ('if type(tuning).__name__ == "FullTuning": pass', "FullTuning"),
        ('if hasattr(spec.method, "center_rewards"): pass', "reward"),
    ],
)
def test_the_walk_sees_every_way_to_name_a_kind(code: str, kind: str) -> None:
    assert {named for _, named in named_kinds(ast.parse(code))} == set(kind.split(", "))


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


CALLERS = {
    "worker/methods": ("worker/train.py",),
    "worker/tunings": ("worker/model/tuning.py", "worker/export/updates.py"),
    "sharing/scripts/methods": ("sharing/train_script.py",),
    "sharing/scripts/tunings": ("sharing/train_script.py",),
}
"""By folder, the files that load a kind's file by its name."""
IF_TRAIT = {"continue_with": "can_continue", "read_updates": "is_mergeable"}
"""Functions of a tuning that are called only where a trait says so."""


def calls_into(folder: str) -> dict[str, int | None]:
    """What the flow uses of a kind's file in this folder: functions with their count of arguments, None for values."""
    used: dict[str, int | None] = {}
    for caller in CALLERS[folder]:
        tree = ast.parse((PRODUCT / caller).read_text(encoding="utf-8"))
        loaders = {"import_module"} | {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _loads(node, folder)
        }
        names = {
            node.targets[0].id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and any(_is_load(child, folder) for child in ast.walk(node.value))
        }
        counts = {
            id(node.func): len(node.args) + len(node.keywords)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            is_named = isinstance(node.value, ast.Name) and node.value.id in names
            is_loaded = isinstance(node.value, ast.Call) and _called(node.value.func) in loaders
            if is_named or is_loaded:
                used[node.attr] = counts.get(id(node))
    return used


def _loads(function: ast.FunctionDef, folder: str) -> bool:
    last = function.body[-1]
    return isinstance(last, ast.Return) and _is_load(last.value, folder)


def _is_load(node: ast.AST | None, folder: str) -> bool:
    """Whether an expression loads a kind's file in a folder."""
    if not isinstance(node, ast.Call) or _called(node.func) != "import_module":
        return False
    return f"{folder.rpartition('/')[2]}.{{" in ast.unparse(node.args[0])


def defined_in(path: Path) -> dict[str, int | None]:
    """The names that a file defines: functions with their count of arguments, None for values."""
    defined: dict[str, int | None] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            defined[node.name] = len((*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            defined[node.targets[0].id] = None
    return defined


def test_the_flow_calls_what_it_is_known_to_call() -> None:
    assert calls_into("worker/methods") == {"run": 2}
    assert calls_into("worker/tunings") == {
        "peft_config": 3, "left_out": 2, "continue_with": 2, "wake_dropout": 2, "read_updates": 3,
    }  # fmt: skip
    assert calls_into("sharing/scripts/methods") == {"arguments": 2, "dataset": 2}
    assert calls_into("sharing/scripts/tunings") == {"CONFIG": None, "adapter": 2, "wake_dropout": 1}


@pytest.mark.parametrize("folder", CALLERS)
def test_a_kinds_files_have_what_the_flow_calls(folder: str) -> None:
    section = folder.rpartition("/")[2]
    for kind in METHODS if section == "methods" else TUNINGS:
        if f"{folder}/{kind}.py" not in parts_of(section, kind):
            continue
        defined, used = defined_in(PRODUCT / folder / f"{kind}.py"), calls_into(folder)
        if folder == "worker/tunings":
            traits = TUNINGS[kind]  # type: ignore[index]
            for name, trait in IF_TRAIT.items():
                assert (name in defined) == getattr(traits, trait), f"{kind}: {name}, {trait}"
            used = {
                name: count for name, count in used.items() if traits.is_adapter and name not in IF_TRAIT
            } | {name: used[name] for name, trait in IF_TRAIT.items() if getattr(traits, trait)}
        assert {name: defined.get(name, "missing") for name in used} == used, kind


def test_peft_types_are_unique() -> None:
    assert len(PEFT_TYPES) == sum(traits.is_adapter for traits in TUNINGS.values())


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
    assert f"[`{kind}`]({kind}.md)" in (PRODUCT.parent / "docs/methods/README.md").read_text(encoding="utf-8")


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
    assert f"[`{kind}`]({kind}.md)" in (PRODUCT.parent / "docs/tunings/README.md").read_text(encoding="utf-8")


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


@pytest.mark.parametrize("kind", TUNINGS)
def test_the_plan_allows_the_precisions_that_the_rules_allow(kind: Any) -> None:
    options: list[dict[str, Any]] = (
        [{}, {"dora": True}] if "dora" in kinds_of("tuning")[kind].model_fields else [{}]
    )
    for more in options:
        for precision in get_args(LoadedPrecision):
            spec = RunSpec.model_validate(
                {
                    "model": {"source": "m", "precision": precision},
                    "data": {"train": "d"},
                    "tuning": {"kind": kind, **more},
                }
            )
            keys = {problem.key for problem in check_rules(spec)}
            is_refused = not keys.isdisjoint(("model.precision", "tuning.dora"))
            assert is_applicable(precision, spec) != is_refused, (precision, more)
