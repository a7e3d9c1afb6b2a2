"""Runs that start from other people's adapters: the policy is the model they trained, the reference a whole copy of it,
and the base is left as it is; what cannot be so is refused."""

from __future__ import annotations

import json
import math
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import IA3Config, PeftModel, VeraConfig, get_peft_model
from peft.utils import set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from trl import DPOTrainer

from tests.tiny_model import make_tiny_model
from tests.worker.foreign import by_peft, load, logits_of, lora, make_adapter, trained_logits
from tests.worker.preferences import pairs, rows_for
from tests.worker.runs import stop_and_resume
from tests.worker.test_resume import adapter_bytes, curve
from tuner_tui.errors import InputError
from tuner_tui.planning.plan import read_plan
from tuner_tui.runs import lineage
from tuner_tui.runs.events import ChoicesMade, RunFailed, RunFinished, StepLogged
from tuner_tui.worker.export.updates import read_updates
from tuner_tui.worker.model import plain_lora
from tuner_tui.worker.training import reference, start_logits
from tuner_tui.worker.training.reference import adapter_state, copy_to_reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run
    from tuner_tui.runs.folder import RunFolder

LN_2 = math.log(2)
TOKENS = list(range(30, 120))
ONCE: dict[str, Any] = {"max_steps": 1, "learning_rate": 1e-12}
IA3 = {"kind": "ia3"}
START = {"dpo": LN_2, "kto": 0.5}
"""The losses while policy and reference are the same model: -log sigmoid(0), and 1 - sigmoid(0)."""


def ia3() -> IA3Config:
    targets = ["k_proj", "v_proj", "down_proj"]
    return IA3Config(task_type="CAUSAL_LM", target_modules=targets, feedforward_modules=targets[2:])


