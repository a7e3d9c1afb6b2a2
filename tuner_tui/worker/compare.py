"""The comparison job: base and adapter loaded with plain transformers and PEFT, without code of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from peft import PeftConfig, PeftModel
from transformers import AutoConfig, AutoTokenizer

from tuner_tui import guarded
from tuner_tui.files import write_atomic
from tuner_tui.generation.compare import CompareRequest, CompareResult
from tuner_tui.models.adapter import refuse_adapter_beside, require_safetensors
from tuner_tui.worker.device.machine import inference_dtype, set_threads
from tuner_tui.worker.model.classes import language_model_class
from tuner_tui.worker.text.tokenizer_trial import require_loadable_tokenizer
from tuner_tui.worker.training.samples import generate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

BATCH = 20
"""Prompts that are answered at once. On a CPU the next tokens of 20 answers take hardly longer than those of 10."""
PERPLEXITY_WINDOW = 256


def main(request_path: Path) -> int:
    """Answer a CompareRequest; the answers are written to the file that it names."""
    set_threads()
    request = guarded.read_json(request_path, CompareRequest)
    base = PeftConfig.from_pretrained(request.adapter).base_model_name_or_path
    if base is None:
        raise ValueError(f"{request.adapter} does not name its base model")
    require_safetensors(Path(request.adapter))
    refuse_adapter_beside(Path(base))
    require_loadable_tokenizer(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = inference_dtype(device)
    loaded: Any = language_model_class(AutoConfig.from_pretrained(base)).from_pretrained(base, dtype=dtype)
    model: Any = PeftModel.from_pretrained(loaded.to(device), request.adapter).eval()
    tuned = _answers(model, tokenizer, request.prompts, request.max_new_tokens)
    tuned_perplexity = perplexity(model, tokenizer, request.text)
    with model.disable_adapter():
        answers = _answers(model, tokenizer, request.prompts, request.max_new_tokens)
        base_perplexity = perplexity(model, tokenizer, request.text)
    result = CompareResult(
        base=answers, tuned=tuned, base_perplexity=base_perplexity, tuned_perplexity=tuned_perplexity
    )
    write_atomic(Path(request.result), msgspec.json.encode(result))
    return 0


def perplexity(model: Any, tokenizer: PreTrainedTokenizerBase, text: str) -> float | None:
    """exp of the mean negative log-likelihood per token, over windows of PERPLEXITY_WINDOW tokens; None for no text."""
    ids = tokenizer(text, return_tensors="pt")["input_ids"][0].to(model.device)
    total, count = 0.0, 0
    with torch.inference_mode():
        for window in ids.split(PERPLEXITY_WINDOW):
            if len(window) < 2:
                continue
            logits = model(input_ids=window[None]).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum").item()
            count += len(window) - 1
    return float(torch.tensor(total / count).exp()) if count else None


def _answers(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], max_new_tokens: int
) -> tuple[str, ...]:
    answers: list[str] = []
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        answers += [answer for answer, _ in generate(model, tokenizer, batch, max_new_tokens)]
    return tuple(answers)
