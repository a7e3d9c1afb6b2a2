"""Every form of an adapter, written and read back by another library, on tiny Llamas with grouped-query attention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.tiny_model import make_tiny_model
from tuner_tui.errors import InputError, TunerError
from tuner_tui.runs.export_events import Checked, Event, ExportRequest, Form, Written
from tuner_tui.worker.export import readers
from tuner_tui.worker.export.base_weights import BaseWeights, quantise_and_back
from tuner_tui.worker.export.check import check_form, compare_bases
from tuner_tui.worker.export.gguf_shapes import interleave_rows, separate_rows
from tuner_tui.worker.export.merge import MergedWeights
from tuner_tui.worker.export.updates import read_updates
from tuner_tui.worker.export.write import write_form

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.worker.runs import Run
    from tuner_tui.runs.folder import RunFolder

PROMPTS = ("Who goes there?", "What is up?", "Why?", "Where is it?")
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "patterns": {"alpha_pattern": {"q_proj": 5, "layers.1.mlp.up_proj": 17}, "rank_pattern": {"k_proj": 2}},
    "dora": {"use_dora": True},
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny Llama of every kind: head and embedding apart, tied, and in several files."""
    root = tmp_path_factory.mktemp("export-models")
    made = {"untied": make_tiny_model(root / "untied", hidden=64)}
    model = AutoModelForCausalLM.from_pretrained(made["untied"])
    for name in ("tied", "sharded"):
        made[name] = make_tiny_model(root / name, hidden=64)
    model.save_pretrained(made["sharded"], max_shard_size="60KB")
    (made["sharded"] / "model.safetensors").unlink()
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(made["tied"])
    return made


@pytest.fixture
def adapted(make_run: Callable[..., RunFolder]) -> Callable[..., RunFolder]:
    """A run whose adapter is random, so that it changes everything, and not trained."""

    def make(model: Path, kind: str = "lora", **options: Any) -> RunFolder:
        folder = make_run(model={"source": str(model)})
        config = LoraConfig(
            task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=ALL_LINEAR, **(KINDS[kind] | options)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            peft = get_peft_model(AutoModelForCausalLM.from_pretrained(model), config)
            for name, parameter in peft.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(parameter, std=0.1)
                elif "magnitude" in name:
                    parameter.data *= 1 + 0.2 * torch.rand_like(parameter)
        peft.save_pretrained(folder.adapter)
        return folder

    return make


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., tuple[Path, ExportRequest]]:
    """Write a form."""

    def write(folder: RunFolder, form: Form, **options: Any) -> tuple[Path, ExportRequest]:
        out = tmp_path / f"out-{form}"
        out.mkdir()
        wanted: dict[str, Any] = {
            "precision": "fp32",
            "compute": "fp32",
            "prompts": PROMPTS,
            "max_new_tokens": 12,
        }
        request = ExportRequest(
            run=str(folder.path), form=form, out=str(out), events="", **(wanted | options)
        )
        write_form(request, lambda event: None)
        return out, request

    return write


def checked(request: ExportRequest) -> Checked:
    """Read back what was written."""
    events: list[Event] = []
    check_form(request, events.append)
    assert isinstance(events[-1], Checked)
    return events[-1]


@pytest.mark.parametrize("model", ["tied", "untied"])
@pytest.mark.parametrize(
    ("form", "quant"),
    [
        ("adapter", "f16"),
        ("merged", "f16"),
        ("gguf-adapter", "f32"),
        ("gguf", "f32"),
        ("gguf", "f16"),
        ("ollama", "f16"),
    ],
)
def test_a_form_behaves_like_what_was_trained(
    form: Form, quant: str, model: str, models: dict[str, Path], adapted: Any, written: Any
) -> None:
    _, request = written(adapted(models[model], "patterns"), form, quant=quant)
    told = checked(request)
    assert told.agreement.equal_answers == len(PROMPTS)
    assert told.agreement.largest_probability_difference < 0.005
    assert [sample.prompt for sample in told.samples] == list(PROMPTS)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_merged_model_is_pefts_own_merge(
    kind: str, models: dict[str, Path], adapted: Any, written: Any
) -> None:
    folder = adapted(models["untied"], kind)
    out, request = written(folder, "merged")
    base = AutoModelForCausalLM.from_pretrained(models["untied"])
    theirs = PeftModel.from_pretrained(base, folder.adapter).merge_and_unload().state_dict()
    ours = AutoModelForCausalLM.from_pretrained(out).state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-6)
    checked(request)


