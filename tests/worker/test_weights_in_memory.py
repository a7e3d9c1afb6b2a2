"""The estimate of the base's bytes against what bitsandbytes really holds, to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from tests.tiny_model import make_tiny_model
from tuner_tui.models.listing import look_at_model
from tuner_tui.planning.shape import shape_of
from tuner_tui.planning.states import loaded_weights
from tuner_tui.planning.workload import LoadedAs, Workload

if TYPE_CHECKING:
    from pathlib import Path


def held_bytes(folder: Path, quantisation: BitsAndBytesConfig | None) -> int:
    """Bytes of all parameters with their scales, shared ones once."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=quantisation, dtype=torch.bfloat16, device_map="cpu"
    )
    parameters: dict[int, Any] = {each.data_ptr(): each for each in model.parameters()}
    total = 0
    for each in parameters.values():
        total += each.numel() * each.element_size()
        if getattr(each, "SCB", None) is not None:
            total += each.SCB.numel() * each.SCB.element_size()
        if (state := getattr(each, "quant_state", None)) is not None:
            total += state.absmax.numel() * state.absmax.element_size()
            total += state.state2.absmax.numel() * state.state2.absmax.element_size()
    return total


def test_the_estimate_of_the_base_is_exact(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model", hidden=256, layers=3)
    facts = look_at_model(str(folder)).facts
    shape = shape_of(facts) if facts is not None else None
    assert shape is not None

    def expected(loaded_as: LoadedAs) -> int:
        return loaded_weights(shape, Workload(loaded_as=loaded_as)).total

    nf4 = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    assert held_bytes(folder, None) == expected("bf16")
    assert held_bytes(folder, BitsAndBytesConfig(load_in_8bit=True)) == expected("int8")  # type: ignore[no-untyped-call]
    assert held_bytes(folder, nf4) == expected("nf4")
