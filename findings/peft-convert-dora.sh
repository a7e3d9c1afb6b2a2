#!/bin/sh
# peft 0.21.2: `convert_to_lora` takes a DoRA adapter without an error and gives an adapter of another model.
#
# Expected: the converted adapter answers as the old one, or the conversion is refused, as it is for kinds that it cannot
# express (IA3, AdaLoRA, OFT).
# Seen: DoRA's magnitudes are left out. Plain LoRA converts to 1e-6; DoRA at the full rank of the weights, where nothing has
# to be approximated, is off by more than 0.1 in the logits of a tiny model.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0 peft==0.21.2 accelerate==1.15.0
cd "$work"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import torch
from peft import LoraConfig, convert_to_lora, get_peft_model, set_peft_model_state_dict
from transformers import LlamaConfig, LlamaForCausalLM


def tiny():
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
        )
    ).eval()


tokens = torch.arange(3, 23)[None]
differences = {}
for name, more in {"LoRA": {}, "DoRA": {"use_dora": True}}.items():
    adapted = get_peft_model(tiny(), LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], **more)).eval()
    with torch.no_grad():  # stands for training
        for key, parameter in adapted.named_parameters():
            if "magnitude" in key:
                parameter.mul_(1.5)
            elif "lora_" in key:
                parameter.normal_(0, 0.3)
        before = adapted(tokens).logits
    config, weights = convert_to_lora(adapted, rank=32)  # 32 is the width of the weights: any change has this rank
    converted = get_peft_model(tiny(), config).eval()
    set_peft_model_state_dict(converted, weights)
    with torch.no_grad():
        differences[name] = (before - converted(tokens).logits).abs().max().item()
    print(f"{name}: logits differ by {differences[name]:.2g} after the conversion")
assert differences["LoRA"] < 1e-4
assert differences["DoRA"] > 0.1, "CHANGED"
PY
