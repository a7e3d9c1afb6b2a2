"""Each precision trains, saves, and is loaded again by bare PEFT or transformers to the very same model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
)

from tuner_tui.runs.events import AdapterSaved, ModelLoaded, RunFailed, RunFinished
from tuner_tui.worker.device.machine import cpu_has_fast_bf16
from tuner_tui.worker.model.loading import keep_trainable
from tuner_tui.worker.training import result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

PROBE = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
SHORT = torch.bfloat16 if cpu_has_fast_bf16() else torch.float32
"""What quantised bases compute in on this CPU."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": SHORT, "nf4": SHORT}


def load_bare(
    folder: Path,
    precision: str,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    has_head: bool = False,
) -> Any:
    """The base as a person without tuner-tui would load it."""
    dtype = dtype or DTYPES[precision]
    quantisation = {
        "int8": lambda: BitsAndBytesConfig(load_in_8bit=True),  # type: ignore[no-untyped-call]
        "nf4": lambda: BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
    }.get(precision)
    options = {"quantization_config": quantisation()} if quantisation else {}
    kind, extra = (
        (AutoModelForSequenceClassification, {"num_labels": 1}) if has_head else (AutoModelForCausalLM, {})
    )
    model = kind.from_pretrained(folder, dtype=dtype, device_map={"": device}, **options, **extra)
    keep_trainable(
        model
    )  # repacked for a CPU's inference it computes a little differently, and not at this width
    return model


def logits_of(model: Any, tokenizer: Any) -> torch.Tensor:
    """What the model itself computes, without the trainer's wrapping of `forward`.

    A head that is held in fp32 beside a 16-bit base meets its input in mixed precision, as in training.
    """
    model.eval()
    has_head = any(name.endswith("score") for name, _ in model.named_modules())
    is_mixed = has_head and model.dtype != torch.float32
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=is_mixed):
        encoded = tokenizer(PROBE, return_tensors="pt").to(model.device)
        logits: torch.Tensor = type(model).forward(model, **encoded).logits
    return logits.float().cpu()


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.fixture
def trained_logits(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Gets the logits of each model just before it is saved."""
    seen: list[torch.Tensor] = []
    save = result.save

    def save_and_tell(job: Any, model: Any, tokenizer: Any) -> None:
        seen.append(logits_of(model, tokenizer))
        save(job, model, tokenizer)

    monkeypatch.setattr(result, "save", save_and_tell)
    return seen


def check_lora(
    run: Run,
    base: Path,
    precision: str,
    expected: torch.Tensor,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
) -> None:
    """The loss fell, every adapter weight was trained in fp32, and a reload computes the same."""
    assert run.last(RunFinished).reason == "complete"
    losses = [loss for loss in run.losses if loss is not None]
    assert losses[-1] < losses[0] - 0.02, losses
    adapter = tensors_of(run.folder.adapter / "adapter_model.safetensors")
    early = tensors_of(run.folder.checkpoints / "step-000001" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in adapter.values()} == {torch.float32}
    unchanged = [name for name in adapter if torch.equal(adapter[name], early[name])]
    assert not unchanged, unchanged
    tokenizer = AutoTokenizer.from_pretrained(base)
    bare = load_bare(base, precision, device, dtype)
    untuned = logits_of(bare, tokenizer)
    tuned = logits_of(PeftModel.from_pretrained(bare, str(run.folder.adapter)), tokenizer)
    assert (tuned - expected).abs().max() == 0
    assert (tuned - untuned).abs().max() > 1e-2
    assert run.last(AdapterSaved).size_bytes < 20_000_000


EVERY_STEP = {"every_steps": 1, "keep": 100}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "nf4"])
def test_lora_trains_and_reloads(
    train: Callable[..., Run], tiny_model: Path, trained_logits: list[torch.Tensor], precision: str
) -> None:
    run = train(model={"precision": precision}, training={"max_steps": 6}, checkpoints=EVERY_STEP)
    assert run.last(ModelLoaded).precision == precision
    check_lora(run, tiny_model, precision, trained_logits[0])


@pytest.mark.parametrize(
    ("precision", "options"),
    [
        ("fp32", {"dora": True}),
        ("nf4", {"dora": True}),
        ("fp32", {"rslora": True}),
        ("fp32", {"targets": ["q_proj", "down_proj"]}),
        ("fp32", {"targets": "attention"}),
    ],
)
def test_kinds_of_lora_train_and_reload(
    train: Callable[..., Run],
    tiny_model: Path,
    trained_logits: list[torch.Tensor],
    precision: str,
    options: dict[str, Any],
) -> None:
    run = train(
        model={"precision": precision}, tuning=options, training={"max_steps": 8}, checkpoints=EVERY_STEP
    )
    check_lora(run, tiny_model, precision, trained_logits[0])
    modules = {
        name.split(".")[-3] if "lora_A" in name or "lora_B" in name else name.split(".")[-2]
        for name in tensors_of(run.folder.adapter / "adapter_model.safetensors")
    }
    if options.get("targets") == "attention":
        assert modules == {"q_proj", "k_proj", "v_proj", "o_proj"}
    elif "targets" in options:
        assert modules == set(options["targets"])
    else:
        assert "lm_head" not in modules and {"q_proj", "up_proj"} <= modules


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_full_tuning_saves_a_whole_model_in_the_precision_asked(
    train: Callable[..., Run],
    tiny_model: Path,
    tmp_path: Path,
    trained_logits: list[torch.Tensor],
    precision: str,
) -> None:
    run = train(model={"precision": precision}, full=True, training={"max_steps": 6})
    losses = [loss for loss in run.losses if loss is not None]
    assert losses[-1] < losses[0] - 0.3
    loaded = run.last(ModelLoaded)
    assert loaded.parameters == loaded.trainable_parameters
    tokenizer = AutoTokenizer.from_pretrained(run.folder.adapter)
    reloaded = AutoModelForCausalLM.from_pretrained(run.folder.adapter)
    assert reloaded.dtype == DTYPES[precision]
    assert (logits_of(reloaded, tokenizer) - trained_logits[0]).abs().max() == 0
    before = load_bare(tiny_model, precision).state_dict()
    assert not [name for name, tensor in reloaded.state_dict().items() if torch.equal(tensor, before[name])]


def test_fp16_is_refused_on_a_cpu(train: Callable[..., Run]) -> None:
    # The spec's rules refuse device = "cpu" with fp16; "auto" is found out by the worker.
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, where fp16 trains")
    run = train(model={"precision": "fp16"}, machine={"device": "auto"})
    assert run.exit_code == 1
    assert "fp16" in run.last(RunFailed).title
    assert not run.folder.adapter.exists()
