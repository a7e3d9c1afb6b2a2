"""The planner: what fits is the fastest that fits, what is pinned stays, and where nothing fits there are ways out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner_tui.config.single_option import set_option
from tuner_tui.config.spec import DataSpec, FullTuning, LoraTuning, ModelSpec, RunSpec, TrainingSpec
from tuner_tui.models.facts import ModelFacts, facts_from
from tuner_tui.models.source import ModelSource
from tuner_tui.planning.layers import layer_bytes
from tuner_tui.planning.place import (
    Place,
    Rows,
    cpu_has_16_bit,
    default_micro_batch,
    with_rows,
    workload_of,
)
from tuner_tui.planning.plan import decode_plan, encode_plan, make_plan, planned
from tuner_tui.planning.planner import MemoryPlan, micro_batches, plan_memory
from tuner_tui.planning.shape import shape_of
from tuner_tui.planning.suggestions import MOST_SUGGESTIONS, Suggestion
from tuner_tui.planning.table import memory_table

GB = 10**9


def config(model_type: str, h: int, n: int, heads: int, kv: int, m: int, v: int, **more: Any) -> ModelFacts:
    return facts_from(
        {
            "model_type": model_type, "hidden_size": h, "num_hidden_layers": n, "num_attention_heads": heads,
            "num_key_value_heads": kv, "intermediate_size": m, "vocab_size": v, "tie_word_embeddings": v < 130_000,
            **more,
        },
        {},
    )  # fmt: skip


MODELS = {
    "1B": config("llama", 2048, 16, 32, 8, 8192, 128_256),
    "4B": config("qwen3", 2560, 36, 32, 8, 9728, 151_936, head_dim=128),
    "8B": config("llama", 4096, 32, 32, 8, 14_336, 128_256, tie_word_embeddings=False),
    "27B": config("gemma3_text", 5376, 62, 32, 16, 21_504, 262_208, head_dim=128),
}
CARDS = {"8": 8, "12": 12, "24": 24, "80": 80}
DATA = {"short": Rows(longest=180, count=500, sample=(90, 120, 180)), "unknown": Rows()}


def spec(**sections: Any) -> RunSpec:
    return RunSpec(model=sections.pop("model", ModelSpec(source="x")), data=DataSpec(train="y"), **sections)


def card(gigabytes: float, **more: Any) -> Place:
    return Place(True, "card", round(gigabytes * GB), round(gigabytes * GB), **more)


def plan(asked: RunSpec, model: str, place: Place, rows: Rows = Rows()) -> MemoryPlan:  # noqa: B008 - frozen
    found = plan_memory(asked, MODELS[model], place, rows)
    assert found is not None
    return found


FITTING = [
    *itertools.product(("1B",), ("8", "12", "24", "80"), DATA),
    *itertools.product(("4B",), ("12", "24", "80"), DATA),
    *itertools.product(("8B",), ("12", "24", "80"), DATA),
    *itertools.product(("27B",), ("80",), DATA),
]
"""(model, card, data) of which something fits."""


@pytest.mark.parametrize(("model", "size", "data"), FITTING)
def test_every_plan_fits(model: str, size: str, data: str) -> None:
    place = card(0.95 * CARDS[size])
    found = plan(spec(), model, place, DATA[data])
    assert place.room_bytes is not None and len(FITTING) >= 20
    assert found.verdict == "fits" and found.estimate.high <= place.room_bytes
    assert not found.suggestions
    assert 8 % found.micro_batch == 0
    assert all(choice.reason for choice in found.choices)


def test_where_only_an_unlucky_batch_does_not_fit_the_plan_says_so() -> None:
    needed = plan(spec(), "8B", card(80)).estimate
    least = plan(spec(model=ModelSpec(source="x", precision="nf4")), "8B", card(1)).estimate
    assert least.high < needed.high
    found = plan(spec(), "8B", card((least.low + least.high) / 2 / GB))
    assert found.verdict == "tight" and any(choice.name == "memory" for choice in found.choices)


ROWS = Rows(longest=1000, sample=(100, 300, 600, 1000))
TOO_BIG = [
    ("8B", spec(tuning=FullTuning()), 24), ("4B", spec(tuning=FullTuning()), 40),
    ("27B", spec(tuning=FullTuning()), 80), ("4B", spec(tuning=FullTuning(), method={"kind": "dpo"}), 48),
    ("8B", spec(model=ModelSpec(source="x", precision="bf16"), training=TrainingSpec(micro_batch=8)), 12),
    ("8B", spec(model=ModelSpec(source="x", precision="bf16"), training=TrainingSpec(micro_batch=8)), 8),
    ("1B", spec(training=TrainingSpec(batch_size=8, micro_batch=8, checkpointing="off")), 5),
]  # fmt: skip


FAR_TOO_BIG = [
    ("8B", spec(), 5), ("8B", spec(), 7), ("27B", spec(), 12), ("4B", spec(method={"kind": "dpo"}), 3),
]  # fmt: skip


def with_suggestions(asked: RunSpec, suggestions: Sequence[Suggestion]) -> RunSpec:
    """The spec with all that some suggestions change."""
    for suggestion in suggestions:
        for key, value in ((suggestion.key, suggestion.value), *suggestion.also):
            asked = set_option(asked, key, value)
    return asked


@pytest.mark.parametrize(("model", "asked", "size"), TOO_BIG)
def test_every_suggestion_makes_the_run_fit(model: str, asked: RunSpec, size: float) -> None:
    place = card(size)
    found = plan(asked, model, place, ROWS)
    assert found.verdict == "too big" and 1 <= len(found.suggestions) <= MOST_SUGGESTIONS
    together = [suggestion for suggestion in found.suggestions if suggestion.words.startswith("together: ")]
    for suggestions in [together] if together else [[suggestion] for suggestion in found.suggestions]:
        then = plan(with_suggestions(asked, suggestions), model, place, ROWS)
        expected = {"fits", "tight"} if suggestions[-1].words.endswith("then tight") else {"fits"}
        assert then.verdict in expected, [suggestion.words for suggestion in suggestions]


@pytest.mark.parametrize(("model", "asked", "size"), FAR_TOO_BIG)
def test_where_nothing_helps_it_is_said_how_much_is_missing(model: str, asked: RunSpec, size: float) -> None:
    place = card(size)
    found = plan(asked, model, place, ROWS)
    *suggestions, last = found.suggestions
    assert (
        found.verdict == "too big" and 1 <= len(suggestions) < MOST_SUGGESTIONS and last.key == "model.source"
    )
    then = plan(with_suggestions(asked, suggestions), model, place, ROWS)
    assert then.verdict == "too big"
    missing = (then.estimate.likely - (place.room_bytes or 0)) / GB
    assert f"with all of them still {missing:.1f} GB short" in last.words


def test_a_pair_is_padded_even_alone() -> None:
    loads = {
        kind: plan(spec(method={"kind": kind}, training=TrainingSpec(micro_batch=1)), "1B", card(80)).load
        for kind in ("sft", "dpo", "orpo", "reward")
    }
    assert {kind: load.padded for kind, load in loads.items()} == {
        "sft": False, "dpo": True, "orpo": True, "reward": True,
    }  # fmt: skip


def test_small_models_fit_everywhere() -> None:
    for size in CARDS.values():
        assert plan(spec(), "1B", card(size)).verdict == "fits"


def test_four_bit_comes_only_where_sixteen_do_not_fit() -> None:
    assert plan(spec(), "8B", card(80)).loaded_as == "bf16"
    found = plan(spec(), "8B", card(12))
    assert (found.loaded_as, found.verdict) == ("nf4", "fits")
    [choice] = [choice for choice in found.choices if choice.name == "precision"]
    assert "bf16 does not fit" in choice.reason


def test_checkpointing_is_off_where_activations_fit() -> None:
    assert not plan(spec(), "1B", card(80)).is_checkpointing
    assert plan(spec(), "8B", card(24)).is_checkpointing


def test_what_is_pinned_stays() -> None:
    pinned = spec(
        model=ModelSpec(source="x", precision="bf16"),
        training=TrainingSpec(batch_size=8, micro_batch=2, checkpointing="on"),
    )
    found = plan(pinned, "8B", card(80))
    assert (found.loaded_as, found.micro_batch, found.is_checkpointing) == ("bf16", 2, True)
    assert not {"precision", "micro-batch", "checkpointing"} & {choice.name for choice in found.choices}
    too_big = plan(pinned, "8B", card(8))
    assert (too_big.verdict, too_big.loaded_as, too_big.micro_batch) == ("too big", "bf16", 2)
    assert "model.precision" in {suggestion.key for suggestion in too_big.suggestions}


def test_suggestions_say_what_they_save_and_cost() -> None:
    found = plan(spec(tuning=FullTuning()), "8B", card(24), Rows(longest=1000, sample=(100, 300, 600, 1000)))
    assert found.verdict == "too big"
    assert all("GB" in suggestion.words for suggestion in found.suggestions)
    keys = [suggestion.key for suggestion in found.suggestions]
    assert "tuning.kind" in keys
    words = next(suggestion.words for suggestion in found.suggestions if suggestion.key == "tuning.kind")
    assert words.startswith("LoRA instead of full tuning: -")


def test_a_small_micro_batch_is_taken_where_larger_ones_only_pad() -> None:
    even, uneven = (
        Rows(longest=1000, count=512, sample=each) for each in ((1000,) * 512, (10,) * 500 + (1000,) * 12)
    )
    sizes = {
        name: plan(spec(training=TrainingSpec(batch_size=64)), "1B", card(80), rows).micro_batch
        for name, rows in (("even", even), ("uneven", uneven))
    }
    assert sizes["uneven"] < sizes["even"]
    grouped = spec(training=TrainingSpec(batch_size=64, group_by_length=True))
    assert plan(grouped, "1B", card(80), uneven).micro_batch > sizes["uneven"]


def test_a_cpu_takes_no_more_at_once_than_keeps_it_busy() -> None:
    place = Place(False, "CPU", 64 * GB, 64 * GB)
    batch = spec(training=TrainingSpec(batch_size=8))
    short, long = (Rows(longest=each, count=9, sample=(each,) * 9) for each in (70, 400))
    assert [plan(batch, "1B", place, rows).micro_batch for rows in (short, long)] == [4, 1]


def test_every_choice_is_told_with_its_reason() -> None:
    rows = Rows(longest=1000, count=4, sample=(500, 600, 800, 1000))
    found = {each.name: each for each in plan(spec(), "1B", card(80), rows).choices}
    assert {
        "precision",
        "micro-batch",
        "checkpointing",
        "attention",
        "loss",
        "optimizer",
        "rows",
        "length",
    } <= set(found)
    assert found["rows"].value == "in random order"
    grouped = spec(training=TrainingSpec(batch_size=8, group_by_length=True))
    [order] = [each for each in plan(grouped, "1B", card(80), rows).choices if each.name == "rows"]
    assert order.value == "grouped by length"


UNEVEN = (100,) * 6 + (1000,) * 4


@pytest.mark.parametrize(
    ("asked", "rows", "is_grouped"),
    [
        ({}, Rows(longest=1000, count=400, sample=UNEVEN), True),
        ({}, Rows(longest=1000, first=50_000, sample=UNEVEN), True),
        ({}, Rows(longest=1000, count=399, sample=UNEVEN), False),  # they would be all but sorted
        ({}, Rows(longest=1000, count=400, sample=(900, 1000)), False),
        ({}, Rows(), False),
        ({"training": {"micro_batch": 1}}, Rows(longest=1000, count=400, sample=UNEVEN), False),
        ({"training": {"group_by_length": False}}, Rows(longest=1000, count=400, sample=UNEVEN), False),
        ({"training": {"group_by_length": True}}, Rows(), True),
        ({"method": {"kind": "kto"}}, Rows(longest=1000, count=400, sample=UNEVEN), False),
    ],
)
def test_rows_are_grouped_where_much_is_padded_and_there_are_enough(
    asked: dict[str, Any], rows: Rows, is_grouped: bool
) -> None:
    training = TrainingSpec.model_validate({"micro_batch": 4} | asked.pop("training", {}))
    wanted = spec(training=training, **asked)
    found = plan(wanted, "1B", card(80), rows)
    assert found.is_grouped is is_grouped
    made = make_plan(wanted, ModelSource("hub", "x", repo_id="x"), memory=found)
    assert planned(wanted, decode_plan(encode_plan(made))).training.group_by_length is is_grouped
    if rows.sample and found.load.sequences > 1:
        [order] = [choice for choice in found.choices if choice.name == "rows"]
        otherwise = (
            "in random order" if wanted.training.group_by_length is False else "sorted within each step"
        )
        otherwise = "in random order" if wanted.method.kind == "kto" else otherwise
        assert order.value == ("grouped by length" if is_grouped else otherwise)


def test_padding_is_what_the_longest_of_a_batch_costs() -> None:
    assert Rows(sample=(100, 100)).padding_share(8, 512) == pytest.approx(0)
    # two rows of two lengths: the longer one decides in three of four draws
    assert Rows(sample=(0, 100)).padding_share(2, 512) == pytest.approx(1 - 50 / 75)
    assert Rows(sample=(0, 1000)).padding_share(2, 100) == pytest.approx(1 - 50 / 75)
    assert Rows(sample=(10, 90)).padding_share(1, 512) == pytest.approx(0)
    assert Rows().padding_share(4, 512) is None


def test_a_shorter_length_says_which_rows_it_cuts() -> None:
    rows = Rows(longest=1024, sample=(100, 200, 300, 900))
    asked = spec(
        model=ModelSpec(source="x", precision="nf4"),
        training=TrainingSpec(batch_size=1, checkpointing="on", max_length=1024),
    )
    found = plan(asked, "8B", card(7.0), rows)
    words = [suggestion.words for suggestion in found.suggestions if suggestion.key == "training.max_length"]
    assert len(words) == 1 and "25 % of your rows" in words[0]


@pytest.mark.parametrize(
    ("kind", "batch", "is_gpu", "expected"),
    [("sft", 8, True, 4), ("dpo", 8, True, 2), ("kto", 7, True, 7), ("kto", 6, False, 6)],
)
def test_an_estimate_takes_the_micro_batch_that_the_worker_would(
    kind: str, batch: int, is_gpu: bool, expected: int
) -> None:
    asked = spec(method={"kind": kind}, training=TrainingSpec(batch_size=batch))
    assert default_micro_batch(asked, Place(is_gpu=is_gpu)) == expected


def test_what_must_stay_free_counts() -> None:
    assert plan(spec(), "8B", card(24)).loaded_as == "bf16"
    assert plan(spec(), "8B", card(24, leave_bytes=8 * GB)).loaded_as == "nf4"


def test_micro_batches_divide_and_keep_what_the_method_needs() -> None:
    place = card(80)
    assert micro_batches(spec(training=TrainingSpec(batch_size=6)), place) == [1, 2, 3, 6]
    kto = spec(method={"kind": "kto"}, training=TrainingSpec(batch_size=6))
    assert micro_batches(kto, place) == [2, 3, 6]
    assert micro_batches(spec(training=TrainingSpec(batch_size=16)), Place(False, "RAM")) == [1, 2, 4, 8]
    long = spec(training=TrainingSpec(batch_size=8, max_length=32_768))
    assert micro_batches(long, place) == [1]


def test_packed_rows_are_as_long_as_the_limit() -> None:
    packed = spec(
        model=ModelSpec(source="x", attention="flash_attention_2"), method={"kind": "sft", "packing": True},
        training=TrainingSpec(batch_size=64, max_length=8192),
    )  # fmt: skip
    rows = Rows(longest=100, count=500, sample=(100,) * 8)
    assert micro_batches(packed, card(80), rows) == [1, 2, 4]
    choices = {each.name: each for each in plan(packed, "1B", card(80), rows).choices}
    assert "length" not in choices and choices["rows"].value == "packed"


def test_packed_rows_without_flash_attention_are_few_at_once_since_all_pairs_are_computed() -> None:
    def packed(attention: Any, length: int) -> RunSpec:
        return spec(
            model=ModelSpec(source="x", attention=attention), method={"kind": "sft", "packing": True},
            training=TrainingSpec(batch_size=16, max_length=length),
        )  # fmt: skip

    rows = Rows(longest=100, count=500, sample=(100,) * 8)
    assert micro_batches(packed("auto", 2048), card(80), rows) == [1, 2]
    assert micro_batches(packed("sdpa", 8192), card(80), rows) == [1]
    assert micro_batches(packed("flash_attention_2", 2048), card(80), rows) == [1, 2, 4, 8, 16]
    one, four = (
        with_rows(workload_of(packed("eager", 1024), card(80), rows), packed("eager", 1024), size, "off")
        for size in (1, 4)
    )
    shape = shape_of(MODELS["1B"])
    assert shape is not None
    scores = [
        layer_bytes(shape, load).saved - layer_bytes(shape, replace(load, packed=False)).saved
        for load in (one, four)
    ]
    assert scores == [
        0,
        (4 + 2 * 2) * shape.heads * 3 * 1024,
    ]  # scores of four rows for each token, not of one


def test_targets_that_name_nothing_are_told() -> None:
    for targets, is_told in ((("nonsense",), True), (("q_proj",), False)):
        table = memory_table(spec(tuning=LoraTuning(targets=targets)), MODELS["1B"], card(80))
        assert ("nothing would be trained" in table.note) is is_told


def test_unknown_free_memory_is_planned_with_care() -> None:
    found = plan(spec(), "8B", Place(True, "card"))
    assert (found.verdict, found.loaded_as, found.is_checkpointing) == ("unknown", "bf16", True)
    assert found.micro_batch <= 4


def test_sizes_that_are_not_known_give_no_plan() -> None:
    assert plan_memory(spec(), ModelFacts(), card(24)) is None
    assert plan_memory(spec(), None, card(24)) is None
    absurd = config("llama", 2048, 16, 1_000_000, 8, 8192, 128_256)
    assert plan_memory(spec(), absurd, card(24)) is None


def test_the_plan_of_a_run_carries_it_and_fills_what_was_open() -> None:
    asked = spec()
    found = plan(asked, "8B", card(12))
    made = make_plan(asked, ModelSource("hub", "x", repo_id="x"), memory=found)
    assert decode_plan(encode_plan(made)) == made
    filled = planned(asked, made)
    assert (filled.model.precision, filled.training.micro_batch) == ("nf4", found.micro_batch)
    assert filled.training.checkpointing == ("on" if found.is_checkpointing else "off")
    settings: dict[str, Any] = {"micro_batch": 1, "checkpointing": "off", "group_by_length": False}
    pinned = spec(training=TrainingSpec(batch_size=8, **settings))
    assert planned(pinned, made).training == pinned.training
    without = make_plan(asked, ModelSource("hub", "x", repo_id="x"))
    assert planned(asked, without) == asked
    assert isinstance(asked.tuning, LoraTuning)


@pytest.mark.parametrize(
    ("text", "has"),
    [("flags\t\t: fpu avx2 avx512_bf16 amx_tile\n", True), ("flags : fpu avx2\n", False), ("", False)],
)
def test_a_cpu_tells_its_16_bit_by_its_flags(tmp_path: Path, text: str, has: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{text}")
    assert cpu_has_16_bit(tmp_path / "cpuinfo") is has
    assert cpu_has_16_bit(tmp_path / "nowhere") is False
