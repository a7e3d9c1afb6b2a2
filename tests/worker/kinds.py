# ruff: noqa: RUF001
"""Tokenizers and chat templates that differ in kind, each with a tiny model that fits, and hand-written answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trl

from tests.tiny_model import CHAT_TEMPLATE

TRL_TEMPLATES = Path(trl.__file__).parent / "chat_templates"
SMOLLM_LIKE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "<|im_start|>system\nYou are kind.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2_LIKE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token }}[INST] "
    "{{ message['content'] }} [/INST]"
    "{% else %} {{ message['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)
PLAIN = (
    "{% for m in messages %}{{ '### ' + m['role'] + ':\n' + m['content'] }}"
    "{{ (eos_token if m['role'] == 'assistant' else '') + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Kind:
    """One way in which models differ."""

    name: str
    model: str
    """The kind of tokenizer: bytes, metaspace, unigram or words."""
    template: str
    end: str
    special: tuple[str, ...]
    begin: str | None = None
    pad: str | None = None
    learnt: tuple[str, ...] = ("|Yo{end}|Bye{end}|",)
    """What carries loss of a talk Hi/Yo/And?/Bye, `|` for what does not; one for each sequence that it becomes."""

    def file(self) -> str:
        return (
            (TRL_TEMPLATES / self.template).read_text() if self.template.endswith(".jinja") else self.template
        )


IM = ("<|im_start|>", "<|im_end|>")
KINDS = (
    Kind("chatml, bytes", "bytes", CHAT_TEMPLATE, "<|im_end|>", IM),
    Kind("default system, pad is end", "bytes", SMOLLM_LIKE, "<|im_end|>", IM, pad="<|im_end|>"),
    Kind("qwen 3, thoughts dropped", "bytes", "qwen3.jinja", "<|im_end|>", IM,
         learnt=("|<think>\n\n</think>\n\nYo{end}|", "|<think>\n\n</think>\n\nBye{end}|")),
    Kind("qwen 2.5", "bytes", "qwen2_5.jinja", "<|im_end|>", IM),
    Kind("llama 3, adds a start", "bytes", "llama3.jinja", "<|eot_id|>",
         ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|begin_of_text|>",
         learnt=("|Yo{end}|Bye{end}",)),
    Kind("gemma, metaspace", "metaspace", "gemma.jinja", "<end_of_turn>",
         ("<bos>", "<start_of_turn>", "<end_of_turn>"), "<bos>"),
    Kind("phi 3, unigram", "unigram", "phi3.jinja", "<|endoftext|>",
         ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>"),
         learnt=("|Yo<|end|>\n|Bye<|end|>\n{end}",)),
    Kind("llama 2 like, start in each turn", "metaspace", LLAMA2_LIKE, "</s>", ("<s>", "</s>"), "<s>",
         learnt=("|Yo {end}|Bye {end}",)),
    Kind("plain headings, words", "words", PLAIN, "</s>", ("</s>",), learnt=("|Yo{end}|Bye{end}|",)),
    Kind("deepseek v3", "bytes", "deepseekv3.jinja", "<｜end▁of▁sentence｜>",
         ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
         "<｜begin▁of▁sentence｜>", learnt=("|Yo{end}|Bye{end}",)),
)  # fmt: skip
TEXTS = ("Hi", "Yo", "And?", "Bye", "What is up?", "No", "Well, friend, it is 3 of them.", "kind short long")


def make_tokenizer(kind: Kind) -> Any:
    """A fast tokenizer of the kind, with its template and special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<pad>", *kind.special]
    texts = [*TEXTS, *(chr(code) for code in range(32, 127)), "user assistant system model\n\n"]
    if kind.model == "bytes":
        built = Tokenizer(models.BPE())
        built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        built.decoder = decoders.ByteLevel()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )  # fmt: skip
    elif kind.model == "metaspace":
        built = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
        built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        built.decoder = decoders.Metaspace(prepend_scheme="first")
        trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    elif kind.model == "unigram":
        built = Tokenizer(models.Unigram())
        built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
        built.decoder = decoders.Metaspace(prepend_scheme="never")
        trainer = trainers.UnigramTrainer(
            vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    else:
        built = Tokenizer(models.WordLevel(unk_token="<unk>"))
        built.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split("\n", "isolated"),
                pre_tokenizers.Split(" ", "isolated"),
                pre_tokenizers.Punctuation(),
            ]
        )
        built.decoder = decoders.Fuse()
        trainer = trainers.WordLevelTrainer(special_tokens=special, show_progress=False)
    built.train_from_iterator(texts * 3, trainer)
    if kind.begin is not None:
        number = built.token_to_id(kind.begin)
        built.post_processor = TemplateProcessing(
            single=f"{kind.begin} $A", special_tokens=[(kind.begin, number)]
        )
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=built, eos_token=kind.end, bos_token=kind.begin, unk_token="<unk>",
        pad_token=kind.pad or "<pad>", additional_special_tokens=list(kind.special), model_max_length=512,
    )  # fmt: skip
    tokenizer.chat_template = kind.file()
    return tokenizer


def make_model(kind: Kind, folder: Path) -> Path:
    """Save a tiny Llama that fits the kind's tokenizer; gives the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512,
                bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