def test_several_files_stay_several(models: dict[str, Path], adapted: Any, written: Any) -> None:
    settings = models["sharded"] / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"_name_or_path": "/home/ada/base"}))
    out, request = written(adapted(models["sharded"]), "merged")
    assert len(list(out.glob("model-*.safetensors"))) > 1
    assert "ada" not in (out / "config.json").read_text()
    checked(request)


@pytest.mark.parametrize("held", ["nf4", "int8"])
@pytest.mark.parametrize("form", ["merged", "gguf-adapter"])
def test_what_stood_in_bf16_beside_packed_weights_is_rounded_too(
    form: Form, held: str, models: dict[str, Path], adapted: Any, written: Any
) -> None:
    _, request = written(adapted(models["untied"]), form, precision=held, compute="bf16", quant="f32")
    assert checked(request).agreement.largest_logit_difference < 1e-3


@pytest.mark.parametrize("held", ["nf4", "int8"])
def test_a_quantised_base_is_dequantised_for_the_merge(
    held: str, models: dict[str, Path], adapted: Any, written: Any
) -> None:
    folder = adapted(models["untied"])
    out, request = written(folder, "merged", precision=held)
    told = checked(request)
    assert told.agreement.equal_answers == len(PROMPTS)
    name = "model.layers.0.mlp.up_proj.weight"
    base = BaseWeights(models["untied"]).read(name)
    expected = (
        read_updates(folder.adapter)
        .low_rank[name.removesuffix(".weight")]
        .apply(
            quantise_and_back(base, held)  # type: ignore[arg-type]
        )
    )
    found = load_file(out / "model.safetensors")
    torch.testing.assert_close(found[name], expected)
    head = BaseWeights(models["untied"], held).read("lm_head.weight")  # type: ignore[arg-type]
    torch.testing.assert_close(found["lm_head.weight"], head)


def test_an_adapter_from_a_quantised_base_tells_how_it_behaves_elsewhere(
    models: dict[str, Path], adapted: Any, written: Any
) -> None:
    _, request = written(adapted(models["untied"]), "adapter", precision="nf4")
    merged, fp32, bf16 = checked(request).variants
    assert merged.name == "merged into the dequantised base" and merged.agreement is not None
    assert merged.agreement.largest_logit_difference < 1e-3
    for other in (fp32, bf16):
        assert other.agreement is not None and other.agreement.largest_logit_difference > 1e-3
    _, request = written(adapted(models["untied"]), "merged", precision="fp32")
    assert not checked(request).variants


def test_the_original_base_is_compared_before_it_is_merged_into(
    models: dict[str, Path], adapted: Any, written: Any
) -> None:
    folder = adapted(models["untied"])
    _, request = written(folder, "merged", precision="nf4", base_as="original")
    told = checked(request)
    assert told.agreement.largest_logit_difference < 1e-3
    assert told.as_trained is not None and told.as_trained.largest_logit_difference > 1e-3
    events: list[Event] = []
    compare_bases(request, events.append)
    assert isinstance(events[-1], Checked)
    assert events[-1].agreement.largest_logit_difference > 1e-3


