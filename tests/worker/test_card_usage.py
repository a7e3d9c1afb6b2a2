"""A card's snippet runs when it is copied, and the card says what was merged into what."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.tiny_model import make_tiny_model
from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import TunerError
from tuner_tui.models.card_metadata import CardLicence, licence_in
from tuner_tui.planning.plan import decode_plan
from tuner_tui.runs.events import ChoicesMade, ChosenMachine, ModelLoaded
from tuner_tui.runs.state import RunState
from tuner_tui.sharing.card import CardForm, CardOptions, make_card
from tuner_tui.sharing.card_usage import has_template, usage
from tuner_tui.sharing.licences import require_name, what_it_asks
from tuner_tui.sharing.run_facts import RunFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.runs.folder import RunFolder


@pytest.fixture
def facts_of(make_run: Callable[..., RunFolder], tmp_path: Path) -> Callable[..., RunFacts]:
    """A run's facts, with a random adapter on a small model of its own."""

    def make(precision: str = "fp32", *, has_head: bool = False, is_chat: bool = True) -> RunFacts:
        model = make_tiny_model(tmp_path / "owner" / "base", hidden=64)
        if not is_chat:
            (model / "chat_template.jinja").unlink()
        folder = make_run(
            model={"source": str(model)}, method={"kind": "reward"} if has_head else {"kind": "sft"}
        )
        kind: Any = AutoModelForSequenceClassification if has_head else AutoModelForCausalLM
        base = kind.from_pretrained(model, **({"num_labels": 1} if has_head else {}))
        task = "SEQ_CLS" if has_head else "CAUSAL_LM"
        config = LoraConfig(task_type=task, r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"])
        get_peft_model(base, config).save_pretrained(folder.adapter)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            if (model / name).is_file():
                (folder.adapter / name).write_bytes((model / name).read_bytes())
        state = RunState()
        state.apply(
            ModelLoaded(
                source="base",
                precision=precision,
                device="cpu",
                parameters=1,
                trainable_parameters=1,
                memory_bytes=1,
                seconds=1.0,
            )
        )
        machine = ChosenMachine(device="cpu", precision=precision, arithmetic="bf16")  # type: ignore[arg-type]
        state.apply(ChoicesMade(choices=(), machine=machine))
        plan = decode_plan(folder.plan.read_bytes())
        return RunFacts(folder, read_spec(folder.spec), plan, state.snapshot(), str(model))

    return make


@pytest.mark.parametrize(
    ("precision", "has_head", "is_chat", "printed"),
    [("fp32", False, True, r".*\n"), ("nf4", False, False, r".*\n"), ("fp32", True, True, r".*\d.*\n")],
)
def test_the_snippet_runs(
    precision: str,
    has_head: bool,
    is_chat: bool,
    printed: str,
    facts_of: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = facts_of(precision, has_head=has_head, is_chat=is_chat)
    folder = facts.folder.adapter
    assert has_template(folder) is is_chat
    told = usage(facts, "adapter", str(folder), is_chat=is_chat)
    assert ("load_in_4bit" in told.code) is (precision == "nf4")
    exec(compile(told.code, "card", "exec"), {})
    assert re.fullmatch(printed, capsys.readouterr().out, re.DOTALL)


@pytest.mark.parametrize(
    ("made", "precision", "said"),
    [
        (CardForm("merged"), "nf4", "after dequantising them, not into the original ones"),
        (CardForm("merged", base_as="original"), "nf4", "merged into the original weights"),
        (CardForm("gguf", "f16"), "fp32", "base_model_relation: finetune"),
        (CardForm("gguf", "q8_0"), "fp32", "base_model_relation: quantized"),
        (CardForm("adapter"), "fp32", "| rank, alpha | 2, 6 |"),
        (CardForm("adapter"), "fp32", "| layers with adapters | q_proj, v_proj |"),
    ],
)
def test_the_card_says_how_it_was_made(made: CardForm, precision: str, said: str, facts_of: Any) -> None:
    text = make_card(facts_of(precision), made, "ada/inkwell", None, (), CardOptions()).text
    assert said in text


def test_a_reward_model_is_told_as_one(facts_of: Any) -> None:
    text = make_card(
        facts_of(has_head=True), CardForm("adapter"), "ada/inkwell", None, (), CardOptions()
    ).text
    assert "pipeline_tag: text-classification" in text and "which scores answers" in text


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("license: mit", "mit"),
        ('license: "apache-2.0"\ntags: []', "apache-2.0"),
        ("license:\n- mit\n- apache-2.0\ntags:\n- x", "mit or apache-2.0"),
        ("license: [mit, gpl-3.0]", "mit or gpl-3.0"),
    ],
)
def test_a_licence_may_be_a_list(metadata: str, licence: str) -> None:
    assert licence_in(f"---\n{metadata}\n---\n# A model").identifier == licence
    assert "\n" not in what_it_asks(licence)


def test_another_key_is_no_licence() -> None:
    assert licence_in("---\nlicence: mit\n---\n") == CardLicence()


