"""The microscope tells the truth: what it shows of every row is what the first training step is fed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoTokenizer, Trainer

from tests.worker.kinds import KINDS, TRL_TEMPLATES, Kind, make_model
from tests.worker.microscope_cases import MICROSCOPE_CASES
from tuner_tui.data.rows.types import Example, Message
from tuner_tui.data.tokens.microscope import LookRequest, Sequence
from tuner_tui.worker.text.preview import look
from tuner_tui.worker.text.tokens import IGNORED, tokenise

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.worker.runs import Run

TALK = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yo"},
    {"role": "user", "content": "And?"},
    {"role": "assistant", "content": "Bye"},
]
ROWS: dict[str, list[dict[str, Any]]] = {
    "messages": [{"messages": TALK}, {"messages": TALK[:2]}],
    "instruction": [{"question": "Hi", "answer": "Yo"}, {"question": "What is up?", "answer": "No"}],
    "prompt_completion": [{"prompt": "Hi ", "completion": "Yo"}, {"prompt": "And? ", "completion": "Bye"}],
    "text": [{"text": "Hi Yo And? Bye"}, {"text": "No"}],
    "preference": [
        {"prompt": [TALK[0]], "chosen": [TALK[1]], "rejected": [TALK[3]]},
        {"prompt": [TALK[2]], "chosen": [TALK[3]], "rejected": [TALK[1]]},
    ],
    "rated": [
        {"prompt": [TALK[0]], "completion": [TALK[1]], "label": True},
        {"prompt": [TALK[2]], "completion": [TALK[3]], "label": False},
    ],
}
IDS = [kind.name.replace(" ", "-").replace(",", "") for kind in KINDS]
Fed = tuple[tuple[int, ...], tuple[bool, ...]]
"""A sequence's ids, and which of them carry loss."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Path]:
    made: dict[str, Path] = {}

    def model(kind: Kind) -> Path:
        if kind.name not in made:
            made[kind.name] = make_model(kind, tmp_path_factory.mktemp("kind"))
        return made[kind.name]

    return model


