"""The card's code for loading the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.models.model_folder import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.runs.export_events import Form
    from tuner_tui.sharing.run_facts import RunFacts

TEMPLATE, SETTINGS = "chat_template.jinja", "tokenizer_config.json"
TORCH_TYPES = {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16"}


@dataclass(frozen=True)
class Usage:
    """A snippet and its language."""

    language: str
    code: str
    remark: str = ""

    def __str__(self) -> str:
        return f"## Use\n\n```{self.language}\n{self.code}```\n" + (
            f"\n{self.remark}\n" if self.remark else ""
        )


def has_template(folder: Path) -> bool:
    """Whether an exported form includes its own chat template."""
    if (folder / TEMPLATE).is_file() or (folder / "chat_template.json").is_file():
        return True
    return (folder / SETTINGS).is_file() and bool(read_json(folder / SETTINGS).get("chat_template"))


def usage(facts: RunFacts, form: Form, repo_id: str, *, is_chat: bool) -> Usage:
    """How to use a form; `is_chat`: it includes a chat template."""
    match form:
        case "adapter" if facts.gives_scores:
            return Usage("python", _reward(facts, repo_id, is_chat))
        case "adapter" if facts.model_class != "AutoModelForCausalLM":
            return Usage("python", _on_base(facts, repo_id, is_chat))
        case "adapter":
            return Usage("python", _python("peft", "AutoPeftModelForCausalLM", facts, repo_id, is_chat))
        case "merged":
            return Usage("python", _python("transformers", facts.model_class, None, repo_id, is_chat))
        case "gguf-adapter":
            code = f"hf download {repo_id} --local-dir .\nllama-cli -m BASE.gguf --lora adapter.gguf"
            code += f" --jinja --chat-template-file {TEMPLATE}\n" if is_chat else "\n"
            return Usage("sh", code, f"BASE.gguf is a GGUF of {facts.base_name}.")
        case "ollama":
            code = f"hf download {repo_id} --local-dir model\ncd model && ollama create mine -f Modelfile\n"
            return Usage("sh", code + "ollama run mine\n")
    return Usage("sh", f"llama-cli -hf {repo_id}\n")


def _python(package: str, kind: str, facts: RunFacts | None, repo_id: str, is_chat: bool) -> str:
    config, imports, options = _quantisation(facts)
    return (
        f"{'import torch' + chr(10) if config else ''}from {package} import {kind}\n"
        f"from transformers import AutoTokenizer{imports}\n\n{config}"
        f'model = {kind}.from_pretrained("{repo_id}"{options})\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{repo_id}")\n'
        f"{_ASKED if is_chat else _BEGUN}{_GENERATED}"
    )


def _on_base(facts: RunFacts, repo_id: str, is_chat: bool) -> str:
    """An adapter on a base that PEFT's own auto class does not load."""
    config, imports, options = _quantisation(facts)
    return (
        f"{'import torch' + chr(10) if config else ''}from peft import PeftModel\n"
        f"from transformers import {facts.model_class}, AutoTokenizer{imports}\n\n{config}"
        f'base = {facts.model_class}.from_pretrained("{facts.base_name}"{options})\n'
        f'model = PeftModel.from_pretrained(base, "{repo_id}")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{repo_id}")\n'
        f"{_ASKED if is_chat else _BEGUN}{_GENERATED}"
    )


def _reward(facts: RunFacts, repo_id: str, is_chat: bool) -> str:
    config, imports, options = _quantisation(facts)
    return (
        f"{'import torch' + chr(10) if config else ''}from peft import PeftModel\n"
        f"from transformers import AutoModelForSequenceClassification, AutoTokenizer{imports}\n\n{config}"
        f'tokenizer = AutoTokenizer.from_pretrained("{repo_id}")\n'
        "base = AutoModelForSequenceClassification.from_pretrained(\n"
        f'    "{facts.base_name}", num_labels=1{options}\n)\n'
        "if tokenizer.pad_token_id is None:\n    tokenizer.pad_token = tokenizer.eos_token\n"
        "base.config.pad_token_id = tokenizer.pad_token_id\n"
        f'model = PeftModel.from_pretrained(base, "{repo_id}").eval()\n'
        f"{_SCORED if is_chat else _SCORED_TEXT}"
        "print(float(model(**inputs.to(model.device)).logits))\n"
    )


def _quantisation(facts: RunFacts | None) -> tuple[str, str, str]:
    """(lines that make the configuration, what to import, what to pass) for a quantised base."""
    if facts is None or not facts.is_quantised:
        return "", "", ""
    compute = TORCH_TYPES[facts.compute]
    made = "BitsAndBytesConfig(load_in_8bit=True)"
    if facts.precision == "nf4":
        made = (
            'BitsAndBytesConfig(\n    load_in_4bit=True, bnb_4bit_quant_type="nf4", '
            f"bnb_4bit_use_double_quant=True,\n    bnb_4bit_compute_dtype={compute},\n)"
        )
    options = f", dtype={compute}, quantization_config=as_trained"
    return f"as_trained = {made}\n", ", BitsAndBytesConfig", options


_ASKED = """messages = [{"role": "user", "content": "Please tell me about yourself."}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
).to(model.device)
"""
_BEGUN = 'inputs = tokenizer("Once upon a time", return_tensors="pt").to(model.device)\n'
_GENERATED = """answer = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))
"""
_SCORED = """messages = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day."}]
inputs = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
"""
_SCORED_TEXT = 'inputs = tokenizer("Hello. Good day.", return_tensors="pt")\n'
