"""What is refused or told before a run: rows that the check calls an error, too few rows, and a run that takes days."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.unit.test_planner import MODELS
from tuner_tui.cli.train import train
from tuner_tui.config.spec import RunSpec
from tuner_tui.data.own_data import own_data_options
from tuner_tui.data.recognition.reading import evaluation_reading, training_reading
from tuner_tui.data.rows.for_method import read_for
from tuner_tui.errors import InputError
from tuner_tui.keeper.launch import check_data
from tuner_tui.planning.enough_rows import held_out_of, part_batch, too_few_rows
from tuner_tui.planning.place import Rows
from tuner_tui.planning.run_time import Outlook, outlook_of
from tuner_tui.planning.shape import shape_of
from tuner_tui.planning.speed import active_parameters, operations_per_token, rough_seconds
from tuner_tui.planning.workload import Workload
from tuner_tui.text import duration_range
from tuner_tui.ui.data_looks import look_at_training

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWERED = [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(12)]
PAIRS = [{"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "No."} for n in range(12)]


def spec_of(rows: Sequence[dict[str, Any]], folder: Path, **tables: Any) -> RunSpec:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": str(file), **tables.pop("data", {})}
    return RunSpec.model_validate({"model": {"source": "x/y"}, "data": data, **tables})


# Rows that the check calls an error ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fix"),
    [("empty answers", "drop_empty"), ("rows that are also in the evaluation data", "drop_leaked")],
)
def test_an_error_of_the_check_is_refused_in_review_and_by_train(
    tmp_path: Path, tiny_model: Path, kind: str, fix: str
) -> None:
    """Both can be read and rendered, so that training would take them."""
    is_empty = kind == "empty answers"
    last = {"question": "Why?", "answer": " " if is_empty else "So."}
    (tmp_path / "held.jsonl").write_text(json.dumps({"question": "Why?", "answer": "So."}) + "\n")
    data = {} if is_empty else {"evaluation": str(tmp_path / "held.jsonl")}
    spec = spec_of([*ANSWERED, last], tmp_path, data=data)
    problem = look_at_training(spec).problem
    assert problem is not None
    assert kind in problem.title
    assert "1 row (13)" in problem.message
    assert fix in problem.hint
    fixed = spec.model_copy(update={"data": spec.data.model_copy(update={"fixes": (fix,)})})
    assert look_at_training(fixed).problem is None
    for fixes in ([], [fix]):
        more = "" if is_empty else 'evaluation = "held.jsonl"\n'
        (tmp_path / "run.toml").write_text(
            f'[model]\nsource = "{tiny_model}"\n[data]\ntrain = "rows.jsonl"\nfixes = {json.dumps(fixes)}\n{more}'
        )
        outcome = CliRunner().invoke(train, [str(tmp_path / "run.toml"), "--check"])
        assert (outcome.exit_code == 0) is bool(fixes), outcome.output
        if not fixes:
            assert kind in str(outcome.exception)


# Too few rows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "share", "method", "key"),
    [
        (1, 0.1, "dpo", "data.evaluation_share"),
        (1, 0.0, "dpo", None),
        (2, 0.5, "dpo", None),
        (2, 0.5, "kto", "data.train"),
        (1, 0.0, "kto", "data.train"),
        (3, 0.1, "kto", None),
    ],
)
def test_too_few_rows_are_refused_with_the_option(
    tmp_path: Path, rows: int, share: float, method: str, key: str | None
) -> None:
    spec = spec_of(PAIRS, tmp_path, data={"evaluation_share": share}, method={"kind": method})
    few = too_few_rows(spec, rows)
    assert (few.key if few else None) == key


def test_a_batch_that_is_never_full_is_told(tmp_path: Path) -> None:
    spec = spec_of(PAIRS, tmp_path, data={"evaluation_share": 0.5}, training={"batch_size": 8})
    assert held_out_of(spec, 12) == 6
    assert "fewer rows to train on (6) than a batch takes (8)" in part_batch(spec, 12)
    assert part_batch(spec, 16) == ""


def test_train_refuses_a_share_of_one_pair(tmp_path: Path, tiny_model: Path) -> None:
    spec_of(PAIRS[:1], tmp_path)
    (tmp_path / "run.toml").write_text(
        f'[model]\nsource = "{tiny_model}"\n[data]\ntrain = "rows.jsonl"\nevaluation_share = 0.1\n'
        '[method]\nkind = "dpo"\n'
    )
    outcome = CliRunner().invoke(train, [str(tmp_path / "run.toml"), "--check"])
    assert outcome.exit_code != 0
    assert "Too few rows to hold any out" in str(outcome.exception)


# Time by arithmetic ------------------------------------------------------------------------------------------


def test_operations_of_full_tuning_are_six_per_parameter_and_token() -> None:
    load = Workload(tuning="full", checkpointing="off")
    assert operations_per_token(10, load) == 60
    assert operations_per_token(10, Workload(tuning="lora", checkpointing="off")) == 40
    assert operations_per_token(10, Workload(tuning="lora", checkpointing="on")) == 60
    assert operations_per_token(10, Workload(tuning="lora", checkpointing="off", method="dpo")) == 60


def test_an_8b_model_on_two_cores_takes_days_and_says_so(tmp_path: Path) -> None:
    """1,000 rows of 500 tokens, one epoch, LoRA without checkpointing: 1.5e16 operations at 8 to 160 GFLOP/s."""
    shape = shape_of(MODELS["8B"])
    assert shape is not None
    spec = spec_of(ANSWERED, tmp_path, training={"epochs": 1, "batch_size": 8, "max_length": 1024})
    load = Workload(rows=1, length=500, tuning="lora", checkpointing="off", is_gpu=False)
    rows = Rows(longest=500, count=1000, sample=(500,) * 10)
    rough = rough_seconds(spec, load, shape, rows, None, cores=2)
    assert rough is not None
    operations = 4 * active_parameters(shape) * 500 * 1000
    assert rough == pytest.approx((operations / 160e9, operations / 8e9))
    layers = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14_336)
    assert active_parameters(shape) == pytest.approx(
        layers + 4096 * 128_256, rel=0.001
    )  # a lookup computes nothing
    outlook = outlook_of(spec, load, rows, (), "llama", shape=shape)
    assert outlook.is_slow
    assert "by arithmetic" in outlook.rough_words


def test_experts_that_are_not_chosen_take_no_time() -> None:
    shape = shape_of(MODELS["8B"])
    assert shape is not None
    from dataclasses import replace

    mixture = replace(shape, experts=8, experts_per_token=2, expert_intermediate=100)
    assert active_parameters(shape) - active_parameters(mixture) == 6 * 3 * 4096 * 100 * 32


def test_rows_that_are_not_counted_in_tokens_widen_the_range(tmp_path: Path) -> None:
    shape = shape_of(MODELS["8B"])
    assert shape is not None
    spec = spec_of(ANSWERED, tmp_path, training={"epochs": 1, "max_length": 1000})
    load = Workload(tuning="lora", checkpointing="off", is_gpu=False)
    rough = rough_seconds(spec, load, shape, Rows(), 1000, cores=2)
    assert rough is not None
    assert rough[1] / rough[0] == pytest.approx(20 * 1000 / 50)
    assert rough_seconds(spec, load, shape, Rows(), None, cores=2) is None


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (9 * 86400, 90 * 86400, "9 to 90 days"),
        (1200, 10_800, "20 min to 3 h"),
        (1234 * 86400, 12_345 * 86400, "1,200 to 12,000 days"),
        (60, 61, "60 to 61 s"),
        (500, 500, "about 8 min"),
    ],
)
def test_ranges_are_rough(low: float, high: float, words: str) -> None:
    assert duration_range(low, high) == words


def test_measured_and_very_short_times_have_no_rough_words() -> None:
    assert Outlook(seconds=5.0, rough=(100.0, 1000.0), where="a GPU").rough_words == ""
    assert Outlook(rough=(1.0, 10.0), where="a GPU").rough_words == ""
    assert (
        Outlook(rough=(100.0, 1000.0), where="a GPU").rough_words == "100 s to 17 min on a GPU, by arithmetic"
    )


# Defaults for rows of one's own --------------------------------------------------------------------------------


def test_sample_prompts_come_from_rows_that_are_held_out(tmp_path: Path) -> None:
    spec = spec_of([{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(200)], tmp_path)
    options = own_data_options(spec)
    assert options["data.evaluation_share"] == "0.1"
    assert options["data.hold_out_by"] == "prompt"
    held = spec.data.model_copy(update={"evaluation_share": 0.1, "hold_out_by": "prompt"})
    reading = evaluation_reading(held)
    assert reading is not None
    held_rows = [row.messages[0].content for row in read_for("sft", reading)[1]]  # type: ignore[union-attr]
    kept_rows = [row.messages[0].content for row in read_for("sft", training_reading(held))[1]]  # type: ignore[union-attr]
    prompts = options["samples.prompts"].split("\n")
    assert len(prompts) == 3
    assert set(prompts) <= set(held_rows)
    assert not set(prompts) & set(kept_rows)
    assert 10 <= len(held_rows) <= 32


@pytest.mark.parametrize(
    ("count", "tables"),
    [(12, {}), (200, {"data": {"evaluation_share": 0.2}})],
)
def test_few_rows_and_what_is_set_stay(tmp_path: Path, count: int, tables: dict[str, Any]) -> None:
    rows = [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(count)]
    assert own_data_options(spec_of(rows, tmp_path, **tables)) == {}


def test_a_reward_model_gets_no_prompts_since_it_answers_none(tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "No."} for n in range(200)]
    options = own_data_options(spec_of(rows, tmp_path, method={"kind": "reward"}))
    assert set(options) == {"data.evaluation_share", "data.hold_out_by"}


def test_a_share_of_the_prompts_that_holds_none_out_is_named_before_the_start(tmp_path: Path) -> None:
    rows = [{"question": f"What is {n}?", "answer": "It is so."} for n in range(200)]
    share = {"evaluation_share": 0.1, "hold_out_by": "prompt"}
    all_of_them = spec_of(rows, tmp_path, data=share)
    kept = [row.messages[0].content for row in read_for("sft", training_reading(all_of_them.data))[1]]  # type: ignore[union-attr]
    held = next(row for row in rows if row["question"] not in kept)
    rows = [row for row in rows if row["question"] in kept][:30]
    spec = spec_of(rows, tmp_path, data=share)
    look = look_at_training(spec)
    assert look.problem is not None
    assert look.problem.title == "No rows for evaluation"
    with pytest.raises(InputError, match=r"data\.evaluation_share = 0\.1 holds out prompts"):
        check_data(spec)
    spec = spec_of([*rows, held], tmp_path, data=share)
    assert look_at_training(spec).problem is None
    assert check_data(spec) == 30
    with pytest.raises(InputError, match="No rows for training"):
        check_data(spec_of([held], tmp_path, data=share))