def spied_batch(
    train: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    rows: list[dict[str, Any]],
    prepared: list[list[int]] | None = None,
    **tables: Any,
) -> dict[str, torch.Tensor]:
    """The inputs of the first `training_step` of a real run in which every row is in one batch.

    `prepared` takes the trainer's rows as ids.
    """
    seen: list[dict[str, torch.Tensor]] = []
    real = Trainer.training_step

    def spy(self: Any, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        if not seen:
            if prepared is not None:
                prepared.extend(list(row["input_ids"]) for row in self.train_dataset)
            seen.append(
                {key: value.clone() for key, value in inputs.items() if isinstance(value, torch.Tensor)}
            )
        return real(self, model, inputs, *rest, **more)

    monkeypatch.setattr(Trainer, "training_step", spy)
    training = {"max_steps": 1, "batch_size": 16, "micro_batch": 16} | tables.pop("training", {})
    run = train(rows, training=training, **tables)
    assert run.exit_code == 0, run.events[-1]
    return seen[0]


def fed_of(batch: dict[str, torch.Tensor]) -> list[Fed]:
    """Every sequence of a batch without its padding, whatever the method calls its columns."""
    if "chosen_input_ids" in batch:
        sides = [
            {key: batch[f"{side}_{key}"] for key in ("input_ids", "attention_mask", "labels")}
            for side in ("chosen", "rejected")
        ]
        return sorted(fed for side in sides for fed in fed_of(side))
    found = []
    for index, ids in enumerate(batch["input_ids"]):
        for begin, end in _stretches(batch, index):
            if "completion_mask" in batch:
                loss = batch["completion_mask"][index, begin:end].bool().tolist()
            elif "labels" in batch:
                loss = (batch["labels"][index, begin:end] != IGNORED).tolist()
                loss[0] = False  # never predicted
            else:
                loss = [False] * (end - begin)
            found.append((tuple(ids[begin:end].tolist()), tuple(loss)))
    return sorted(found)


def _stretches(batch: dict[str, torch.Tensor], index: int) -> list[tuple[int, int]]:
    """Where the sequences of one line of a batch begin and end; several where they are packed."""
    length = batch["input_ids"].shape[1]
    if "position_ids" in batch:
        begins = [n for n, position in enumerate(batch["position_ids"][index].tolist()) if position == 0]
        return list(zip(begins, [*begins[1:], length], strict=True))
    return [(0, int(batch["attention_mask"][index].sum()))]


def shown_of(path: Path, model: Path, rows: int, **how: Any) -> list[Sequence]:
    """What the microscope shows of every row."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    found: list[Sequence] = []
    for row in range(1, rows + 1):
        request = LookRequest(path=str(path), row=row, model_kind="folder", model_location=str(model), **how)
        found += look(request, tokenizer).sequences
    return found


def as_fed(sequences: list[Sequence]) -> list[Fed]:
    return sorted(
        (tuple(token.id for token in each.fed), tuple(token.loss for token in each.fed))
        for each in sequences
        if not each.is_dropped
    )


CASES = list(MICROSCOPE_CASES)
QUICK = [(KINDS[0], case) for case in CASES[:2] + CASES[6:9]] + [
    (kind, CASES[(n * 5) % len(CASES)]) for n, kind in enumerate(KINDS[1:], 1)
]
EVERY = [
    pytest.param(kind, case, id=f"{IDS[KINDS.index(kind)]}-{'-'.join(part for part in case if part)}",
                 marks=[] if (kind, case) in QUICK else [pytest.mark.slow])
    for kind in KINDS
    for case in CASES
]  # fmt: skip


@pytest.mark.parametrize(("kind", "case"), EVERY)
def test_what_is_shown_is_what_is_fed(
    train: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    models: Callable[[Kind], Path],
    tmp_path: Path,
    kind: Kind,
    case: tuple[str, str, str],
) -> None:
    method, shape, loss_on = case
    rows = ROWS[shape]
    table = {"kind": method} | ({"loss_on": loss_on} if loss_on else {})
    folder = models(kind)
    batch = spied_batch(
        train, monkeypatch, rows, model={"source": str(folder), "precision": "fp32"}, method=table
    )
    how = {"loss_on": loss_on} if loss_on else {}
    shown = shown_of(tmp_path / "rows.jsonl", folder, len(rows), method=method, max_length=256, **how)
    assert as_fed(shown) == fed_of(batch)


@pytest.mark.parametrize("loss_on", ["answers", "all"])
def test_packed_rows_are_shown_as_they_are_joined(
    train: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    models: Callable[[Kind], Path],
    tmp_path: Path,
    loss_on: str,
) -> None:
    folder = models(KINDS[0])
    rows = ROWS["messages"] * 3
    packed: list[list[int]] = []
    batch = spied_batch(
        train,
        monkeypatch,
        rows,
        packed,
        model={"source": str(folder), "precision": "fp32"},
        method={"kind": "sft", "packing": True, "loss_on": loss_on},
        training={"max_length": 160},
    )
    shown = shown_of(
        tmp_path / "rows.jsonl", folder, len(rows), packing=True, loss_on=loss_on, max_length=160
    )
    parts: dict[str, list[Fed]] = {}
    for sequence in shown:
        places = sorted({token.row for token in sequence.tokens})
        tokens = [[token for token in sequence.tokens if token.row == place] for place in places]
        parts[sequence.title] = [
            (tuple(token.id for token in row), tuple(token.loss for token in row)) for row in tokens
        ]
    assert sorted(part for sequence in parts.values() for part in sequence) == fed_of(batch)
    assert max(map(len, parts.values())) > 1
    joined = {sequence.title: [token.id for token in sequence.tokens] for sequence in shown}
    assert sorted(joined.values()) == sorted(packed)


@pytest.mark.parametrize(
    ("method", "shape"), [("sft", "messages"), ("dpo", "preference"), ("reward", "preference")]
)
def test_rows_that_the_trainer_never_sees_are_shown_as_dropped(
    train: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    models: Callable[[Kind], Path],
    tmp_path: Path,
    method: str,
    shape: str,
) -> None:
    long = json.loads(json.dumps(ROWS[shape][0]).replace("Hi", "Hi " * 60))
    rows = [*ROWS[shape], long]
    folder = models(KINDS[0])
    batch = spied_batch(
        train,
        monkeypatch,
        rows,
        model={"source": str(folder), "precision": "fp32"},
        method={"kind": method},
        training={"max_length": 120},
        data={"allow": ("nothing_trained",)},
    )
    shown = shown_of(tmp_path / "rows.jsonl", folder, 3, method=method, max_length=120)
    assert as_fed(shown) == fed_of(batch)
    assert [sequence.is_dropped for sequence in shown][-1]
    assert not shown[0].is_dropped


def learnt_text(labels: list[int], tokenizer: Any) -> str:
    """What carries loss as text, and `|` for each stretch that does not."""
    text = "|".join(["", *parts_of(labels, tokenizer)])
    return text if labels[-1] != IGNORED else f"{text}|"


def talk() -> Example:
    return Example(1, messages=tuple(Message(turn["role"], turn["content"]) for turn in TALK))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_the_answers_stand_where_they_were_marked_by_hand(models: Callable[[Kind], Path], kind: Kind) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models(kind))
    rows = tokenise(talk(), tokenizer, 500, "answers")
    learnt = [learnt_text(row.labels, tokenizer) for row in rows]
    assert learnt == [expected.format(end=kind.end) for expected in kind.learnt]


TRAINING_TEMPLATES = sorted(path.name for path in TRL_TEMPLATES.glob("*_training.jinja"))


@pytest.mark.parametrize("name", TRAINING_TEMPLATES)
def test_the_mask_is_trls_where_its_template_marks_answers(tiny_model: Path, name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (TRL_TEMPLATES / name).read_text()
    tokenizer.bos_token = "<|im_start|>"
    turns = [message.turn for message in talk().messages]
    try:
        marked: Any = tokenizer.apply_chat_template(
            turns, return_assistant_tokens_mask=True, return_dict=True
        )
    except Exception as error:  # templates for pictures take other turns
        pytest.skip(f"the template refuses plain turns: {error}")
    rows = tokenise(talk(), tokenizer, 4000, "answers")
    if len(rows) > 1:
        pytest.skip("it rewrites earlier turns, so that each answer is a row")
    [row] = rows
    assert row.input_ids == marked["input_ids"]
    theirs = [
        label if is_marked else IGNORED
        for label, is_marked in zip(row.input_ids, marked["assistant_masks"], strict=True)
    ]
    bare, asks = (
        str(tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=asks_for_answer))
        for asks_for_answer in (False, True)
    )
    ours_said, theirs_said = (parts_of(labels, tokenizer) for labels in (row.labels, theirs))
    assert len(ours_said) == len(theirs_said) == 2
    for own, other in zip(ours_said, theirs_said, strict=True):
        before, found, after = other.partition(own.rstrip())
        assert found
        assert before in asks.removeprefix(
            bare
        )  # words that ask for the answer, which a model is given, not asked for
        assert not after.strip()


def parts_of(labels: list[int], tokenizer: Any) -> list[str]:
    """Each stretch that carries loss, as text."""
    parts: list[list[int]] = [[]]
    for label in labels:
        if label != IGNORED:
            parts[-1].append(label)
        elif parts[-1]:
            parts.append([])
    return [tokenizer.decode(part) for part in parts if part]
