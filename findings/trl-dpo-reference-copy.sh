#!/bin/sh
# trl 1.16.0 with peft 0.21.2: a DPO run that starts from an IA3, VeRA or token-row adapter has a wrong reference.
#
# Expected: DPOTrainer copies the starting adapter as a frozen reference, so before the first update policy and reference
# are equal and the sigmoid loss is ln 2 = 0.6931 whatever beta is.
# Seen: the copy is made by names that contain ".default." with a dot after it. Weights whose name ends in ".default"
# (IA3's and VeRA's vectors, LoRA's trained token rows) are left at their initial value in the reference, so the first loss
# is off; with plain LoRA it is exact. The run trains against a model that nobody chose, without a warning.
# Way round: copy and compare all tensors of the two adapters, and stop when the first loss is not ln 2.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0 trl==1.16.0 peft==0.21.2 accelerate==1.15.0 datasets==5.2.0
cd "$work"
HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 venv/bin/python - <<'PY'
import contextlib
import io
import math
import warnings

import torch
from datasets import Dataset, disable_progress_bars
from peft import IA3Config, LoraConfig, VeraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

warnings.simplefilter("ignore")
disable_progress_bars()
words = ["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(60))]
raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
)
rows = Dataset.from_list(
    [{"prompt": f"w{i} w{i + 1}", "chosen": f" w{i + 2} w{i + 3}", "rejected": f" w{i + 9} w{i + 7}"} for i in range(8)]
)
adapters = {
    "LoRA": LoraConfig(target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    "IA3": IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    ),
    "VeRA": VeraConfig(target_modules=["q_proj", "v_proj"], r=8, task_type="CAUSAL_LM"),
    "LoRA with token rows": LoraConfig(
        target_modules=["q_proj"], trainable_token_indices=[5, 6, 7, 8, 9, 10], task_type="CAUSAL_LM"
    ),
}
losses = {}
for name, config in adapters.items():
    torch.manual_seed(0)
    base = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
        )
    )
    policy = get_peft_model(base, config)
    with torch.no_grad():  # stands for an earlier training run
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.5)
    arguments = DPOConfig(
        "out", per_device_train_batch_size=8, max_steps=1, learning_rate=0.0, beta=1.0, logging_steps=1,
        report_to=[], use_cpu=True, disable_tqdm=True,
    )
    trainer = DPOTrainer(policy, args=arguments, train_dataset=rows, processing_class=tokenizer)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    losses[name] = trainer.state.log_history[0]["loss"]
    print(f"{name}: first loss {losses[name]:.4f}, ln 2 is {math.log(2):.4f}")
assert abs(losses.pop("LoRA") - math.log(2)) < 1e-4
assert all(abs(loss - math.log(2)) > 1e-3 for loss in losses.values()), "CHANGED"
PY