@pytest.mark.parametrize(
    "card",
    [
        "\ufeff---\nlicense: mit\n---\n", "--- \nlicense: mit \n--- \ntext", "\n\n---\r\nlicense: mit\r\n---\r\n",
        "---\ntags: [a]\nlicense: 'mit' # as the base\n---\n",
    ],
    ids=["BOM", "spaces", "CR", "comment"],
)  # fmt: skip
def test_front_matter_is_read_as_people_write_it(card: str) -> None:
    assert licence_in(card).identifier == "mit"
    assert licence_in(card.replace("license: ", "license: [").replace("mit", "mit, [")) == CardLicence()


def test_what_other_stands_for_goes_into_the_card(facts_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    licence = CardLicence("other", "qwen-research", "https://example.org/LICENSE")
    monkeypatch.setattr("tuner_tui.sharing.licences.base_licence", lambda facts: licence)
    for chosen in (None, "other"):
        text = make_card(facts_of(), CardForm("adapter"), "ada/x", None, (), CardOptions(licence=chosen)).text
        front = yaml.safe_load(text.split("---")[1])
        assert (front["license"], front["license_name"]) == ("other", "qwen-research")
        assert front["license_link"] == "https://example.org/LICENSE"
        assert "qwen-research" in text.split("---", 2)[2]
    text = make_card(facts_of(), CardForm("adapter"), "ada/x", None, (), CardOptions(licence="mit")).text
    assert "license_name" not in text


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("LICENSE", "https://huggingface.co/org/base/blob/main/LICENSE"),
        ("./docs/LICENSE.md", "https://huggingface.co/org/base/blob/main/docs/LICENSE.md"),
        ("https://example.org/LICENSE", "https://example.org/LICENSE"),
        (None, None),
    ],
)
def test_a_link_to_a_file_of_the_base_leads_to_the_base(
    facts_of: Any, monkeypatch: pytest.MonkeyPatch, link: str | None, shown: str | None
) -> None:
    """In the new repository there is no such file; a name without an identifier is of a licence of its own."""
    monkeypatch.setattr(
        "tuner_tui.sharing.licences.base_licence", lambda facts: CardLicence(None, "base-research", link)
    )
    facts = replace(facts_of(), base_name="org/base")
    text = make_card(facts, CardForm("adapter"), "ada/x", None, (), CardOptions()).text
    front = yaml.safe_load(text.split("---")[1])
    assert (front["license"], front["license_name"]) == ("other", "base-research")
    assert front.get("license_link") == shown


@pytest.mark.parametrize(
    ("licence", "base", "is_asked"),
    [
        (CardLicence("llama3.1"), "org/m", True), (CardLicence("llama4"), "org/m", True),
        (CardLicence("llama2"), "org/m", False), (CardLicence("mit"), "meta-llama/Llama-3.2-1B", False),
        (CardLicence("other", "llama-4-community"), "org/m", True), (CardLicence("other", "qwen"), "org/m", False),
        (CardLicence(), "meta-llama/Meta-Llama-3-8B", True), (CardLicence("other"), "meta-llama/Llama-4-Scout", True),
        (CardLicence(), "Qwen/Qwen3-8B", False), (CardLicence("mit or llama3"), "org/m", False),
        (CardLicence("other", "Llama 3.1 Community License"), "org/m", True),
        (CardLicence("other", "META LLAMA 3 COMMUNITY LICENSE AGREEMENT"), "org/m", True),
        (CardLicence("other", "llama_4"), "org/m", True), (CardLicence("other", "the-llama3.2-license"), "org/m", True),
        (CardLicence("other", "Llama 2 Community License"), "meta-llama/Llama-2-7b", False),
        (CardLicence("other", "codellama-7b"), "org/m", False), (CardLicence(), "models/Llama-3.2-1B/", True),
        (CardLicence("other", "nvidia-open-model-license"), "nvidia/Llama-3.1-Nemotron", False),
    ],
)  # fmt: skip
def test_llama_s_naming_rule(licence: CardLicence, base: str, is_asked: bool) -> None:
    require_name(licence, base, "ada/llama-mine")
    if is_asked:
        with pytest.raises(TunerError, match="must begin with Llama"):
            require_name(licence, base, "ada/mine")
    else:
        require_name(licence, base, "ada/mine")


@pytest.mark.parametrize(
    "licence", ["llama3.1", "llama-4-community", "Llama 3.1 Community License", "llama_4"]
)
def test_llama_s_requirements_are_told_in_whatever_words_it_is_named(licence: str) -> None:
    assert "Built with Llama" in what_it_asks(licence)


@pytest.mark.parametrize("licence", ["llama2", "Llama 2 Community License"])
def test_llama_2_asks_for_no_name(licence: str) -> None:
    asked = what_it_asks(licence)
    assert "Llama 2 licence" in asked and "Built with" not in asked and "begin" not in asked


def test_an_identifier_in_capitals_is_the_same_licence() -> None:
    assert what_it_asks("MIT") == what_it_asks("mit")


def test_settings_of_a_method_are_told(facts_of: Any) -> None:
    facts = facts_of()
    assert json.loads((facts.folder.adapter / "adapter_config.json").read_text())["r"] == 2
    text = make_card(facts, CardForm("adapter"), "ada/inkwell", None, (), CardOptions()).text
    assert "| method | sft, loss on answers |" in text and "warm-up over" in text