@pytest.fixture
def tied(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with one matrix for embedding and output."""
    folder = tmp_path / "tied"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder)
    return folder


def result_logits(run: Run, base: Path) -> torch.Tensor:
    """The logits of a run's result, loaded by PEFT alone."""
    return by_peft(base, run.folder.adapter)


# The base stays as it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["pissa", "olora"])
@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_an_adapter_of_a_changed_base_becomes_plain_lora(
    train: Callable[..., Run], tiny_model: Path, tmp_path: Path, init: str, method: str
) -> None:
    given = make_adapter(tiny_model, tmp_path / "given", lora(init_lora_weights=init))
    rows = None if method == "sft" else rows_for(method)
    run = train(rows, method={"kind": method}, model={"adapter": str(given)}, training=ONCE)
    assert run.last(RunFinished).step == 1, run.events[-1]
    settings = json.loads((run.folder.adapter / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["init_lora_weights"]) == (8, 16, True)
    start = read_plan(run.folder.plan).start
    assert start is not None and (start.rank, start.alpha) == (8, 16)
    values = {choice.value for event in run.all(ChoicesMade) for choice in event.choices}
    assert "plain LoRA of rank 8" in values
    # the policy is the model that was trained, as PEFT loads it, and the base is the base
    assert torch.allclose(by_peft(tiny_model, given), trained_logits(given), atol=1e-5)
    assert torch.allclose(result_logits(run, tiny_model), trained_logits(given), atol=1e-5)
    result = PeftModel.from_pretrained(load(tiny_model), str(run.folder.adapter))
    with result.disable_adapter():
        assert torch.equal(logits_of(result), logits_of(load(tiny_model)))
    if method in START:
        assert run.losses[0] == pytest.approx(START[method], abs=1e-5)


def test_a_run_from_a_converted_adapter_resumes_exactly(
    train: Callable[..., Run], make_run: Callable[..., RunFolder], tiny_model: Path, tmp_path: Path
) -> None:
    given = make_adapter(tiny_model, tmp_path / "given", lora(init_lora_weights="pissa"))
    tables = {"method": {"kind": "dpo"}, "model": {"adapter": str(given)}, "training": {"max_steps": 5}}
    whole = train(pairs(), **tables)
    resumed = stop_and_resume(make_run(pairs(), **tables), 3)
    assert curve(resumed) == curve(whole)
    assert adapter_bytes(resumed) == adapter_bytes(whole)


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_an_initial_adapter_beside_it_makes_any_of_them_plain_as_pefts_conversion_does(
    train: Callable[..., Run], tiny_model: Path, tmp_path: Path, precision: str
) -> None:
    config = lora(init_lora_weights="pissa_niter_4", use_rslora=True)
    given = make_adapter(tiny_model, tmp_path / "given", config, initial="pissa_init")
    run = train(
        pairs(), method={"kind": "dpo"}, model={"adapter": str(given), "precision": precision}, training=ONCE
    )
    assert run.last(RunFinished).step == 1, run.events[-1]
    assert torch.allclose(result_logits(run, tiny_model), trained_logits(given), atol=1e-5)
    assert run.losses[0] == pytest.approx(LN_2, abs=1e-5)
    # PEFT's own conversion of the same adapter
    theirs = get_peft_model(load(tiny_model), lora(use_rslora=True))
    names = load_file(given / "adapter_model.safetensors")
    set_peft_model_state_dict(theirs, names)
    shutil.copytree(given / "pissa_init", tmp_path / "start")
    theirs.save_pretrained(
        str(tmp_path / "converted"), path_initial_model_for_weight_conversion=str(tmp_path / "start")
    )
    expected = load_file(tmp_path / "converted" / "adapter_model.safetensors")
    plain_lora.convert(given, load(tiny_model), tmp_path)
    ours = load_file(tmp_path / "adapter_model.safetensors")
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)
    settings, theirs_settings = (
        json.loads((folder / "adapter_config.json").read_text())
        for folder in (tmp_path, tmp_path / "converted")
    )
    for key in ("r", "init_lora_weights", "use_rslora"):
        assert settings[key] == theirs_settings[key]
    assert settings["lora_alpha"] == pytest.approx(theirs_settings["lora_alpha"])


@pytest.mark.parametrize(
    ("init", "precision", "hint"),
    [
        ("pissa_niter_4", "fp32", "path_initial_model_for_weight_conversion"),
        ("corda", "fp32", "path_initial_model_for_weight_conversion"),
        ("lora_ga", "fp32", "path_initial_model_for_weight_conversion"),
        ("loftq", "fp32", "unquantised base"),
        ("pissa", "nf4", 'model.precision = "bf16"'),
        ("olora", "int8", 'model.precision = "bf16"'),
    ],
)
def test_what_cannot_be_made_plain_is_refused_before_anything_is_loaded(
    make_run: Callable[..., RunFolder], tiny_model: Path, tmp_path: Path, init: str, precision: str, hint: str
) -> None:
    given = make_adapter(tiny_model, tmp_path / "given", lora())
    settings = given / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"init_lora_weights": init}))
    with pytest.raises(InputError, match="belongs to a changed base") as caught:
        make_run(model={"adapter": str(given), "precision": precision})
    assert repr(init) in caught.value.message and hint in caught.value.hint


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_the_changed_output_layer_in_an_adapter_s_file_stays_out_of_the_base(
    train: Callable[..., Run], tiny_model: Path, tmp_path: Path, init: str
) -> None:
    """PEFT saves the output layer that an adapter is on, from which the start of the adapter is already taken out."""
    config = lora(init_lora_weights=init, target_modules=["q_proj", "lm_head"])
    given = make_adapter(tiny_model, tmp_path / "given", config)
    assert any("lm_head.base_layer" in name for name in load_file(given / "adapter_model.safetensors"))
    run = train(pairs(), method={"kind": "orpo"}, model={"adapter": str(given)}, training=ONCE)
    assert run.last(RunFinished).step == 1, run.events[-1]
    result = PeftModel.from_pretrained(load(tiny_model), str(run.folder.adapter))
    assert torch.allclose(logits_of(result), trained_logits(given), atol=1e-5)
    with result.disable_adapter():
        assert torch.equal(logits_of(result), logits_of(load(tiny_model)))


@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_an_adapter_on_the_output_layer_is_refused_where_the_loss_would_miss_it(
    make_run: Callable[..., RunFolder], tiny_model: Path, tmp_path: Path, method: str
) -> None:
    given = make_adapter(tiny_model, tmp_path / "given", lora(target_modules=["q_proj", "lm_head"]))
    with pytest.raises(InputError, match="on the output layer") as caught:
        make_run(rows_for(method), method={"kind": method}, model={"adapter": str(given)})
    assert "orpo" in caught.value.hint


def test_a_base_that_an_adapter_changes_in_another_way_stops_the_run(
    train: Callable[..., Run], tiny_model: Path, tmp_path: Path
) -> None:
    """PEFT writes the base's embedding into the file of an adapter on it, and loads it over the base's own."""
    given = make_adapter(tiny_model, tmp_path / "given", lora(target_modules=["q_proj", "embed_tokens"]))
    run = train(model={"adapter": str(given)}, training=ONCE)
    assert run.last(RunFinished).step == 1  # the same embedding
    weights = load_file(given / "adapter_model.safetensors")
    (name,) = [name for name in weights if name.endswith("embed_tokens.base_layer.weight")]
    weights[name] += 0.1
    save_file(weights, given / "adapter_model.safetensors", metadata={"format": "pt"})
    run = train(model={"adapter": str(given)}, training=ONCE)
    assert run.last(RunFailed).title == "The adapter changes its base"
    assert not run.all(StepLogged)


