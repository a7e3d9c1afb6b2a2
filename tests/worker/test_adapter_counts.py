"""Adapters are counted where PEFT puts them, also where files and modules have other names, on tiny random models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import get_peft_model
from transformers import AutoConfig

from tests.tiny_architectures import save_tiny
from tests.unit.test_planner import spec
from tuner_tui.config.tunings.lora import LoraTuning
from tuner_tui.models.facts import read_facts
from tuner_tui.models.source import find_source
from tuner_tui.planning.place import Place, workload_of
from tuner_tui.planning.shape import shape_of
from tuner_tui.planning.states import trained_numbers
from tuner_tui.worker.model.classes import language_model_class
from tuner_tui.worker.model.tuning import peft_config

if TYPE_CHECKING:
    from pathlib import Path

QUICK = ("hrm_text", "fuyu", "glm4v_moe")
"""Fused matrices in the files, an image part without settings of its own, a mixture of experts with a tower."""
OTHERS = (
    "bailing_hybrid", "cosmos3_omni", "gemma4_text", "got_ocr2", "inkling2", "minimax_m3_vl", "mistral_large4",
    "paddleocr_vl", "qianfan_ocr", "qwen3_asr",
)  # fmt: skip


def counted_and_adapted(kind: str, targets: Any, tmp_path: Path, tiny_model: Path) -> tuple[int, int]:
    """Trained parameters as the estimate counts them, and as PEFT has them."""
    folder = save_tiny(kind, tmp_path / kind, tiny_model)
    facts = read_facts(find_source(str(folder)))
    shape = shape_of(facts)
    assert shape is not None
    asked = spec(tuning=LoraTuning(targets=targets))
    model = language_model_class(AutoConfig.from_pretrained(folder)).from_pretrained(
        folder, dtype=torch.float32
    )
    adapter: Any = peft_config(asked, model)
    tuned: Any = get_peft_model(model, adapter)
    trained = sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)
    return trained_numbers(shape, workload_of(asked, Place())), trained


@pytest.mark.parametrize("targets", ["all-linear", "attention"])
@pytest.mark.parametrize("kind", [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)])
def test_adapters_are_counted_where_peft_puts_them(
    kind: str, targets: str, tmp_path: Path, tiny_model: Path
) -> None:
    counted, trained = counted_and_adapted(kind, targets, tmp_path, tiny_model)
    assert counted == trained > 0


def test_a_router_that_is_named_gets_an_adapter_beside_a_tower(tmp_path: Path, tiny_model: Path) -> None:
    targets = ("gate", "gate_proj", "up_proj", "down_proj")
    counted, trained = counted_and_adapted("glm4v_moe", targets, tmp_path, tiny_model)
    without = counted_and_adapted("glm4v_moe", targets[1:], tmp_path, tiny_model)
    assert counted == trained > without[0] == without[1]
