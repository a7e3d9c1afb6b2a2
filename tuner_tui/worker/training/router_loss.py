"""Whether TRL's auxiliary router loss can be computed for a mixture of experts."""

from __future__ import annotations

import logging
from typing import Any

import torch
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from tuner_tui.worker.model.reached import text_probe

_log = logging.getLogger(__name__)


def router_loss_fits(model: Any) -> bool:
    """Whether TRL's trainers can compute the loss that they add by default where a configuration names a coefficient.

    They take the experts' number from names that not every configuration has (Granite's), and router logits in a form
    that not every model gives; the first step would fail. A few tokens are run through the model to find out.
    """
    text = model.config.get_text_config()
    if not hasattr(text, "output_router_logits") or not getattr(text, "router_aux_loss_coef", 0.0):
        return True
    was_training = model.training
    model.eval()
    try:
        ids = text_probe(model)
        mask = torch.ones_like(ids)
        with torch.no_grad(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            given = model.base_model(
                input_ids=ids, attention_mask=mask, use_cache=False, output_router_logits=True
            )
            loss = load_balancing_loss_func(
                given.router_logits, text.num_experts, text.num_experts_per_tok, mask
            )
        return isinstance(loss, torch.Tensor) and bool(torch.isfinite(loss))
    except Exception as error:  # whatever a model's own code raises, the trainer would meet it in each step
        _log.warning("no auxiliary router loss: %s", error)
        return False
    finally:
        model.train(was_training)
