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


def make_adapter(folder: Path, base: str | None = "owner/base", weights: bool = True, **options: Any) -> Path:
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
    assert 'model.source to "owner/another"' in caught.value.hint
    assert start_of(confirmed(spec_of(str(folder)))) is not None


def confirmed(spec: RunSpec) -> RunSpec:
    return spec.model_copy(update={"model": spec.model.model_copy(update={"adapter_base_confirmed": True})})


@pytest.mark.parametrize(
    "base",
    [
        "/root/.cache/huggingface/hub/models--owner--base/snapshots/0123abcd",
        "C:\\Users\\me\\.cache\\huggingface\\hub\\models--owner--base\\snapshots\\0123abcd",
        "/mnt/workspace/.cache/modelscope/hub/models/owner/base",
        "Owner/Base",
    ],
)
def test_a_full_name_in_the_path_of_a_download_cache_is_that_name(tmp_path: Path, base: str) -> None:
    assert start_of(spec_of(str(make_adapter(tmp_path / "given", base)))) is not None


def test_modelscope_writes_three_underscores_for_a_dot(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "given", "/data/hub/models/Qwen/Qwen2___5-0___5B")
    assert start_of(spec_of(str(folder), "Qwen/Qwen2.5-0.5B")) is not None
    with pytest.raises(InputError) as caught:
        start_of(spec_of(str(folder), "owner/base"))
    assert 'model.source to "Qwen/Qwen2.5-0.5B"' in caught.value.hint  # a name that can be typed


@pytest.mark.parametrize(
    "base",
    [None, "", "/models/base", "C:\\models\\base", "./base", "models/owner/base", "/data/models/owner/base"],
)
def test_a_base_that_only_its_last_part_names_is_asked_about_with_one_option(
    tmp_path: Path, base: str | None
) -> None:
    spec = spec_of(str(make_adapter(tmp_path / "given", base)))
    with pytest.raises(InputError, match="base is not known") as caught:
        start_of(spec)
    assert "model.adapter_base_confirmed = true" in caught.value.hint
    assert "model.source" not in caught.value.hint  # none of these is a value of it
    assert (repr(base) if base else "names no base") in caught.value.message
    start = start_of(confirmed(spec))
    assert start is not None and start.base == (base or "")


def save_base(folder: Path, *, hidden: int = 8, layers: int = 2, fill: int = 0, shards: int = 1) -> Path:
    """A model's folder with one projection a layer, of bytes that differ by place and `fill`."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": hidden}))
    names = [f"model.layers.{layer}.self_attn.q_proj.weight" for layer in range(layers)]
    weight_map = {name: f"model-{place % shards}.safetensors" for place, name in enumerate(names)}
    for shard in sorted(set(weight_map.values())):
        held = [name for name in names if weight_map[name] == shard]
        size = 4 * hidden * hidden
        header = {
            name: {
                "dtype": "F32",
                "shape": [hidden, hidden],
                "data_offsets": [place * size, (place + 1) * size],
            }
            for place, name in enumerate(held)
        }
        data = b"".join(
            bytes((fill + names.index(name) + byte) % 251 for byte in range(size)) for name in held
        )
        raw = json.dumps(header).encode()
        path = folder / (shard if shards > 1 else "model.safetensors")
        path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def save_factors(folder: Path, base: str | None, *, hidden: int = 8, layers: int = 2) -> Path:
    """An adapter of rank 2 on such a model, with weights."""
    make_adapter(folder, base)
    shapes = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight": shape
        for layer in range(layers)
        for side, shape in (("A", [2, hidden]), ("B", [hidden, 2]))
    }
    size = 4 * 2 * hidden
    header = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [place * size, (place + 1) * size]}
        for place, (name, shape) in enumerate(shapes.items())
    }
    raw = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(
        len(raw).to_bytes(8, "little") + raw + bytes(size * len(shapes))
    )
    return folder


def test_a_base_is_known_by_its_weights_wherever_it_lies(tmp_path: Path) -> None:
    first = save_base(tmp_path / "one" / "base")
    given = save_factors(tmp_path / "given", str(first))
    assert start_of(spec_of(str(given), str(first))) is not None
    resharded = save_base(tmp_path / "copies" / "called-otherwise", shards=2)
    assert start_of(spec_of(str(given), str(resharded))) is not None
    namesake = save_base(tmp_path / "two" / "base", fill=1)
    with pytest.raises(InputError, match="another base") as caught:
        start_of(spec_of(str(given), str(namesake)))
    assert f'model.source to "{first}"' in caught.value.hint
    assert start_of(confirmed(spec_of(str(given), str(namesake)))) is not None


def test_a_run_knows_its_base_after_it_was_moved(tmp_path: Path) -> None:
    place = save_base(tmp_path / "one" / "base")
    spec = spec_of(None, str(place))
    run = create_run(spec, make_plan(spec, find_source(str(place))))
    save_factors(run.adapter, "/some/cache/0123456789abcdef")
    moved = place.rename(tmp_path / "moved")
    assert start_of(spec_of(run.name, str(moved))) is not None
    save_base(place, fill=3)  # another one in its place
    with pytest.raises(InputError, match="base has changed"):
        start_of(spec_of(run.name, str(place)))


def test_a_model_in_the_hubs_cache_is_known_by_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = save_base(tmp_path / "hub" / "models--owner--base" / "snapshots" / "0123")
    (snapshot / "tokenizer.json").write_text("{}")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    given = save_factors(tmp_path / "given", "owner/base")
    copy = save_base(tmp_path / "copy")
    assert start_of(spec_of(str(given), str(copy))) is not None
    assert start_of(spec_of(str(given), str(snapshot))) is not None
    with pytest.raises(InputError, match="another base"):
        start_of(spec_of(str(given), str(save_base(tmp_path / "other" / "base", fill=1))))


@pytest.mark.parametrize(
    ("sizes", "words"), [({"hidden": 16}, "16 rows or columns"), ({"layers": 3}, "2 layers")]
)
def test_an_adapter_whose_shapes_do_not_fit_is_refused_even_if_confirmed(
    tmp_path: Path, sizes: dict[str, int], words: str
) -> None:
    base = save_base(tmp_path / "base")
    given = save_factors(tmp_path / "given", str(base), **sizes)
    for spec in (spec_of(str(given), str(base)), confirmed(spec_of(str(given), str(base)))):
        with pytest.raises(InputError, match="does not fit") as caught:
            start_of(spec)
        assert words in caught.value.message and "q_proj" in caught.value.message


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ({"peft_type": "VERA"}, "type is not supported"),
        ({"peft_type": "IA3"}, "another tuning"),
        ({"weights": False}, "no weights"),
        ({"task_type": "SEQ_CLS"}, "a reward model's"),
        ({"r": "many"}, "cannot be read"),
        ({"init_lora_weights": "pissa_niter_16"}, "belongs to a changed base"),
        ({"bias": "all"}, "trains biases"),
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
