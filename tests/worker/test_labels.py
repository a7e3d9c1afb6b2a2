"""Which tokens carry the loss, compared with spans written by hand; the tiny tokenizer's tokens are single bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from transformers import AutoTokenizer

from tests.worker.runs import write_rows
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.data.rows.types import Example, Message
from tuner_tui.errors import InputError
from tuner_tui.runs.events import DataPrepared, RunFailed, Warned
from tuner_tui.worker.text.token_cache import tokenise_file
from tuner_tui.worker.text.tokens import IGNORED, TokenisedRow, tokenise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def trained_text(row: TokenisedRow, tokenizer: Any) -> str:
    """What carries loss as text, untrained stretches as `|`."""
    parts: list[str] = []
    for label in row.labels:
        if label != IGNORED:
            parts.append(tokenizer.decode([label]))
        elif not parts or parts[-1] != "|":
            parts.append("|")
    return "".join(parts)


def chat(*turns: tuple[Any, str]) -> Example:
    return Example(1, messages=tuple(Message(role, content) for role, content in turns))


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ((("user", "Hi"), ("assistant", "Yo")), "|Yo<|im_end|>|"),
        (
            (("system", "Yo"), ("user", "Yo"), ("assistant", "Yo"), ("user", "b"), ("assistant", "c d")),
            "|Yo<|im_end|>|c d<|im_end|>|",
        ),
        ((("user", "a"), ("assistant", ""), ("user", "b"), ("assistant", "c")), "|<|im_end|>|c<|im_end|>|"),
        ((("user", "a"), ("assistant", "b"), ("user", "unanswered")), "|b<|im_end|>|"),
        ((("user", "a"), ("assistant", "one <|im_end|> two")), "|one <|im_end|> two<|im_end|>|"),
    ],
)
def test_only_answers_and_their_end_carry_loss(
    tokenizer: Any, turns: tuple[tuple[Any, str], ...], expected: str
) -> None:
    [row] = tokenise(chat(*turns), tokenizer, 500, "answers")
    assert trained_text(row, tokenizer) == expected


def test_labels_stand_at_the_answers_tokens(tokenizer: Any) -> None:
    [row] = tokenise(chat(("user", "Hi"), ("assistant", "Yo")), tokenizer, 500, "answers")
    prompt = tokenizer("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    answer = tokenizer("Yo<|im_end|>")["input_ids"]
    assert row.input_ids == prompt + answer + tokenizer("\n")["input_ids"]
    assert row.labels == [IGNORED] * len(prompt) + answer + [IGNORED]


def test_several_bytes_of_one_letter_all_carry_loss(tokenizer: Any) -> None:
    [row] = tokenise(chat(("user", "ü"), ("assistant", "ü🙂")), tokenizer, 500, "answers")
    assert [label for label in row.labels if label != IGNORED] == tokenizer("ü🙂<|im_end|>")["input_ids"]


def test_loss_on_all_trains_every_token(tokenizer: Any) -> None:
    [row] = tokenise(chat(("user", "Hi"), ("assistant", "Yo")), tokenizer, 500, "all")
    assert row.labels == row.input_ids


def test_prompt_and_completion_train_the_completion_and_an_end(tokenizer: Any) -> None:
    [row] = tokenise(Example(1, prompt="2+2=", text="4"), tokenizer, 500, "answers")
    assert trained_text(row, tokenizer) == "|4<|im_end|>"
    assert tokenizer.decode(row.input_ids) == "2+2=4<|im_end|>"


def test_an_end_in_the_text_is_not_doubled(tokenizer: Any) -> None:
    [row] = tokenise(Example(1, text="abc<|im_end|>"), tokenizer, 500, "answers")
    assert tokenizer.decode(row.labels) == "abc<|im_end|>"


def test_an_end_that_the_tokenizer_adds_is_trained(tiny_model: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|im_end|>", special_tokens=[("<|im_end|>", tokenizer.eos_token_id)]
    )
    [row] = tokenise(Example(1, prompt="a", text="b"), tokenizer, 500, "answers")
    assert trained_text(row, tokenizer) == "|b<|im_end|>"


def test_a_cut_row_keeps_what_fits(tokenizer: Any) -> None:
    [row] = tokenise(Example(1, prompt="ab", text="cdef"), tokenizer, 4, "answers")
    assert (tokenizer.decode(row.input_ids), row.is_cut, row.full_length) == ("abcd", True, 7)
    assert row.trained_tokens == 2


def test_a_template_that_rewrites_earlier_turns_is_refused_unless_all_is_trained(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    example = chat(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    with pytest.raises(InputError, match="rewrites earlier turns"):
        tokenise(example, tokenizer, 500, "answers")
    assert tokenise(example, tokenizer, 500, "all")[0].trained_tokens == 4


def test_a_template_that_drops_earlier_thoughts_gives_a_row_for_each_answer(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{{ m['content'].split('</think>')[-1] if not loop.last else m['content'] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    example = chat(
        ("user", "a"), ("assistant", "<think>x</think>b"), ("user", "c"), ("assistant", "<think>y</think>d")
    )
    rows = tokenise(example, tokenizer, 500, "answers")
    assert [trained_text(row, tokenizer) for row in rows] == [
        "|<think>x</think>b<|im_end|>",
        "|<think>y</think>d<|im_end|>",
    ]
    assert "x" not in tokenizer.decode(rows[1].input_ids)


def test_a_prompt_that_opens_a_thought_is_told_from_an_answer_without_one(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template += "{% if add_generation_prompt %}<think>\n{% endif %}"
    [row] = tokenise(chat(("user", "a"), ("assistant", "b")), tokenizer, 500, "answers")
    assert trained_text(row, tokenizer) == "|b<|im_end|>|"


def test_an_answer_with_weight_zero_is_not_learnt(tokenizer: Any) -> None:
    example = chat(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    first = Message("assistant", "b", {"weight": 0})
    [row] = tokenise(
        Example(1, messages=(example.messages[0], first, *example.messages[2:])), tokenizer, 500, "answers"
    )
    assert trained_text(row, tokenizer) == "|d<|im_end|>|"


@pytest.mark.parametrize("loss_on", ["answers", "all"])
def test_a_model_without_template_is_refused_for_turns(tiny_model: Path, loss_on: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        tokenise(chat(("user", "a"), ("assistant", "b")), tokenizer, 500, loss_on)


def test_a_templates_complaint_names_file_and_line(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{{ raise_exception('no system here') }}"
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": "x"}])
    rows.write_text('\n{"question": "a", "answer": "b"}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl:2: no system here"):
        tokenise_file(Reading(rows), tokenizer, 500, "answers")


def test_cut_and_dropped_rows_are_counted_and_said(train: Callable[..., Run]) -> None:
    rows = [
        {"prompt": "a", "completion": "b"},
        {"prompt": "a" * 30, "completion": "never seen"},
        {"prompt": "a" * 4, "completion": "partly seen"},
        {"prompt": "a" * 31, "completion": "never seen"},
    ]
    run = train(
        rows,
        training={"max_length": 12, "max_steps": 1, "batch_size": 2},
        data={"allow": ("nothing_trained",)},
    )
    data = run.last(DataPrepared)
    assert (data.rows, data.dropped_rows, data.cut_rows, data.longest_row) == (2, 2, 1, 12)
    assert data.shape == "prompt_completion"
    assert (data.tokens, data.trained_tokens) == (3 + 12, 2 + 8)
    assert (
        "2 rows have no token with loss within 12 tokens and are left out (lines 2, 4)"
        in run.last(Warned).message
    )


def test_nothing_to_train_is_an_error_in_plain_words(train: Callable[..., Run]) -> None:
    run = train([{"prompt": "a" * 30, "completion": "b"}], training={"max_length": 12})
    assert run.last(RunFailed).title == "Nothing would be trained"


def test_text_is_trained_whole(train: Callable[..., Run]) -> None:
    run = train([{"text": "abc"}, {"text": "defg"}], training={"max_steps": 1, "batch_size": 2})
    assert run.last(DataPrepared).trained_tokens == 3 + 4  # the first token of each is never predicted