@pytest.mark.parametrize("changed", ["base", "policy"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "nf4"])
def test_a_model_that_building_the_trainer_changes_stops_the_run(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path, changed: str,
    precision: str,
) -> None:  # fmt: skip
    given = make_adapter(tiny_model, tmp_path / "given", lora())
    plain = DPOTrainer.__init__

    def changing(self: Any, *args: Any, **named: Any) -> None:
        plain(self, *args, **named)
        part = "norm.weight" if changed == "base" else "lora_B.default.weight"
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name.endswith(part):
                    parameter.mul_(torch.linspace(0.5, 1.5, parameter.shape[-1], dtype=parameter.dtype))

    tables: dict[str, Any] = {
        "method": {"kind": "dpo"}, "model": {"adapter": str(given), "precision": precision}, "training": ONCE,
    }  # fmt: skip
    assert train(pairs(), **tables).losses[0] == pytest.approx(LN_2, abs=1e-4)
    monkeypatch.setattr(DPOTrainer, "__init__", changing)
    if changed == "policy":  # what is known of the weights puts them back
        monkeypatch.setattr("tuner_tui.worker.training.common.tuning.put_back", lambda *_: None)
    failure = train(pairs(), **tables).last(RunFailed)
    assert failure.title == "The model has changed", failure
    assert (
        "changed the base" if changed == "base" else "adapter that the run starts from"
    ) in failure.message


# The reference is a whole copy ------------------------------------------------------------------------------


@pytest.mark.parametrize("precompute", [False, True])
@pytest.mark.parametrize("method", ["dpo", "kto"])
@pytest.mark.parametrize("kind", ["tokens", "ia3"])
def test_the_reference_is_the_adapter_that_the_run_starts_from(
    train: Callable[..., Run], tiny_model: Path, tmp_path: Path, kind: str, method: str, precompute: bool
) -> None:
    config = ia3() if kind == "ia3" else lora(trainable_token_indices=TOKENS)
    given = make_adapter(tiny_model, tmp_path / "given", config, noise=0.3)
    tuning: dict[str, Any] = {"tuning": IA3} if kind == "ia3" else {}
    run = train(
        rows_for(method), method={"kind": method, "beta": 1.0, "precompute_reference": precompute},
        model={"adapter": str(given)}, training=ONCE, **tuning,
    )  # fmt: skip
    assert run.losses == [pytest.approx(START[method], abs=1e-5)]
    rewards = {
        name: value
        for name, value in run.last(StepLogged).metrics.items()
        if name in ("rewards/chosen", "kl")
    }
    assert rewards and all(value == pytest.approx(0, abs=1e-5) for value in rewards.values())
    assert torch.allclose(result_logits(run, tiny_model), trained_logits(given), atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "int8", "nf4"])
def test_the_reference_is_whole_on_other_precisions(
    train: Callable[..., Run], tiny_model: Path, tmp_path: Path, precision: str
) -> None:
    given = make_adapter(tiny_model, tmp_path / "given", ia3(), noise=0.3)
    run = train(
        pairs(), method={"kind": "dpo"}, model={"adapter": str(given), "precision": precision}, training=ONCE,
        tuning=IA3,
    )  # fmt: skip
    assert run.losses == [pytest.approx(LN_2, abs=1e-5)]


