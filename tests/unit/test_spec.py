"""The run spec: every option explains itself, and importing it is cheap."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic.fields import FieldInfo

from tuner_tui.config.options import as_text, as_toml, find_option, value_of
from tuner_tui.config.sections import kinds_of
from tuner_tui.config.single_option import set_option
from tuner_tui.config.spec import DataSpec, FullTuning, LoraTuning, ModelSpec, RunSpec
from tuner_tui.config.spec_file import parse_spec
from tuner_tui.config.spec_writer import spec_text
from tuner_tui.config.tunings.ia3 import Ia3Tuning

SECTIONS = [section for section in RunSpec.model_fields if kinds_of(section)]
OPTIONS = {
    f"{section}.{kind}.{key}": field
    for section in SECTIONS
    for kind, each in kinds_of(section).items()
    for key, field in each.model_fields.items()
} | {key: field for key, field in RunSpec.model_fields.items() if key not in SECTIONS}


@pytest.mark.parametrize("field", OPTIONS.values(), ids=OPTIONS)
def test_every_option_has_a_title_and_a_help(field: FieldInfo) -> None:
    assert field.title
    assert len(field.title) <= 24, "titles are labels in a form"
    assert field.description
    assert field.description.endswith(".")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_says_what_it_is(section: str) -> None:
    assert all((each.__doc__ or "").endswith(".") for each in kinds_of(section).values())


def test_kinds_are_told_apart() -> None:
    assert kinds_of("tuning") == {"lora": LoraTuning, "full": FullTuning, "ia3": Ia3Tuning}
    assert list(kinds_of("method")) == ["sft", "dpo", "cpo", "kto", "orpo", "reward", "alphapo"]
    assert list(kinds_of("training")) == [""]


def test_a_spec_needs_only_model_and_data() -> None:
    spec = RunSpec.model_validate({"model": {"source": "demo"}, "data": {"train": "demo"}})
    assert spec.tuning == LoraTuning()
    assert spec.training.epochs == 3


def test_importing_the_spec_loads_nothing_heavy() -> None:
    code = (
        "import sys, tuner_tui.config.spec\n"
        "print(sorted({'torch', 'tomlkit', 'textual', 'transformers', 'msgspec'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("text", ["auto", "true", "false"])
def test_grouping_is_chosen_or_left_open_in_files_forms_and_commands(text: str) -> None:
    base = RunSpec(model=ModelSpec(source="x"), data=DataSpec(train="y"))
    asked = set_option(base, "training.group_by_length", text)
    option = find_option(asked, "training.group_by_length")
    assert option is not None and option.kind == "choice" and option.choices == ("auto", "true", "false")
    shown = as_text(option, value_of(asked, option.key))
    assert shown == text
    assert set_option(base, option.key, as_toml(option, shown)) == asked
    assert parse_spec(spec_text(asked), "run.toml") == asked
