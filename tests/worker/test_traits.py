"""The traits say what TRL, PEFT and the presets show, and no trait can be changed without a contradiction.

What a method does is watched in a real step on a tiny model. What a tuning does is asked of its PEFT configuration, of
the adapter that PEFT saves, and of the files that carry its name.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from importlib.util import find_spec
from types import ModuleType, NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import torch
import trl
from peft import PeftConfig, PeftType

from tests.worker.preferences import rows_for
from tests.worker.runs import Run
from tuner_tui.config.data_section import DataShape
from tuner_tui.config.learning_rate import usual_learning_rate
from tuner_tui.config.methods import traits as method_file
from tuner_tui.config.methods.metrics import METRICS
from tuner_tui.config.methods.traits import TRAITS as METHODS
from tuner_tui.config.methods.traits import MethodTraits
from tuner_tui.config.presets import list_presets, preset_spec
from tuner_tui.config.reference import Reference, reference_of
from tuner_tui.config.rules import check_rules
from tuner_tui.config.sections import kinds_of
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.tunings.traits import TRAITS as TUNINGS
from tuner_tui.config.tunings.traits import LoadedPrecision, TuningTraits
from tuner_tui.runs.events import StepLogged
from tuner_tui.worker.export.updates import read_updates
from tuner_tui.worker.training import common

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATASET_TYPES = {
    "examples": {"messages", "instruction", "prompt_completion", "text"},
    "pairs": {"preference"},
    "answers": {"rated", "preference"},
}
"""What TRL's documentation calls the dataset types of its trainers, by type of row."""
FEEDBACK = {"examples": "demonstrations", "pairs": "pairs", "answers": "rated"}
Checks = dict[str, Callable[[Any], bool]]
"""By trait, whether a record of traits agrees with what was seen."""


# What a run does


@dataclass
class Watched:
    """A trainer, and what its model computed in its training steps."""

    trainer: Any = None
    sequences: list[int] = field(default_factory=list)
    """Token sequences of each forward pass with gradients."""
    output_layer_calls: int = 0
    scores_labels_alone: bool = False
    metrics: set[str] = field(default_factory=set)

    @property
    def library_class(self) -> Any:
        return next(each for each in type(self.trainer).__mro__ if each.__module__.startswith("trl."))

    @property
    def model(self) -> Any:
        model = self.trainer.model
        return model.get_base_model() if hasattr(model, "get_base_model") else model


class Seen(Exception):
    """A run is ended before its first step: the trainer is all that is looked at."""


@pytest.fixture
def watch(train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watched]:
    """Run a method and watch its trainer; with `steps=False` only until it is built."""
    fit = common.fit

    def watch_run(method: str, *, steps: bool = True, **tables: Any) -> Watched:
        watched = Watched()

        def fit_watched(job: Any, trainer: Any, *rest: Any) -> Any:
            watched.trainer = trainer
            if not steps:
                raise Seen
            _listen(watched)
            return fit(job, trainer, *rest)

        with monkeypatch.context() as patched:
            patched.setattr(common, "fit", fit_watched)
            rows = rows_for(method) if METHODS[method].rows != "examples" else None  # type: ignore[index]
            tables.setdefault("training", {"max_steps": 2, "micro_batch": 2, "batch_size": 2})
            run = train(rows, method={"kind": method}, **tables)
        watched.metrics = {name for step in run.all(StepLogged) for name in step.metrics}
        assert watched.trainer is not None, run.events[-1]
        return watched

    return watch_run


def _listen(watched: Watched) -> None:
    """Count what the model computes within the trainer's steps."""
    trainer, model = watched.trainer, watched.model
    step, is_in_step = trainer.training_step, False

    def training_step(*args: Any, **named: Any) -> Any:
        nonlocal is_in_step
        is_in_step = True
        try:
            return step(*args, **named)
        finally:
            is_in_step = False

    def before_forward(_: Any, args: Any, named: dict[str, Any]) -> None:
        if is_in_step and torch.is_grad_enabled():
            watched.sequences.append(len(named["input_ids"] if "input_ids" in named else args[0]))

    def at_output(_: Any, hidden: tuple[torch.Tensor], __: Any) -> None:
        watched.output_layer_calls += is_in_step
        watched.scores_labels_alone |= is_in_step and hidden[0].dim() == 2

    trainer.training_step = training_step
    model.register_forward_pre_hook(before_forward, with_kwargs=True)
    (model.lm_head if hasattr(model, "lm_head") else model.score).register_forward_hook(at_output)