def test_what_memory_cannot_check_is_not_written(
    models: dict[str, Path], adapted: Any, written: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_free_memory", lambda: 1000)
    with pytest.raises(TunerError, match="Not enough memory to verify"):
        written(adapted(models["untied"]), "merged")
    assert not list((tmp_path / "out-merged").iterdir())


@pytest.mark.parametrize(
    ("form", "reader"),
    [("merged", "transformers"), ("gguf", "the gguf library"), ("gguf-adapter", "the gguf library")],
)
def test_where_fp32_has_no_room_the_files_type_is_asked(
    form: Form,
    reader: str,
    models: dict[str, Path],
    adapted: Any,
    written: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    small = make_tiny_model(tmp_path / "bf16", hidden=64)
    AutoModelForCausalLM.from_pretrained(small, dtype=torch.bfloat16).save_pretrained(small)
    size = (small / "model.safetensors").stat().st_size
    monkeypatch.setattr(readers, "_free_memory", lambda: int(size * 1.5))
    _, request = written(adapted(small), form)
    told = checked(request)
    assert told.reader == reader and told.agreement.mean_kl < 0.01


def test_a_wrong_export_says_where_it_begins(models: dict[str, Path], adapted: Any, written: Any) -> None:
    out, request = written(adapted(models["untied"]), "merged")
    weights = load_file(out / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"] += 0.5
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TunerError, match="does not behave") as told:
        checked(request)
    assert "answer token 1, beginning in layer 1" in told.value.message


def test_rows_in_the_wrong_order_are_found(
    models: dict[str, Path], adapted: Any, written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner_tui.worker.export.gguf_write.interleave_rows", lambda rows, heads: rows)
    strong = {"alpha_pattern": {"q_proj": 400, "k_proj": 400}}
    _, request = written(adapted(models["untied"], **strong), "gguf")
    with pytest.raises(TunerError, match="does not behave"):
        checked(request)


def test_another_chat_template_is_found(models: dict[str, Path], adapted: Any, written: Any) -> None:
    out, request = written(adapted(models["untied"]), "merged")
    template = out / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant", "Assistant"))
    with pytest.raises(TunerError, match="tokenizer differs from the trained one"):
        checked(request)


def test_a_template_of_ones_own_goes_with_every_form(
    train: Callable[..., Run], tmp_path: Path, written: Any
) -> None:
    text = (
        "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    own = tmp_path / "own.jinja"
    own.write_text(text)
    folder = train(
        data={"template": str(own), "allow": ["template_changed"]}, training={"max_steps": 1}
    ).folder
    own.unlink()
    forms: tuple[Form, ...] = ("adapter", "merged", "gguf-adapter", "gguf")
    for form in forms:
        out, request = written(folder, form, quant="f32")
        if form == "gguf":
            checked(request)
            field = gguf.GGUFReader(out / "model.gguf").fields[gguf.Keys.Tokenizer.CHAT_TEMPLATE]
            assert field.contents() == text
        else:
            assert (out / "chat_template.jinja").read_text() == text


@pytest.mark.parametrize(("kind", "options"), [("dora", {}), ("lora", {"modules_to_save": ["lm_head"]})])
def test_what_a_gguf_adapter_cannot_say_is_refused(
    kind: str, options: dict[str, Any], models: dict[str, Path], adapted: Any, written: Any
) -> None:
    folder = adapted(models["untied"], kind, **options)
    with pytest.raises(InputError, match="cannot be exported as a GGUF adapter"):
        written(folder, "gguf-adapter")
    _, request = written(folder, "gguf")
    checked(request)


def test_the_ollama_package_knows_the_template(models: dict[str, Path], adapted: Any, tmp_path: Path) -> None:
    out = tmp_path / "ollama"
    out.mkdir()
    request = ExportRequest(
        run=str(adapted(models["untied"]).path),
        form="ollama",
        out=str(out),
        events="",
        precision="fp32",
        compute="fp32",
    )
    events: list[Event] = []
    write_form(request, events.append)
    told = events[-1]
    assert isinstance(told, Written) and told.template is not None
    assert (
        told.template.before["user"] == "<|im_start|>user\n" and told.template.after["user"] == "<|im_end|>\n"
    )
    assert told.template.answer_start == "<|im_start|>assistant\n" and "<|im_end|>" in told.stop


def test_the_adapters_settings_name_no_place(models: dict[str, Path], adapted: Any, written: Any) -> None:
    out, _ = written(adapted(models["untied"]), "adapter", base_name="owner/base")
    text = (out / "adapter_config.json").read_text()
    assert '"base_model_name_or_path": "owner/base"' in text
    assert str(models["untied"]) not in "".join(path.read_text() for path in out.glob("*.json"))


def test_a_full_tuning_has_no_adapter(make_run: Any, models: dict[str, Path], written: Any) -> None:
    folder = make_run(model={"source": str(models["untied"])}, full=True)
    make_tiny_model(folder.adapter, hidden=64, seed=3)
    with pytest.raises(InputError, match="no adapter"):
        written(folder, "adapter")
    _, request = written(folder, "merged")
    assert checked(request).against == "the trained model"


def test_an_adapter_for_another_base_is_refused(
    models: dict[str, Path], adapted: Any, tmp_path: Path
) -> None:
    other = make_tiny_model(tmp_path / "wide", hidden=32)
    updates = read_updates(adapted(models["untied"]).adapter)
    with pytest.raises(InputError, match="does not fit"):
        MergedWeights(BaseWeights(other), updates)


def test_rows_are_interleaved_and_back() -> None:
    rows = torch.arange(8)
    assert interleave_rows(rows, 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert separate_rows(interleave_rows(rows, 2), 2).tolist() == rows.tolist()
    assert interleave_rows(rows, None).tolist() == rows.tolist()
