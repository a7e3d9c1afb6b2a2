"""The change that a profile proposes, and what it would save, by hand computations."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tuner_tui.config.sections import all_options
from tuner_tui.profiling import words
from tuner_tui.profiling.advice import Advice, all_advice, best_advice
from tuner_tui.profiling.profile import (
    PARTS,
    MatrixSpeed,
    Operator,
    Outside,
    PartTime,
    Profile,
    Room,
    Settings,
)

SETTINGS = Settings(
    method="sft", tuning="lora", micro_batch=2, accumulation=4, is_checkpointing=False, is_gpu=False, threads=4,
    cores=5, all_cores=8, loss_on="answers", is_grouped=True, max_length=512,
)  # fmt: skip
TIMES = {"data": 10.0, "forward": 300.0, "head": 50.0, "backward": 600.0, "optimizer": 30.0, "callbacks": 5.0}


def profile_of(
    settings: dict[str, Any] | None = None, times: dict[str, float] | None = None, **fields: Any
) -> Profile:
    """A step of 1,000 ms, whatever is not in a part being idle; nothing about it can be improved."""
    spent = TIMES | (times or {})
    spent["waiting"] = 1000.0 - sum(spent.values())
    assert spent["waiting"] >= 0
    parts = tuple(
        PartTime(name=name, ms=spent[name], share=spent[name] / 1000, thread_ms=spent[name]) for name in PARTS
    )
    return Profile(
        **{
            "at": 0.0, "model_name": "tiny", "device_name": "CPU", "first_step": 4, "steps": 5, "step_ms": 1000.0,
            "parts": parts, "operators": (), "tokens": 1000.0, "padded_tokens": 1000.0, "rows": 8.0,
            "settings": msgspec.structs.replace(SETTINGS, **(settings or {})), **fields,
        }
    )  # fmt: skip


def only(profile: Profile) -> Advice:
    [advice] = all_advice(profile)
    assert best_advice(profile) == advice
    return advice


def saves(advice: Advice, key: str, share: float) -> bool:
    return advice.key == key and advice.saving == pytest.approx(share)


def test_a_step_that_is_as_it_should_be_has_no_advice() -> None:
    assert best_advice(profile_of()) is None
    assert words.advice_lines(None) == ["No single change would save a twentieth of a step."]


SPEEDS = (
    MatrixSpeed(tokens=100, gflops=20.0), MatrixSpeed(tokens=200, gflops=40.0), MatrixSpeed(tokens=400, gflops=42.0),
)  # fmt: skip


def test_a_larger_micro_batch_saves_what_faster_products_save() -> None:
    profile = profile_of(matrix_ms=800.0, matrix_speeds=SPEEDS, room=Room(micro_batches={4: True, 8: True}))
    advice = only(profile)
    assert advice.key == "training.micro_batch" and "micro_batch = 4 (now 2)" in advice.change
    assert advice.saving == pytest.approx(0.8 * (1 - 20 / 40)), (
        "twice the rows; four times would save hardly more"
    )
    assert (
        "100 tokens run at 20 GFLOP/s" in advice.reason
        and "200 at 40" in advice.reason
        and "80%" in advice.reason
    )
    assert not advice.changes_result


@pytest.mark.parametrize("room", [{}, {4: False, 8: False}])
def test_a_micro_batch_that_does_not_fit_is_not_proposed(room: dict[int, bool]) -> None:
    assert (
        best_advice(profile_of(matrix_ms=800.0, matrix_speeds=SPEEDS, room=Room(micro_batches=room))) is None
    )


def test_the_larger_one_is_proposed_where_it_is_much_faster() -> None:
    speeds = (*SPEEDS[:2], MatrixSpeed(tokens=400, gflops=80.0))
    profile = profile_of(matrix_ms=800.0, matrix_speeds=speeds, room=Room(micro_batches={4: True, 8: True}))
    assert only(profile).saving == pytest.approx(0.8 * (1 - 20 / 80)) and "= 8" in only(profile).change


def test_on_a_gpu_fewer_commands_save_waiting_too() -> None:
    times = {"forward": 100.0, "backward": 300.0}  # 505 ms idle
    profile = profile_of(
        {"is_gpu": True}, times, matrix_ms=300.0, matrix_speeds=SPEEDS[:2], room=Room(micro_batches={4: True}),
    )  # fmt: skip
    assert only(profile).saving == pytest.approx(0.3 * 0.5 + 0.505 / 2)
    assert "GPU waits for commands 50%" in only(profile).reason


def test_checkpointing_costs_a_forward_pass() -> None:
    on = {"is_checkpointing": True}
    advice = only(profile_of(on, room=Room(is_checkpointing_needed=False)))
    assert saves(advice, "training.checkpointing", 0.3)
    assert best_advice(profile_of(on, room=Room(is_checkpointing_needed=True))) is None
    assert best_advice(profile_of(on)) is None, "unknown whether it fits"


def test_more_threads() -> None:
    advice = only(profile_of({"concurrent": 2, "threads": 2, "cores": 5}, cpu_ms=2000.0))
    assert advice.key == "machine.threads" and "= 4 (now 2)" in advice.change
    assert advice.saving == pytest.approx(0.98 * (1 - 2 / 4)) and advice.is_bound
    half_used = only(profile_of({"concurrent": 2, "threads": 2, "cores": 5}, cpu_ms=1000.0))
    assert half_used.saving == pytest.approx(0.98 * 0.5 * (1 - 2 / 4))
    assert (
        best_advice(profile_of({"concurrent": 2, "threads": 2, "cores": 5, "is_gpu": True}, cpu_ms=2000.0))
        is None
    )
    assert best_advice(profile_of({"concurrent": 2, "threads": 2, "cores": 2}, cpu_ms=2000.0)) is None


def test_other_programs() -> None:
    advice = only(profile_of({"concurrent": 4}, cpu_ms=1600.0, others_cores=6.0))
    assert (
        advice.saving == pytest.approx(1 - 1.6 / 4) and advice.key == "" and "6.0 of 8 cores" in advice.reason
    )
    assert only(profile_of({"concurrent": 4}, cpu_ms=400.0, others_cores=2.0)).saving == pytest.approx(2 / 8)
    assert best_advice(profile_of({"concurrent": 4}, cpu_ms=400.0, others_cores=0.1)) is None


def test_micro_batches_one_after_another() -> None:
    advice = only(profile_of(cpu_ms=1300.0))
    assert advice.key == "machine.concurrent_micro_batches" and "= 4" in advice.change
    assert advice.saving == pytest.approx(0.95 * (1 - 1.3 / 4)) and advice.is_bound
    assert best_advice(profile_of({"tuning": "full"}, cpu_ms=1300.0)) is None
    assert best_advice(profile_of({"accumulation": 1}, cpu_ms=1300.0)) is None


def test_no_larger_micro_batch_that_leaves_threads_idle() -> None:
    room = Room(micro_batches={4: True, 8: True})
    at_once = {"concurrent": 4}  # 4 x 2 rows, all at the same time
    assert best_advice(profile_of(at_once, matrix_ms=800.0, matrix_speeds=SPEEDS, room=room)) is None
    two = only(profile_of({"concurrent": 2}, matrix_ms=800.0, matrix_speeds=SPEEDS, room=room))
    assert "micro_batch = 4" in two.change


def test_padding() -> None:
    padded: dict[str, Any] = {"padded_tokens": 2000.0}
    ungrouped = only(profile_of({"is_grouped": False}, **padded))
    assert ungrouped.key == "training.group_by_length" and "50%" in ungrouped.reason
    assert ungrouped.saving == pytest.approx(0.95 * 0.5 * 0.8)
    assert only(profile_of({"can_pack": True}, **padded)).key == "method.packing"
    assert only(profile_of(**padded)).key == "training.max_length"


def test_loss_on_answers_alone() -> None:
    times = {"head": 200.0, "forward": 150.0}
    advice = only(profile_of({"loss_on": "all"}, times, head_backward_ms=200.0))
    assert saves(advice, "method.loss_on", 0.4 / 2)
    assert advice.changes_result and "40%" in advice.reason


def test_time_between_steps() -> None:
    outside = Outside(evaluation_ms=600.0, checkpoints_ms=400.0)
    evaluation, checkpoints = all_advice(profile_of({"evaluation_every": 2}, outside=outside))
    assert saves(evaluation, "evaluation.every_steps", 600 * 0.75 / 1995)
    assert "= 8 (now 2)" in evaluation.change and "30%" in evaluation.reason
    assert saves(checkpoints, "checkpoints.every_steps", 400 * 0.75 / 1995)
    assert "larger interval" in checkpoints.change


def test_an_evaluation_within_the_measured_steps_counts_once() -> None:
    times = {"callbacks": 400.0, "forward": 100.0, "backward": 300.0}
    advice = only(profile_of({"evaluation_every": 2}, times, outside=Outside(evaluation_ms=380.0)))
    assert saves(advice, "evaluation.every_steps", 380 * 0.75 / 1000) and "38%" in advice.reason


def test_data_optimizer_and_trackers() -> None:
    times = {"data": 400.0, "forward": 50.0, "backward": 100.0}
    assert only(profile_of(times=times)).saving == pytest.approx(0.2)
    times = {"optimizer": 500.0, "forward": 50.0, "backward": 100.0}
    advice = only(profile_of(times=times))
    assert saves(advice, "training.batch_size", 0.25) and advice.changes_result
    times = {"callbacks": 100.0, "forward": 200.0}
    assert only(profile_of({"has_trackers": True}, times)).key == "trackers.report_to"
    assert best_advice(profile_of(times=times)) is None


def test_the_largest_saving_is_proposed() -> None:
    profile = profile_of(
        {"is_checkpointing": True, "loss_on": "all"}, {"head": 200.0, "forward": 150.0}, head_backward_ms=200.0,
        room=Room(is_checkpointing_needed=False),
    )  # fmt: skip
    assert [advice.key for advice in all_advice(profile)] == ["method.loss_on", "training.checkpointing"]


def test_every_key_is_an_option_or_a_setting() -> None:
    profile = profile_of(
        {"is_checkpointing": True, "loss_on": "all", "threads": 1, "is_grouped": False, "has_trackers": True},
        {"callbacks": 70.0, "data": 140.0, "optimizer": 140.0, "head": 60.0, "backward": 470.0, "forward": 110.0},
        head_backward_ms=200.0, padded_tokens=1500.0, cpu_ms=300.0, others_cores=7.0, matrix_ms=500.0,
        matrix_speeds=SPEEDS, room=Room(micro_batches={4: True}, is_checkpointing_needed=False),
        outside=Outside(evaluation_ms=110.0, checkpoints_ms=110.0, samples_ms=110.0),
    )  # fmt: skip
    keys = [advice.key for advice in all_advice(profile)]
    assert len(keys) == 12
    assert {key for key in keys if key} - all_options().keys() == {"trackers.report_to"}


def test_figures_of_a_profile() -> None:
    profile = profile_of(plain_step_ms=800.0, padded_tokens=1250.0, cpu_ms=3200.0)
    assert profile.overhead == pytest.approx(0.25)
    assert profile.tokens_per_second == pytest.approx(1250.0)
    assert profile.padding == pytest.approx(0.2)
    assert profile.threads_used == pytest.approx(3.2)
    assert (
        words.overhead_line(profile) == "Measured with the profiler on: steps take 25% longer than without."
    )
    assert profile_of().overhead is None and profile_of().tokens_per_second == pytest.approx(1000.0)


def test_lines_fit_80_columns_and_json_has_the_advice() -> None:
    operators = tuple(Operator(name="aten::mm", part="forward", ms=1234.5, calls=9.0) for _ in range(5))
    profile = profile_of(matrix_ms=800.0, matrix_speeds=SPEEDS, room=Room(micro_batches={4: True}))
    parts = [msgspec.structs.replace(part, operators=operators, ms=123456.7) for part in profile.parts]
    assert all(len(words.part_line(part)) <= 78 for part in parts)
    figures = msgspec.json.decode(msgspec.json.encode(words.as_dict(profile)))
    assert figures["advice"]["key"] == "training.micro_batch" and figures["other_advice"] == []
    assert figures["tokens_per_second"] == 1000 and figures["profiler_overhead"] is None
    assert msgspec.json.decode(msgspec.json.encode(profile), type=Profile) == profile