def sft_loss_includes_prompt(watched: Watched) -> bool:
    """Whether the trainer's SFT loss on the chosen answer of a pair includes its prompt, by its own computation."""
    trainer = watched.trainer
    if not hasattr(trainer, "concatenated_forward") or not trainer.has_token_mean():
        return False
    batch = trainer._prepare_inputs(trainer.data_collator([dict(trainer.train_dataset[0])]))
    with torch.no_grad():
        model = trainer.model.eval()
        loss = trainer.concatenated_forward(model, batch)[4] / trainer.token_share(batch)
        ids, mask = batch["chosen_input_ids"], batch["chosen_attention_mask"]
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    answer = batch["chosen_labels"][:, 1:] != -100
    of_answer, of_all = losses[answer].mean(), losses[mask[:, 1:] == 1].mean()
    assert not torch.isclose(of_answer, of_all, atol=1e-4)
    assert torch.isclose(torch.stack([of_answer, of_all]), loss, atol=1e-4).any()
    return bool(torch.isclose(loss, of_all, atol=1e-4))


def fewest_rows(watched: Watched) -> int:
    """The smallest micro-batch with which TRL builds this trainer."""
    trainer = watched.trainer
    check = "per_device_train_batch_size <= 1"
    return 2 if check in inspect.getsource(watched.library_class.__init__) and trainer.calculate_KL else 1


def reference_in(watched: Watched) -> Reference:
    """How a trainer has its reference."""
    trainer = watched.trainer
    if getattr(trainer, "ref_model", None) is not None:
        return "second model"
    if "ref" in getattr(trainer.model, "peft_config", {}):
        return "frozen copy"
    takes_one = "ref_model" in inspect.signature(watched.library_class.__init__).parameters
    return "adapter off" if takes_one else "none"


def rates_in_presets(method: str, tuning: str) -> set[float]:
    """The rate that most presets of a method and tuning set; where none is set twice, all that they name."""
    values: Counter[float] = Counter()
    named: set[float] = set()
    for preset in list_presets():
        spec = preset_spec(preset)
        if (spec.method.kind, spec.tuning.kind) == (method, tuning):
            values[spec.training.learning_rate or usual_learning_rate(method, tuning)] += 1
            line = re.search(r"^learning_rate = .*", preset.path.read_text(encoding="utf-8"), re.M)
            named |= {float(number) for number in re.findall(r"\d+e-\d+", line[0] if line else "")}
    ((most, count),) = values.most_common(1)
    return {most} if count > 1 else named


def method_checks(kind: str, watched: Watched) -> Checks:
    """By trait of a method, whether a record agrees with what its run, TRL and the presets show."""
    trainer, library = watched.trainer, watched.library_class
    columns = set(trainer.train_dataset.column_names)
    is_paired = any("chosen" in name for name in columns)
    rows = "answers" if "label" in columns else "pairs" if is_paired else "examples"
    is_scored = hasattr(watched.model, "score")
    is_stable = not library.__module__.startswith("trl.experimental.")
    logs_router_loss = {"aux_loss"} if '"aux_loss"' in inspect.getsource(library) else set()
    words = f"{library.__doc__} {library_options(trainer)}".casefold()
    has_groups = hasattr(trainer.args, "num_generations")
    order = list(trainer._get_train_sampler(trainer.train_dataset))
    full = "labels" if watched.scores_labels_alone else "logits"
    head = "score" if is_scored else full if watched.output_layer_calls else "fused"
    elsewhere = {"entropy"} if head == "labels" else set()  # logged by evaluations, and on a GPU
    includes_prompt, fewest = sft_loss_includes_prompt(watched), fewest_rows(watched)
    script = library.__name__.removesuffix("Trainer") if is_stable else None
    has_value_model = getattr(trainer, "value_model", None) is not None
    base, rates = TUNINGS["lora"].learning_rate, rates_in_presets(kind, "lora")
    compares = reference_in(watched) != "none"
    return {
        "title": lambda its: re.search(rf"\b{re.escape(its.title.casefold())}(?![-\w])", words) is not None,
        "rows": lambda its: its.rows == rows,
        "dataset_types": lambda its: set(its.dataset_types) == DATASET_TYPES[rows],
        "sequences_per_row": lambda its: {its.sequences_per_row * 2} == set(watched.sequences),
        "fewest_rows": lambda its: its.fewest_rows == fewest,
        "keeps_order": lambda its: its.keeps_order == (order == sorted(order)),
        "reference": lambda its: (its.reference != "none") == compares,
        "head": lambda its: its.head == head,
        "generates": lambda its: its.generates == has_groups,
        "output": lambda its: its.output == ("scores" if is_scored else "text"),
        "loss_on_chosen_prompt": lambda its: its.loss_on_chosen_prompt == includes_prompt,
        "learning_rate_factor": lambda its: any(
            abs(base * its.learning_rate_factor / rate - 1) < 1e-6 for rate in rates
        ),
        "feedback": lambda its: its.feedback == FEEDBACK[rows],
        "metrics": lambda its: set(its.metrics) == watched.metrics | elsewhere | logs_router_loss,
        "script_trainer": lambda its: its.script_trainer == script,
        "trained_models": lambda its: its.trained_models == len(trained_adapters(trainer.model)),
        "models": lambda its: its.models == 1 + has_value_model,
        "answers_in_groups": lambda its: its.answers_in_groups == has_groups,
    }


