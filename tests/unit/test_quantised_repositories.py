"""Quantised repositories, by whatever words they are: recognised, counted as before they were quantised, or refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.unit.models_on_disk import make_folder, write_header
from tests.unit.test_planner import card, spec
from tuner_tui.cli.estimate import estimate
from tuner_tui.cli.train import train
from tuner_tui.errors import InputError
from tuner_tui.models.facts import facts_from
from tuner_tui.models.quantisation import UNNAMED
from tuner_tui.models.safetensors_header import DTYPE_BITS, SafetensorsTensor
from tuner_tui.planning.table import memory_table

QWEN3_06B: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"], "head_dim": 128, "hidden_size": 1024, "intermediate_size": 3072,
    "max_position_embeddings": 40_960, "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
    "num_key_value_heads": 8, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "vocab_size": 151_936,
}  # fmt: skip
PARAMETERS = 596_049_920
"""As the Hub shows Qwen/Qwen3-0.6B."""
LINEAR = {
    "self_attn.q_proj": (2048, 1024), "self_attn.k_proj": (1024, 1024), "self_attn.v_proj": (1024, 1024),
    "self_attn.o_proj": (1024, 2048), "mlp.gate_proj": (3072, 1024), "mlp.up_proj": (3072, 1024),
    "mlp.down_proj": (1024, 3072),
}  # fmt: skip
NORMS = {
    "input_layernorm": 1024,
    "post_attention_layernorm": 1024,
    "self_attn.q_norm": 128,
    "self_attn.k_norm": 128,
}
Tensors = dict[str, tuple[str, tuple[int, ...]]]
"""dtype and shape by name."""
Pack = Callable[[str, int, int], Tensors]


def tensors_of(pack: Pack, *, packs_embedding: bool = False) -> Tensors:
    """The tensors of a repository whose linear layers are packed."""
    found: Tensors = {"model.norm.weight": ("BF16", (1024,))}
    table = "model.embed_tokens"
    found |= pack(table, 151_936, 1024) if packs_embedding else {f"{table}.weight": ("BF16", (151_936, 1024))}
    for layer in range(28):
        for name, (outputs, inputs) in LINEAR.items():
            found |= pack(f"model.layers.{layer}.{name}", outputs, inputs)
        for name, width in NORMS.items():
            found[f"model.layers.{layer}.{name}.weight"] = ("BF16", (width,))
    return found


def mlx(bits: int, group: int, scales: str = "BF16", *, has_biases: bool = True) -> Pack:
    def pack(name: str, outputs: int, inputs: int) -> Tensors:
        of_groups = (outputs, inputs // group)
        biases: Tensors = {f"{name}.biases": (scales, of_groups)} if has_biases else {}
        packed: Tensors = {
            f"{name}.weight": ("U32", (outputs, inputs * bits // 32)),
            f"{name}.scales": (scales, of_groups),
        }
        return packed | biases

    return pack


def modelopt_nvfp4(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.weight": ("U8", (outputs, inputs // 2)), f"{name}.weight_scale": ("F8_E4M3", (outputs, inputs // 16)),
        f"{name}.weight_scale_2": ("F32", ()), f"{name}.input_scale": ("F32", ()),
    }  # fmt: skip


def modelopt_fp8(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.weight": ("F8_E4M3", (outputs, inputs)), f"{name}.weight_scale": ("F32", ()),
        f"{name}.input_scale": ("F32", ()),
    }  # fmt: skip


def packed_ints(bits: int) -> Pack:
    def pack(name: str, outputs: int, inputs: int) -> Tensors:
        return {
            f"{name}.weight_packed": ("I32", (outputs, inputs * bits // 32)),
            f"{name}.weight_scale": ("BF16", (outputs, inputs // 128)), f"{name}.weight_shape": ("I64", (2,)),
        }  # fmt: skip

    return pack


def packed_nvfp4(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.weight_packed": ("U8", (outputs, inputs // 2)),
        f"{name}.weight_scale": ("F8_E4M3", (outputs, inputs // 16)),
        f"{name}.weight_global_scale": ("F32", (1,)), f"{name}.input_global_scale": ("F32", (1,)),
    }  # fmt: skip


def whole_bytes(dtype: str) -> Pack:
    def pack(name: str, outputs: int, inputs: int) -> Tensors:
        return {f"{name}.weight": (dtype, (outputs, inputs)), f"{name}.weight_scale": ("BF16", (outputs, 1))}

    return pack


def gptq(bits: int) -> Pack:
    def pack(name: str, outputs: int, inputs: int) -> Tensors:
        return {
            f"{name}.qweight": ("I32", (inputs * bits // 32, outputs)), f"{name}.g_idx": ("I32", (inputs,)),
            f"{name}.qzeros": ("I32", (inputs // 128, outputs * bits // 32)),
            f"{name}.scales": ("F16", (inputs // 128, outputs)),
        }  # fmt: skip

    return pack


def awq(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.qweight": ("I32", (inputs, outputs // 8)), f"{name}.qzeros": ("I32", (inputs // 128, outputs // 8)),
        f"{name}.scales": ("F16", (inputs // 128, outputs)),
    }  # fmt: skip


def eetq(name: str, outputs: int, inputs: int) -> Tensors:
    return {f"{name}.weight": ("I8", (inputs, outputs)), f"{name}.weight_scales": ("F16", (outputs,))}


def bitnet(name: str, outputs: int, inputs: int) -> Tensors:
    return {f"{name}.weight": ("U8", (outputs // 4, inputs)), f"{name}.weight_scale": ("BF16", (1,))}


def aqlm(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.codes": ("I16", (outputs, inputs // 8, 1)), f"{name}.codebooks": ("F16", (1, 65_536, 1, 8)),
        f"{name}.scales": ("F16", (outputs, 1, 1, 1)),
    }  # fmt: skip


def vptq(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.indices": ("I32", (1, inputs // 8, outputs // 2)), f"{name}.weight_scale": ("F16", (inputs,)),
        f"{name}.centroids.weight": ("F16", (1, 65_536 * 8)), f"{name}.weight_bias": ("F16", (inputs,)),
        f"{name}.perm": ("I16", (inputs,)),
    }  # fmt: skip


def layers_of_vptq() -> dict[str, Any]:
    return {
        f"model.layers.{layer}.{name}": {
            "in_features": inputs,
            "out_features": outputs,
            "vector_lens": [-1, 8],
        }
        for layer in range(28)
        for name, (outputs, inputs) in LINEAR.items()
    }


def higgs(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.weight": ("I16", (outputs * 4 // 16, inputs)), f"{name}.scales": ("F16", (outputs, inputs // 256)),
        f"{name}.tables": ("F16", (16,)), f"{name}.tables2": ("F16", (16, 16, 2)),
    }  # fmt: skip


def torchao(dtype: str) -> Pack:
    def pack(name: str, outputs: int, inputs: int) -> Tensors:
        return {
            f"{name}._weight_qdata": (dtype, (outputs, inputs)),
            f"{name}._weight_scale": ("F32", (outputs, 1)),
        }

    return pack


def fbgemm(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.weight": ("F8_E4M3", (outputs, inputs)), f"{name}.weight_scale": ("F32", (outputs, 1)),
        f"{name}.input_scale_ub": ("F32", (1,)),
    }  # fmt: skip


def metal(name: str, outputs: int, inputs: int) -> Tensors:
    of_groups = (outputs, inputs // 64)
    return {
        f"{name}.weight": ("U32", (outputs, inputs // 8)), f"{name}.scales": ("F32", of_groups),
        f"{name}.qbiases": ("F32", of_groups),
    }  # fmt: skip


def spqr(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.dense_weights": ("I64", (outputs * inputs // 32,)), f"{name}.row_offsets": ("I32", (outputs + 1,)),
        f"{name}.col_vals": ("I32", (1000,)), f"{name}.in_perm": ("I64", (inputs,)),
    }  # fmt: skip


def quanto(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.weight._data": ("I8", (outputs, inputs)), f"{name}.weight._scale": ("BF16", (outputs, 1)),
        f"{name}.input_scale": ("BF16", ()),
    }  # fmt: skip


def exl3(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.trellis": ("I16", (inputs // 16, outputs // 16, 64)), f"{name}.suh": ("F16", (inputs,)),
        f"{name}.svh": ("F16", (outputs,)),
    }  # fmt: skip


def hqq(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.W_q": ("U8", (32, outputs * inputs // 64)), f"{name}.zero": ("F16", (1, outputs * inputs // 64)),
        f"{name}.scale": ("F16", (1, outputs * inputs // 64)), f"{name}.shape": ("I64", (2,)),
    }  # fmt: skip


def by_method(method: str, **settings: Any) -> dict[str, Any]:
    return {"quantization_config": {"quant_method": method, **settings}}


def groups(some: dict[str, Any]) -> dict[str, Any]:
    return {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": some}}


def nf4(name: str, outputs: int, inputs: int) -> Tensors:
    return {
        f"{name}.weight": ("U8", (outputs * inputs // 2, 1)),
        f"{name}.weight.absmax": ("U8", (outputs * inputs // 64,)),
        f"{name}.weight.quant_state.bitsandbytes__nf4": ("U8", (80,)),
        f"{name}.weight.nested_absmax": ("F32", (outputs * inputs // 64 // 256,)),
        f"{name}.weight.nested_quant_map": ("F32", (256,)), f"{name}.weight.quant_map": ("F32", (16,)),
    }  # fmt: skip


def blocks_fp8(name: str, outputs: int, inputs: int) -> Tensors:
    scales = (math.ceil(outputs / 128), math.ceil(inputs / 128))
    return {f"{name}.weight": ("F8_E4M3", (outputs, inputs)), f"{name}.weight_scale_inv": ("F32", scales)}


def compressed(bits: int, kind: str = "int", form: str = "pack-quantized") -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": {"num_bits": bits, "type": kind, "strategy": "group"}}
    settings = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "format": form}
    return {"quantization_config": settings | {"ignore": ["lm_head"]}}


def of_mlx(bits: int, group: int, **more: Any) -> dict[str, Any]:
    settings = {"group_size": group, "bits": bits, **more}
    return {"quantization": settings, "quantization_config": settings}


NVFP4 = {
    "producer": {"name": "modelopt", "version": "0.23.0"},
    "quantization": {"quant_algo": "NVFP4", "group_size": 16},
}
FP8 = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
KINDS: dict[str, tuple[Tensors, dict[str, Any], dict[str, Any] | None, str]] = {
    "mlx 4 bit": (tensors_of(mlx(4, 64), packs_embedding=True), of_mlx(4, 64), None, "mlx"),
    "mlx 8 bit": (tensors_of(mlx(8, 32), packs_embedding=True), of_mlx(8, 32), None, "mlx"),
    "mlx 6 bit": (tensors_of(mlx(6, 64), packs_embedding=True), of_mlx(6, 64), None, "mlx"),
    "mlx mxfp4": (tensors_of(mlx(4, 32, "U8", has_biases=False)), of_mlx(4, 32, mode="mxfp4"), None, "mlx"),
    "modelopt nvfp4": (tensors_of(modelopt_nvfp4), {}, NVFP4, "modelopt nvfp4"),
    "modelopt nvfp4 in config.json": (
        tensors_of(modelopt_nvfp4),
        {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}},
        None,
        "modelopt nvfp4",
    ),
    "modelopt fp8": (tensors_of(modelopt_fp8), {}, FP8, "modelopt fp8"),
    "compressed-tensors w4a16": (tensors_of(packed_ints(4)), compressed(4), None, "compressed-tensors"),
    "compressed-tensors w8a16": (tensors_of(packed_ints(8)), compressed(8), None, "compressed-tensors"),
    "compressed-tensors nvfp4": (
        tensors_of(packed_nvfp4), compressed(4, "float", "nvfp4-pack-quantized"), None, "compressed-tensors",
    ),
    "compressed-tensors fp8": (
        tensors_of(whole_bytes("F8_E4M3")), compressed(8, "float", "float-quantized"), None, "compressed-tensors",
    ),
    "compressed-tensors int8": (
        tensors_of(whole_bytes("I8")), compressed(8, "int", "int-quantized"), None, "compressed-tensors",
    ),
    "gptq": (tensors_of(gptq(4)), {"quantization_config": {"quant_method": "gptq", "bits": 4}}, None, "gptq"),
    "gptq 8 bit": (tensors_of(gptq(8)), {"quantization_config": {"quant_method": "gptq", "bits": 8}}, None, "gptq"),
    "awq": (tensors_of(awq), {"quantization_config": {"quant_method": "awq", "bits": 4}}, None, "awq"),
    "auto-round": (
        tensors_of(gptq(4)), {"quantization_config": {"quant_method": "auto-round", "bits": 4}}, None, "auto-round",
    ),
    "bitsandbytes": (
        tensors_of(nf4), {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, None,
        "bitsandbytes",
    ),
    "fp8": (tensors_of(blocks_fp8), {"quantization_config": {"quant_method": "fp8"}}, None, "fp8"),
    "eetq": (tensors_of(eetq), by_method("eetq"), None, "eetq"),
    "bitnet": (tensors_of(bitnet), by_method("bitnet", linear_class="autobitlinear"), None, "bitnet"),
    "aqlm": (tensors_of(aqlm), by_method("aqlm", nbits_per_codebook=16), None, "aqlm"),
    "vptq": (tensors_of(vptq), by_method("vptq", config_for_layers=layers_of_vptq()), None, "vptq"),
    "higgs": (tensors_of(higgs), by_method("higgs", bits=4, p=2), None, "higgs"),
    "torchao int8": (tensors_of(torchao("I8")), by_method("torchao"), None, "torchao"),
    "torchao float8": (tensors_of(torchao("F8_E4M3")), by_method("torchao"), None, "torchao"),
    "fbgemm": (tensors_of(fbgemm), by_method("fbgemm_fp8"), None, "fbgemm_fp8"),
    "metal": (tensors_of(metal), by_method("metal", bits=4, group_size=64), None, "metal"),
    "quark fp8": (tensors_of(modelopt_fp8), by_method("quark"), None, "quark"),
    "modelopt without a method": (
        tensors_of(modelopt_nvfp4), {"quantization_config": {"quant_algo": "NVFP4"}}, None, "modelopt nvfp4",
    ),
    "not stated, nvfp4": (tensors_of(modelopt_nvfp4), {}, None, "unknown"),
    "not stated, gptq": (tensors_of(gptq(4)), {}, None, "unknown"),
    "not stated, mlx": (tensors_of(mlx(4, 64)), {"quantization": {"group_size": 64, "bits": 4}}, None, "mlx"),
}  # fmt: skip
TRAINED = ("gptq", "gptq 8 bit", "awq", "bitsandbytes", "fp8")


def header(tensors: Tensors) -> dict[str, SafetensorsTensor]:
    return {
        name: SafetensorsTensor(dtype, math.prod(shape), math.prod(shape) * DTYPE_BITS[dtype] // 8, shape)
        for name, (dtype, shape) in tensors.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_parameters_are_those_of_the_unquantised_model(kind: str) -> None:
    tensors, settings, modelopt, named = KINDS[kind]
    facts = facts_from(QWEN3_06B | settings, header(tensors), modelopt=modelopt)
    assert (facts.quantisation, facts.parameters) == (named, PARAMETERS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_trained_is_refused_by_name(kind: str) -> None:
    tensors, settings, modelopt, named = KINDS[kind]
    facts = facts_from(QWEN3_06B | settings, header(tensors), modelopt=modelopt)
    table = memory_table(spec(), facts, card(24))
    if kind in TRAINED:
        assert table.rows
    else:
        assert not table.rows and table.hint == "Use the unquantised model."
        how = "in a way that its files do not name" if named == UNNAMED else f"with {named},"
        assert f"quantised {how}" in table.note


def test_a_plain_model_is_none() -> None:
    plain = tensors_of(lambda name, outputs, inputs: {f"{name}.weight": ("BF16", (outputs, inputs))})
    facts = facts_from(QWEN3_06B | {"quantization_config": None}, header(plain))
    assert (facts.quantisation, facts.parameters) == (None, PARAMETERS)


@pytest.mark.parametrize(
    "settings",
    [
        {"quantization_config": {"quant_method": ["gptq"], "bits": {"a": 1}}},
        {"quantization_config": {"quant_method": "gptq", "bits": 5.5}},
        {"quantization": {"bits": 4, "group_size": 0}},
        {"quantization": {"bits": 4, "group_size": "64"}},
        groups({"a": [1], "b": {"weights": 3}}),
        groups({"a": {"weights": {"num_bits": [1]}}}),
        {"quantization_config": "gptq", "quantization": [4]},
    ],
)  # fmt: skip
def test_absurd_settings_are_no_crash_and_no_count(settings: dict[str, Any]) -> None:
    facts = facts_from(QWEN3_06B | settings, header(KINDS["gptq"][0]))
    assert facts.parameters in (None, PARAMETERS) and facts.quantisation


@pytest.mark.parametrize(
    ("method", "pack"),
    [
        ("hqq", hqq), ("spqr", spqr), ("quanto", quanto), ("exl3", exl3), ("vptq", vptq), ("higgs", spqr),
        ("torchao", torchao("U8")), ("brand-new", hqq),
    ],
)  # fmt: skip
def test_an_unknown_packing_is_not_counted_but_refused_by_name(method: str, pack: Pack) -> None:
    facts = facts_from(QWEN3_06B | by_method(method), header(tensors_of(pack)))
    assert (facts.quantisation, facts.parameters) == (method, None)
    table = memory_table(spec(), facts, card(24))
    assert not table.rows and f"quantised with {method}," in table.note


@pytest.mark.parametrize(
    "layers", [3, {"model.layers.0.self_attn.q_proj": 3}, {"a": {"in_features": "1024"}}]
)
def test_absurd_layers_of_vptq_are_not_counted(layers: Any) -> None:
    settings = by_method("vptq", config_for_layers=layers)
    assert facts_from(QWEN3_06B | settings, header(KINDS["vptq"][0])).parameters is None


@pytest.fixture
def on_disk(tmp_path: Path) -> Callable[[str], Path]:
    """A repository whose weights are a hole in the file."""

    def make(kind: str) -> Path:
        tensors, settings, modelopt, _ = KINDS[kind]
        folder = make_folder(tmp_path / "model", QWEN3_06B | settings)
        if modelopt is not None:
            (folder / "hf_quant_config.json").write_text(json.dumps(modelopt))
        entries, end = {}, 0
        for name, each in header(tensors).items():
            entries[name] = {
                "dtype": each.dtype, "shape": list(each.shape), "data_offsets": [end, end + each.size_bytes],
            }  # fmt: skip
            end += each.size_bytes
        write_header(folder / "model.safetensors", entries)
        with (folder / "model.safetensors").open("rb+") as file:
            file.truncate(file.seek(0, 2) + end)
        return folder

    return make


@pytest.mark.parametrize(("kind", "named"), [("modelopt nvfp4", "modelopt nvfp4"), ("mlx 4 bit", "mlx")])
def test_the_commands_refuse_it_by_name(
    on_disk: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, named: str
) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    folder = on_disk(kind)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"question": "a", "answer": "b"}) + "\n")
    (tmp_path / "run.toml").write_text(f'[model]\nsource = "{folder}"\n[data]\ntrain = "{rows}"\n')
    for command, arguments in (
        (estimate, [str(folder), "--gpu", "24GB"]),
        (train, [str(tmp_path / "run.toml"), "--check"]),
    ):
        error = CliRunner().invoke(command, arguments).exception
        assert isinstance(error, InputError)
        assert f"quantised with {named}" in error.message and error.hint == "Use the unquantised model."
