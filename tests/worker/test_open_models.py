"""The shipped table of models against transformers: each entry's sizes make a model with as many parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tuner_tui.models.open_models import read_open_models
from tuner_tui.planning.shape import shape_of


@pytest.mark.parametrize("model", read_open_models().models, ids=lambda model: model.name.rpartition("/")[2])
def test_the_parameters_are_those_of_transformers(model: Any) -> None:
    sizes = {key: value for key, value in model.config.items() if key != "model_type"}
    if sizes["vocab_size"] < 60_000:
        sizes["pad_token_id"] = 0  # the default of some classes is beyond a small vocabulary
    with torch.device("meta"):
        config = AutoConfig.for_model(model.config["model_type"], **sizes)
        made = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    assert sum(each.numel() for each in made.parameters()) == model.parameters
    shape = shape_of(model.facts)
    assert shape is not None and shape.is_known
    assert shape.weights.total == pytest.approx(model.parameters, rel=1e-3)