def library_options(trainer: Any) -> str:
    """The source of TRL's options of a trainer."""
    options = next(each for each in type(trainer.args).__mro__ if each.__module__.startswith("trl."))
    return inspect.getsource(options)


def faults(checks: Checks, traits: Any) -> set[str]:
    """The traits of a record that are untrue."""
    assert set(checks) == {each.name for each in fields(traits)}
    return {name for name, is_true in checks.items() if not is_true(traits)}


def unnoticed_changes(checks: Checks, traits: Any) -> list[tuple[str, Any]]:
    """Other values of a record's traits that no check notices."""
    return [(name, getattr(other, name)) for name, other in changed(traits) if checks[name](other)]


def trained_adapters(model: Any) -> set[str]:
    """The names of a model's adapters with trained parameters."""
    return {
        adapter
        for name, parameter in model.named_parameters()
        for adapter in model.peft_config
        if parameter.requires_grad and f".{adapter}" in name
    }


# Every trait, changed


def others(hint: Any, value: Any) -> Iterator[Any]:
    """Every other value of a trait of a small vocabulary; some of the others."""
    if get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from (
                ([None] if part is NoneType else others(part, value))
                if value is not None or part is not NoneType
                else []
            )
    elif get_origin(hint) is Literal:
        yield from (each for each in get_args(hint) if each != value)
    elif get_origin(hint) is tuple:
        yield from (value[:place] + value[place + 1 :] for place in range(len(value)))
        words = get_args(get_args(hint)[0]) or tuple(metric.name for metric in METRICS)
        yield from ((*value, each) for each in words if each not in value)
    elif hint is bool:
        yield not value
    elif hint is int:
        yield from (value + 1, value - 1)
    elif hint is float:
        yield from (value * 2, value / 2)
    else:
        assert hint is str
        yield from (f"{value} 2", "Something")


def changed(traits: Any) -> Iterator[tuple[str, Any]]:
    """(the trait, the record with another value of it), for each trait and several values."""
    hints = (
        get_type_hints(type(traits), {**vars(method_file), "DataShape": DataShape})
        if isinstance(traits, MethodTraits)
        else get_type_hints(type(traits))
    )
    for each in fields(traits):
        values = list(others(hints[each.name], getattr(traits, each.name)))
        assert values, each.name
        for value in values:
            yield each.name, replace(traits, **{each.name: value})


@pytest.mark.parametrize("kind", METHODS)
def test_each_trait_of_a_method_is_what_its_run_shows(watch: Callable[..., Watched], kind: Any) -> None:
    watched = watch(kind)
    checks = method_checks(kind, watched)
    assert faults(checks, METHODS[kind]) == set(), watched.metrics
    assert unnoticed_changes(checks, METHODS[kind]) == []


@pytest.mark.parametrize(
    ("method", "tuning", "is_continued"),
    [
        *((method, "full", False) for method in METHODS if method != "sft"),
        ("dpo", "lora", False),
        ("dpo", "ia3", False),
        *((method, "lora", True) for method in METHODS),
        ("kto", "ia3", True),
    ],
)
def test_a_run_has_the_reference_that_its_traits_name(
    watch: Callable[..., Watched], train: Callable[..., Run], method: str, tuning: str, is_continued: bool
) -> None:
    tables: dict[str, Any] = {"tuning": {"kind": tuning}}
    if is_continued:
        earlier = train(**tables, training={"max_steps": 1})
        tables["model"] = {"adapter": str(earlier.folder.adapter)}
    watched = watch(method, steps=False, **tables)
    assert reference_in(watched) == reference_of(method, tuning, is_continued=is_continued)


# Tunings


@dataclass(frozen=True)
class Adapter:
    """What the worker and PEFT make of a tuning's defaults."""

    file: ModuleType
    config: PeftConfig | None
    folder: Path
    """The adapter as saved; a model for full tuning."""


