"""What would ruin a run silently stops it before its first step; allowed by name, it goes on and the report says so."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests.tiny_model import CHAT_TEMPLATE, make_tiny_model
from tuner_tui.runs.events import RunFailed, RunFinished, StepLogged, Warned
from tuner_tui.worker.methods import sft

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

SHORT = {"max_steps": 1, "batch_size": 2}
Broken = tuple[list[dict[str, Any]], dict[str, Any]]
"""Rows, and the tables of a spec."""


@pytest.fixture
def model(tmp_path: Path, tiny_model: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny_model, tmp_path / "spoiled")


def change_config(model: Path, name: str, **values: Any) -> None:
    path = model / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def one_row_without_answer(model: Path, _: pytest.MonkeyPatch) -> Broken:
    return [{"prompt": "a", "completion": "b"}, {"prompt": "a" * 40, "completion": "b"}], {
        "training": SHORT | {"max_length": 20}
    }


def no_end_fits(model: Path, _: pytest.MonkeyPatch) -> Broken:
    return [{"prompt": "a", "completion": "b" * 40}] * 2, {"training": SHORT | {"max_length": 20}}


def template_without_end(model: Path, _: pytest.MonkeyPatch) -> Broken:
    template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    template += "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    (model / "chat_template.jinja").write_text(template)
    return [{"question": "a", "answer": "b"}] * 2, {}


def start_in_the_text(model: Path, _: pytest.MonkeyPatch) -> Broken:
    from tokenizers.processors import TemplateProcessing

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(model)
    return [{"text": "<|im_start|>abc"}, {"text": "abcd"}], {"method": {"kind": "sft", "loss_on": "all"}}


def padding_masks_the_end(model: Path, monkeypatch: pytest.MonkeyPatch) -> Broken:
    from transformers import DataCollatorForLanguageModeling

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(model)
    masking = DataCollatorForLanguageModeling(tokenizer, mlm=False)

    def collate(rows: list[dict[str, Any]]) -> Any:
        return masking([{"input_ids": row["input_ids"]} for row in rows])

    class Masking(sft.Trainer):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.data_collator = collate

    monkeypatch.setattr(sft, "Trainer", Masking)
    return [{"question": "a", "answer": "b"}] * 2, {}


def no_template(model: Path, _: pytest.MonkeyPatch) -> Broken:
    (model / "chat_template.jinja").unlink()
    return [{"question": "a", "answer": "b"}] * 2, {}


def other_template(model: Path, _: pytest.MonkeyPatch) -> Broken:
    path = model.parent / "other.jinja"
    path.write_text(CHAT_TEMPLATE.replace("assistant", "helper"))
    return [{"prompt": "a", "completion": "b"}] * 2, {"data": {"template": str(path)}}


def template_without_system(model: Path, _: pytest.MonkeyPatch) -> Broken:
    template = CHAT_TEMPLATE.replace("in messages %}", "in messages if message['role'] != 'system' %}")
    (model / "chat_template.jinja").write_text(template)
    return [{"system": "Be kind.", "question": "a", "answer": "b"}] * 2, {}


def template_without_earlier_turns(model: Path, _: pytest.MonkeyPatch) -> Broken:
    template = CHAT_TEMPLATE.replace("in messages %}", "in messages[-2:] %}")
    (model / "chat_template.jinja").write_text(template)
    turns = [("user", "first"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    return [{"messages": [{"role": role, "content": said} for role, said in turns]}] * 2, {
        "method": {"kind": "sft", "loss_on": "all"}
    }


def small_vocabulary(model: Path, _: pytest.MonkeyPatch) -> Broken:
    make_tiny_model(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["wombat"])
    tokenizer.save_pretrained(model)
    return [{"question": "a", "answer": "a wombat"}] * 2, {}


def small_context(model: Path, _: pytest.MonkeyPatch) -> Broken:
    change_config(model, "config.json", max_position_embeddings=32)
    return [{"question": "a" * 40, "answer": "b"}] * 2, {}


def spoiled_weights(model: Path, _: pytest.MonkeyPatch) -> Broken:
    weights = load_file(model / "model.safetensors")
    weights["lm_head.weight"] = torch.randn_like(weights["lm_head.weight"]) * 40
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    return [{"question": "a", "answer": "b"}] * 2, {}


SILENT = [
    ("nothing_trained", one_row_without_answer, "1 row has no token with loss"),
    ("end_never_trained", no_end_fits, "no EOS token has loss"),
    ("end_never_trained", template_without_end, "no EOS token has loss"),
    ("doubled_start", start_in_the_text, "rows begin with two BOS tokens"),
    ("end_masked", padding_masks_the_end, "has no loss because it is also the pad token"),
    ("template_missing", no_template, "no chat template"),
    ("template_changed", other_template, "is not the base's"),
    ("template_drops_turns", template_without_system, "leaves out what the system says"),
    ("template_drops_turns", template_without_earlier_turns, "leaves out what the user says"),
    ("tokens_unknown", small_vocabulary, "token IDs that the model does not have"),
    ("beyond_context", small_context, "longer than the model's context"),
    ("odd_first_loss", spoiled_weights, "loss on the first rows is implausible"),
]
IDS = [spoil.__name__ for _, spoil, _ in SILENT]


@pytest.mark.parametrize(("name", "spoil", "what"), SILENT, ids=IDS)
def test_it_stops_before_the_first_step(
    train: Callable[..., Run], model: Path, monkeypatch: pytest.MonkeyPatch, name: str, spoil: Any, what: str
) -> None:
    rows, tables = spoil(model, monkeypatch)
    run = train(rows, model={"source": str(model), "precision": "fp32"}, **{"training": SHORT} | tables)
    failed = run.last(RunFailed)
    assert what in f"{failed.title} {failed.message}"
    assert name in failed.hint
    assert failed.message
    assert not run.all(StepLogged)


@pytest.mark.parametrize(("name", "spoil", "what"), SILENT, ids=IDS)
def test_it_goes_on_where_that_is_allowed_and_reports_it(
    train: Callable[..., Run], model: Path, monkeypatch: pytest.MonkeyPatch, name: str, spoil: Any, what: str
) -> None:
    rows, tables = spoil(model, monkeypatch)
    tables = {"training": SHORT} | tables
    tables["data"] = tables.get("data", {}) | {"allow": (name,)}
    run = train(rows, model={"source": str(model), "precision": "fp32"}, **tables)
    assert any(f"Allowed by data.allow: {name}: " in warned.message for warned in run.all(Warned))
    report = run.folder.report.read_text()
    assert f"`{name}`" in report
    assert what in report
    if name == "tokens_unknown":  # the model itself then fails on them
        assert "Stopped before" not in run.last(RunFailed).title
    else:
        assert run.last(RunFinished).step == 1


def test_padding_that_is_the_end_is_no_error_alone(train: Callable[..., Run], model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(model)
    run = train(model={"source": str(model), "precision": "fp32"}, training=SHORT)
    assert run.exit_code == 0
    assert not run.all(Warned)


def test_no_row_with_a_trained_token_is_said(train: Callable[..., Run]) -> None:
    run = train([{"prompt": "a" * 30, "completion": "b"}], training={"max_length": 12})
    assert run.last(RunFailed).title == "Nothing would be trained"


@pytest.mark.parametrize("method", ["orpo", "sft"])
def test_two_end_tokens_are_warned_of(train: Callable[..., Run], method: str) -> None:
    rows: list[dict[str, Any]] = [{"prompt": "a", "completion": "b<|im_end|><|im_end|>"}] * 2
    if method == "orpo":
        rows = [{"prompt": "a", "chosen": "b<|im_end|><|im_end|>", "rejected": "c"}] * 2
    run = train(rows, training=SHORT, method={"kind": method})
    assert run.exit_code == 0
    assert any("end with two EOS tokens" in warned.message for warned in run.all(Warned))


def test_a_named_template_serves_a_model_that_has_none(train: Callable[..., Run], model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    run = train(
        model={"source": str(model), "precision": "fp32"}, training=SHORT, data={"template": "chatml"}
    )
    assert run.exit_code == 0
    assert not run.all(Warned)
