"""The adapter that a run begins from: found by run or folder, refused where it does not fit, and kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tuner_tui.config.spec import RunSpec
from tuner_tui.errors import InputError, NotFoundError, RunProblem
from tuner_tui.models.source import find_source
from tuner_tui.planning.micro_batch import choose_micro_batch
from tuner_tui.planning.plan import make_plan
from tuner_tui.runs.create import create_run
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.lineage import ancestors, find_start
from tuner_tui.runs.trash import delete_run

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.planning.plan import StartAdapter


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def make_adapter(folder: Path, base: str = "owner/base", weights: bool = True, **options: Any) -> Path:
    folder.mkdir(parents=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": 8,
        "lora_alpha": 16,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config | options))
    if weights:
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def spec_of(adapter: str | None, base: str = "owner/base", method: str = "dpo") -> RunSpec:
    return RunSpec.model_validate(
        {
            "model": {"source": base, "adapter": adapter},
            "data": {"train": "x.jsonl"},
            "method": {"kind": method},
        }
    )


def start_of(spec: RunSpec) -> StartAdapter | None:
    return find_start(spec, find_source(spec.model.source))


def make_run(spec: RunSpec, *, has_adapter: bool = True) -> RunFolder:
    source = find_source(spec.model.source)
    folder = create_run(spec, make_plan(spec, source, find_start(spec, source)))
    if has_adapter:
        make_adapter(folder.adapter, "/some/cache/0123456789abcdef")
    return folder


def test_most_runs_begin_anew() -> None:
    assert start_of(spec_of(None)) is None
    assert ancestors(make_run(spec_of(None))) == []


def test_a_run_is_found_by_name_and_its_base_by_its_plan() -> None:
    first = make_run(spec_of(None))
    start = start_of(spec_of(first.name))
    assert start is not None
    assert (start.name, start.is_run, start.base, start.rank, start.alpha) == (
        first.name,
        True,
        "owner/base",
        8,
        16.0,
    )
    assert start_of(spec_of(str(first.adapter))) == start


def test_a_line_of_runs_is_told_as_far_as_it_is_there() -> None:
    first = make_run(spec_of(None))
    second = make_run(spec_of(first.name))
    third = make_run(spec_of(second.name))
    assert ancestors(third) == [second.name, first.name]
    assert (third.started_from / "adapter_model.safetensors").read_bytes() == b"weights"
    delete_run(second)
    assert ancestors(third) == [second.name]
    assert third.started_from.is_dir()


def test_an_outside_adapter_ends_the_line(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "given")
    run = make_run(spec_of(str(folder)))
    assert ancestors(run) == [str(folder)]


def test_an_adapter_of_another_base_is_refused_with_both_names(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "given", "owner/another")
    with pytest.raises(InputError, match="another base") as caught:
        start_of(spec_of(str(folder)))
    assert "owner/another" in caught.value.message and "owner/base" in caught.value.message
    assert start_of(spec_of(str(make_adapter(tmp_path / "local", "/models/base")))) is not None


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ({"peft_type": "VERA"}, "type is not supported"),
        ({"peft_type": "IA3"}, "another tuning"),
        ({"weights": False}, "no weights"),
        ({"task_type": "SEQ_CLS"}, "a reward model's"),
        ({"r": "many"}, "cannot be read"),
    ],
)
def test_adapters_that_cannot_be_trained_on_are_refused(
    tmp_path: Path, options: dict[str, Any], title: str
) -> None:
    folder = make_adapter(tmp_path / "given", **options)
    with pytest.raises(InputError) as caught:
        start_of(spec_of(str(folder)))
    assert title in caught.value.title


def test_a_reward_model_may_go_on_from_a_reward_model(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "given", task_type="SEQ_CLS")
    assert start_of(spec_of(str(folder), method="reward")) is not None


def test_a_name_of_nothing_and_a_run_without_a_result() -> None:
    with pytest.raises(NotFoundError, match="No such adapter"):
        start_of(spec_of("nothing"))
    unfinished = make_run(spec_of(None), has_adapter=False)
    with pytest.raises(RunProblem, match="has no adapter"):
        start_of(spec_of(unfinished.name))


@pytest.mark.parametrize(
    ("batch", "options", "expected"),
    [
        (16, {}, 8),
        (16, {"sequences": 2}, 4),
        (7, {"at_least": 2}, 7),
        (6, {"at_least": 2}, 6),
        (9, {"sequences": 2}, 3),
    ],
)
def test_the_micro_batch_counts_sequences(batch: int, options: dict[str, int], expected: int) -> None:
    assert choose_micro_batch(None, batch, False, **options)[0] == expected