@pytest.fixture
def adapter_of(tiny_model: Path, tmp_path: Path) -> Callable[[str], Adapter]:
    def make(kind: str) -> Adapter:
        from importlib import import_module

        from peft import get_peft_model
        from transformers import AutoModelForCausalLM

        from tuner_tui.worker.model.tuning import peft_config

        file = import_module(f"tuner_tui.worker.tunings.{kind}")
        base = AutoModelForCausalLM.from_pretrained(tiny_model)
        table = {"model": {"source": str(tiny_model)}, "data": {"train": "d"}, "tuning": {"kind": kind}}
        config = peft_config(RunSpec.model_validate(table), base) if hasattr(file, "peft_config") else None
        model = base if config is None else get_peft_model(base, config)
        model.save_pretrained(tmp_path / kind)
        return Adapter(file, config, tmp_path / kind)

    return make


def forms_of(adapter: Adapter, kind: str) -> set[str]:
    """The forms in which a tuning's result can be exported, by what the worker makes of it."""
    is_adapter, is_mergeable = adapter.config is not None, hasattr(adapter.file, "read_updates")
    forms = {"archive"}
    if is_adapter:
        forms.add("adapter")
    if is_mergeable or not is_adapter:
        forms |= {"merged", "gguf", "ollama"}
    if (
        is_mergeable and read_updates(adapter.folder).low_rank
    ):  # the only kind of adapter in llama.cpp's format
        forms.add("gguf-adapter")
    if not is_adapter or find_spec(f"tuner_tui.sharing.scripts.tunings.{kind}"):
        forms.add("script")
    return forms


def tuning_checks(kind: str, adapter: Adapter) -> Checks:
    """By trait of a tuning, whether a record agrees with PEFT, its files and the presets."""
    config, file, options = adapter.config, adapter.file, kinds_of("tuning")[kind]
    peft_type = None if config is None else PeftType(config.peft_type).value
    title = "full tuning" if peft_type is None else peft_type.casefold()
    rates, forms = rates_in_presets("sft", kind), forms_of(adapter, kind)
    precisions = {each for each in get_args(LoadedPrecision) if allows(kind, each)}
    continues = hasattr(file, "continue_with") and "continued" in vars(options)
    has_virtual_tokens = config is not None and config.is_prompt_learning
    return {
        "title": lambda its: its.title.casefold() == title,
        "learning_rate": lambda its: its.learning_rate in rates,
        "precisions": lambda its: set(its.precisions) == precisions,
        "is_adapter": lambda its: its.is_adapter == (config is not None),
        "peft_type": lambda its: its.peft_type == peft_type,
        "can_continue": lambda its: its.can_continue == continues,
        "is_mergeable": lambda its: its.is_mergeable == hasattr(file, "read_updates"),
        "has_virtual_tokens": lambda its: its.has_virtual_tokens == has_virtual_tokens,
        "reference": lambda its: its.reference == ("second model" if config is None else "adapter off"),
        "export_forms": lambda its: set(its.export_forms) == forms,
    }


def allows(kind: str, precision: str) -> bool:
    """Whether the options' own rules let a tuning have a precision."""
    table = {
        "model": {"source": "m", "precision": precision},
        "data": {"train": "d"},
        "tuning": {"kind": kind},
    }
    return "model.precision" not in [problem.key for problem in check_rules(RunSpec.model_validate(table))]


@pytest.mark.parametrize("kind", TUNINGS)
def test_each_trait_of_a_tuning_is_what_peft_and_its_files_show(
    adapter_of: Callable[[str], Adapter], kind: Any
) -> None:
    checks = tuning_checks(kind, adapter_of(kind))
    assert faults(checks, TUNINGS[kind]) == set()
    assert unnoticed_changes(checks, TUNINGS[kind]) == []


def test_no_trait_has_a_default() -> None:
    for record in (MethodTraits, TuningTraits):
        parameters = inspect.signature(record).parameters.values()
        assert [each.name for each in parameters if each.default is not inspect.Parameter.empty] == []


def test_usual_rates_are_in_presets() -> None:
    for preset in list_presets():
        spec = preset_spec(preset)
        usual = usual_learning_rate(spec.method.kind, spec.tuning.kind)
        rates = rates_in_presets(spec.method.kind, spec.tuning.kind)
        assert any(abs(usual / rate - 1) < 1e-6 for rate in rates), preset.name


def test_script_trainers_are_exported_by_trl() -> None:
    for traits in METHODS.values():
        if traits.script_trainer is not None:
            assert hasattr(trl, f"{traits.script_trainer}Trainer")
            assert hasattr(trl, f"{traits.script_trainer}Config")
