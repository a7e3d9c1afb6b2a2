#!/bin/sh
# peft 0.21.2: `add_weighted_adapter` on an rsLoRA adapter gives another adapter, also with the single weight 1.0.
#
# Expected: a copy of one adapter at weight 1.0 answers as the adapter does; with plain LoRA it does, to the last bit.
# Seen: the combined adapter keeps `use_rslora`, and its weights hold the scaling already, so that the scaling, alpha over
# the square root of the rank in place of alpha over the rank, is applied on top: at rank 16 and alpha 16 the change is four
# times too strong. All of linear, cat, svd and ties do it; nothing warns.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0 peft==0.21.2 accelerate==1.15.0
cd "$work"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM


def changes(adapted, name):
    """What an adapter adds to the first query projection's weight."""
    layer = adapted.base_model.model.model.layers[0].self_attn.q_proj
    return layer.get_delta_weight(name)


for use_rslora in (False, True):
    for kind in ("linear", "cat", "svd", "ties"):
        torch.manual_seed(0)
        base = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=64,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=4,
                num_key_value_heads=4,
            )
        )
        config = LoraConfig(r=16, lora_alpha=16, use_rslora=use_rslora, target_modules=["q_proj", "v_proj"])
        adapted = get_peft_model(base, config)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_" in name:
                    parameter.normal_(0, 0.1)
        more = {"density": 1.0} if kind == "ties" else {}
        adapted.add_weighted_adapter(["default"], [1.0], "copy", combination_type=kind, **more)
        with torch.no_grad():
            ratio = (changes(adapted, "copy").norm() / changes(adapted, "default").norm()).item()
        print(f"rsLoRA {use_rslora}, {kind}: the copy's change is {ratio:.3f} times the adapter's")
        assert abs(ratio - (4.0 if use_rslora else 1.0)) < 1e-3, "CHANGED"
PY
