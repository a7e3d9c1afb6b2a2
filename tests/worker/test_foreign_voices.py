"""Other people's adapters side by side in the chat: any kinds, any batch, and a base that stays as it is."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import (
    AdaptionPromptConfig,
    IA3Config,
    LNTuningConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    VeraConfig,
)
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

from tests.worker.foreign import load, lora, make_adapter
from tuner_tui.errors import InputError
from tuner_tui.generation.messages import Base, Generate, Sampling, Turn
from tuner_tui.worker.generate.answer import Row, answer, prompt_tokens
from tuner_tui.worker.generate.model import LoadedModel
from tuner_tui.worker.model.plain_lora import as_plain

if TYPE_CHECKING:
    from pathlib import Path

GREEDY = Sampling(max_new_tokens=8, temperature=0)
SAMPLED = Sampling(max_new_tokens=12, temperature=1.0, top_p=0.9)
QUESTIONS = ("Why?", "What is the matter with all of you today?", "Who?", "Who are you, and where?")
VIRTUAL = {"num_virtual_tokens": 5, "task_type": "CAUSAL_LM"}
BEHIND_VIRTUAL_TOKENS = {
    "prompt": PromptTuningConfig(**VIRTUAL),
    "p-tuning": PromptEncoderConfig(**VIRTUAL, encoder_hidden_size=16),
    "prefix": PrefixTuningConfig(**VIRTUAL),
}
KINDS = {
    "lora": lora(),
    "ia3": IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    **BEHIND_VIRTUAL_TOKENS,
    "dora": lora(use_dora=True),
    "vera": VeraConfig(r=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    "head": lora(modules_to_save=["lm_head"]),
    "embedding": lora(target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
    "tokens": lora(trainable_token_indices=list(range(30, 120))),
    "norms": LNTuningConfig(task_type="CAUSAL_LM"),
    "pissa": lora(init_lora_weights="pissa"),
    "olora": lora(init_lora_weights="olora"),
}  # fmt: skip


@pytest.fixture(scope="module")
def lively(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with weights so large that each token of an answer depends on all before it."""
    folder = tmp_path_factory.mktemp("lively") / "base"
    model = load(tiny_model)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(0.25 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapters(lively: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: make_adapter(lively, folder / name, config, noise=0.2) for name, config in KINDS.items()}


class Counted(LoadedModel):
    """Counts how often the base is loaded."""

    loads = 0

    def _load_base(self) -> Any:
        self.loads += 1
        return super()._load_base()


@pytest.fixture
def loaded(lively: Path) -> Counted:
    return Counted(Base(source=str(lively), precision="fp32", device="cpu"))


def ask(text: str, adapter: Path | None = None, sampling: Sampling = GREEDY) -> Generate:
    voice = str(adapter) if adapter else None
    return Generate(id=text, turns=(Turn("user", text),), sampling=sampling, seed=len(text), adapter=voice)


def answers(model: LoadedModel, asked: list[Generate], *, is_alone: bool = False) -> list[list[int]]:
    """The tokens of answers that are computed as one batch."""
    rows = [Row(prompt_tokens(model, each), each.seed, lambda: False) for each in asked]
    with model.speaking_as(asked[0].adapter):
        answer(model, rows, asked[0].sampling, lambda _: None, is_alone=is_alone)
    return [row.tokens for row in rows]


def plainly(base: Path, adapter: Path | None, text: str) -> list[int]:
    """The most likely next token, again and again: no cache, no padding, by transformers and PEFT alone."""
    model: Any = load(base)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter)).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    tokens = list(prompt)
    for _ in range(GREEDY.max_new_tokens):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]
        if int(logits.argmax()) == tokenizer.eos_token_id:
            break
        tokens.append(int(logits.argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("kind", BEHIND_VIRTUAL_TOKENS)
def test_answers_behind_virtual_tokens_are_the_same_in_any_batch(
    lively: Path, adapters: dict[str, Path], loaded: Counted, kind: str
) -> None:
    voice = adapters[kind]
    expected = [plainly(lively, voice, text) for text in QUESTIONS]
    assert len(set(map(tuple, expected))) == len(QUESTIONS)
    assert answers(loaded, [ask(text, voice) for text in QUESTIONS]) == expected
    assert answers(loaded, [ask(text, voice) for text in reversed(QUESTIONS)]) == expected[::-1]
    sampled = [ask(text, voice, SAMPLED) for text in QUESTIONS]
    assert answers(loaded, sampled) == [answers(loaded, [each])[0] for each in sampled]


def test_what_is_streamed_of_rows_in_turn_is_of_all_rows(adapters: dict[str, Path], loaded: Counted) -> None:
    asked = [ask(text, adapters["prompt"]) for text in QUESTIONS]
    rows = [Row(prompt_tokens(loaded, each), 0, lambda: False) for each in asked]
    told: list[int] = []
    with loaded.speaking_as(asked[0].adapter):
        answer(loaded, rows, GREEDY, lambda rows: told.append(len(rows)), is_alone=False)
    assert set(told) == {len(QUESTIONS)}
    assert all(row.tokens for row in rows)


def test_virtual_tokens_take_room_in_the_context(adapters: dict[str, Path], loaded: Counted) -> None:
    limit = loaded.context_length
    assert limit == 512
    fitting = next(
        length
        for length in itertools.count(400)
        if len(loaded.encode((Turn("user", "x" * length),), None)) == limit - 8
    )
    long = Sampling(max_new_tokens=1000, temperature=0)
    text = "x" * fitting
    (plain,) = answers(loaded, [ask(text, adapters["lora"])])
    assert len(plain) <= 8
    with pytest.raises(InputError, match="too long"):
        prompt_tokens(loaded, ask(text, adapters["prompt"], GREEDY))
    shorter = ask("x" * (fitting - 20), adapters["prompt"], long)
    (answered,) = answers(loaded, [shorter])
    assert len(answered) <= limit - 5 - len(loaded.encode(shorter.turns, None))


def test_sides_of_any_kinds_answer_beside_each_other_and_beside_the_base(
    lively: Path, adapters: dict[str, Path], loaded: Counted
) -> None:
    text = QUESTIONS[1]
    voices: dict[str, Path | None] = {"base": None, **adapters}
    expected = {name: plainly(lively, folder, text) for name, folder in voices.items()}
    assert len(set(map(tuple, expected.values()))) == len(voices)
    beside_base = [turn for name in adapters for turn in (name, "base")]
    for turn in (*beside_base, *reversed(adapters)):
        assert answers(loaded, [ask(text, voices[turn])], is_alone=True) == [expected[turn]], turn
    assert loaded.loads == 1


def test_adapters_of_one_kind_are_read_once(
    lively: Path, loaded: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    @contextlib.contextmanager
    def counting(folder: Path, base: Any) -> Iterator[Path]:
        reads.append(folder.name)
        with as_plain(folder, base) as made:
            yield made

    monkeypatch.setattr("tuner_tui.worker.generate.model.as_plain", counting)
    two = [make_adapter(lively, tmp_path / f"given-{rank}", lora(r=rank)) for rank in (2, 3)]
    for voice in (*two, None, *two):
        answers(loaded, [ask("Why?", voice)])
    assert reads == ["given-2", "given-3"]


def test_an_adapter_that_trains_biases_leaves_the_base_its_own(tmp_path: Path, lively: Path) -> None:
    base = tmp_path / "qwen"
    config = Qwen2Config(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, eos_token_id=2, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    made: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.25 * torch.randn_like(parameter))
    made.save_pretrained(base)
    AutoTokenizer.from_pretrained(lively).save_pretrained(base)
    voices = [
        make_adapter(base, tmp_path / f"given-{bias}", lora(bias=bias, target_modules=["q_proj"]), noise=0.3)
        for bias in ("all", "lora_only", "none")
    ]
    loaded = Counted(Base(source=str(base), precision="fp32", device="cpu"))
    for voice in (None, voices[0], None, voices[1], voices[2], None, voices[0], voices[1], None):
        assert answers(loaded, [ask("Why?", voice)], is_alone=True) == [plainly(base, voice, "Why?")], voice
    assert loaded.loads == 1


def test_a_base_that_an_adapter_does_change_is_loaded_again(
    lively: Path, adapters: dict[str, Path], loaded: Counted, tmp_path: Path
) -> None:
    """PEFT has no way to take this kind off."""
    voice = make_adapter(
        lively, tmp_path / "given", AdaptionPromptConfig(adapter_len=4, adapter_layers=2, task_type="CAUSAL_LM"),
        noise=0.5,
    )  # fmt: skip
    for each in (voice, None, adapters["lora"], voice, None):
        assert answers(loaded, [ask("Why?", each)], is_alone=True) == [plainly(lively, each, "Why?")], each
    assert loaded.loads > 1


def test_on_a_quantised_base_the_part_that_was_taken_out_cannot_be_computed(
    lively: Path, adapters: dict[str, Path]
) -> None:
    loaded = Counted(Base(source=str(lively), precision="nf4", device="cpu"))
    base = answers(loaded, [ask("Why?")], is_alone=True)
    with pytest.raises(InputError, match="belongs to a changed base") as caught:
        answers(loaded, [ask("Why?", adapters["pissa"])])
    assert "bf16 or fp32" in caught.value.hint
    assert answers(loaded, [ask("Why?")], is_alone=True) == base
    assert loaded.loads == 1


@pytest.mark.parametrize("init", ["pissa_niter_4", "loftq", "corda", "lora_ga"])
def test_what_belongs_to_another_base_is_refused_and_the_others_stay(
    lively: Path, adapters: dict[str, Path], loaded: Counted, tmp_path: Path, init: str
) -> None:
    given = make_adapter(lively, tmp_path / "given", lora())
    settings = given / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"init_lora_weights": init}))
    expected = plainly(lively, adapters["lora"], "Why?")
    for _ in range(2):
        assert answers(loaded, [ask("Why?", adapters["lora"])], is_alone=True) == [expected]
        with pytest.raises(InputError, match="belongs to a changed base"):
            answers(loaded, [ask("Why?", given)])
    assert answers(loaded, [ask("Why?")], is_alone=True) == [plainly(lively, None, "Why?")]
    assert loaded.loads == 1