@pytest.mark.parametrize(
    "config",
    [
        VeraConfig(r=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
        ia3(),
        lora(use_dora=True, trainable_token_indices=TOKENS),
        lora(modules_to_save=["lm_head"]),
    ],
    ids=["vera", "ia3", "tokens", "head"],
)
def test_every_tensor_of_an_adapter_is_copied(tiny_model: Path, tmp_path: Path, config: Any) -> None:
    given = make_adapter(tiny_model, tmp_path / "given", config, noise=0.3)
    model: Any = PeftModel.from_pretrained(load(tiny_model), str(given), is_trainable=True)
    expected = logits_of(model)
    model.add_adapter("ref", model.peft_config["default"])
    copy_to_reference(model, adapter_state(model))
    model.set_adapter("ref")
    assert torch.equal(logits_of(model), expected)
    assert not torch.allclose(expected, logits_of(load(tiny_model)), atol=1e-2)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_reference_that_is_another_model_stops_the_run(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path, method: str
) -> None:
    given = make_adapter(tiny_model, tmp_path / "given", ia3(), noise=0.3)
    monkeypatch.setattr(reference.WholeReference, "_complete_reference", lambda self: None)
    tables: dict[str, Any] = {
        "method": {"kind": method, "beta": 1.0}, "model": {"adapter": str(given)}, "tuning": IA3, "training": ONCE
    }  # fmt: skip
    failure = train(rows_for(method), **tables).last(RunFailed)
    assert "frozen reference" in failure.message
    monkeypatch.setattr(start_logits, "is_same", lambda *_: True)
    run = train(rows_for(method), **tables)
    failure = run.last(RunFailed)
    assert failure.title == "The reference is not the model before training"
    assert f"{START[method]:.4f} is the loss of equal models" in failure.message
    assert not run.all(StepLogged)


# What an adapter trains besides -----------------------------------------------------------------------------


def test_trained_tokens_are_continued_and_resume_exactly(
    train: Callable[..., Run], make_run: Callable[..., RunFolder], tiny_model: Path, tmp_path: Path
) -> None:
    given = make_adapter(tiny_model, tmp_path / "given", lora(trainable_token_indices=TOKENS))
    tables = {"model": {"adapter": str(given)}, "training": {"max_steps": 4}}
    whole = train(**tables)
    name = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
    before, after = (
        load_file(folder / "adapter_model.safetensors")[name] for folder in (given, whole.folder.adapter)
    )
    assert before.shape == after.shape == (len(TOKENS), 32)
    assert not torch.allclose(before, after, atol=1e-3)
    with pytest.raises(InputError, match="cannot be merged"):
        read_updates(whole.folder.adapter)
    resumed = stop_and_resume(make_run(**tables), 2)
    assert curve(resumed) == curve(whole)
    assert adapter_bytes(resumed) == adapter_bytes(whole)


def test_trained_tokens_on_tied_embeddings_are_refused_where_the_loss_would_miss_them(
    train: Callable[..., Run], make_run: Callable[..., RunFolder], tied: Path, tmp_path: Path
) -> None:
    given = make_adapter(tied, tmp_path / "given", lora(trainable_token_indices=TOKENS))
    model = {"source": str(tied), "adapter": str(given)}
    for method in ("sft", "dpo", "kto"):
        with pytest.raises(InputError, match="ties its embeddings") as caught:
            make_run(rows_for(method), method={"kind": method}, model=model)
        assert "orpo" in caught.value.hint
    run = train(pairs(), method={"kind": "orpo"}, model=model, training=ONCE)
    assert run.last(RunFinished).step == 1
    assert torch.allclose(result_logits(run, tied), trained_logits(given), atol=1e-5)


def test_trained_biases_are_continued_but_give_no_reference(
    train: Callable[..., Run], make_run: Callable[..., RunFolder], tiny_model: Path, tmp_path: Path
) -> None:
    given = make_adapter(tiny_model, tmp_path / "given", lora(bias="all"))
    assert train(model={"adapter": str(given)}, training=ONCE).last(RunFinished).step == 1
    for method in ("dpo", "kto"):
        with pytest.raises(InputError, match="trains biases") as caught:
            make_run(rows_for(method), method={"kind": method}, model={"adapter": str(given)})
        assert 'bias = "all"' in caught.value.message


@pytest.mark.parametrize(("layers", "named"), [(1, "layers.1."), (3, "layers.2.")])
def test_an_adapter_of_fewer_or_more_layers_is_refused(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path, layers: int,
    named: str,
) -> None:  # fmt: skip
    other = make_tiny_model(tmp_path / "other" / "base", layers=layers)
    given = make_adapter(other, tmp_path / "given", lora(target_modules=["q_proj", "v_proj"]))
    model = {"adapter": str(given), "adapter_base_confirmed": True}
    if layers == 3:
        with pytest.raises(InputError, match="does not fit the base"):
            train(model=model)
    monkeypatch.setattr(
        lineage, "require_shapes", lambda *_: None
    )  # as for a base that is still to be downloaded
    failure = train(model=model, training=ONCE).last(RunFailed)
    assert failure.title == "The adapter does not fit the base", failure
    assert named in failure.message


@pytest.mark.parametrize("named", [None, "C:\\models\\Qwen"])
def test_a_continued_adapter_names_the_base_that_it_was_trained_on_here(
    train: Callable[..., Run],
    make_run: Callable[..., RunFolder],
    tiny_model: Path,
    tmp_path: Path,
    named: str | None,
) -> None:
    given = make_adapter(tiny_model, tmp_path / "given", lora())
    settings = given / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"base_model_name_or_path": named}))
    with pytest.raises(InputError, match="base is not known"):
        make_run(model={"adapter": str(given)})
    run = train(model={"adapter": str(given), "adapter_base_confirmed": True}, training=ONCE)
    assert run.last(RunFinished).step == 1
    result = json.loads((run.folder.adapter / "adapter_config.json").read_text())
    assert result["base_model_name_or_path"] == str(tiny_model)
    again = train(model={"adapter": run.folder.name}, training=ONCE)  # its run knows the base by its weights
    assert again.last(RunFinished).step == 1
