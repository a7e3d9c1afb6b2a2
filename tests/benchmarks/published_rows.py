"""Published measurements read as workloads: which stack ran, in which types, on how many tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from tuner_tui.models.weight_count import WeightCount
from tuner_tui.planning.estimate import Estimate, estimate_memory
from tuner_tui.planning.ranges import CONTEXT_HIGH, CONTEXT_LOW, GIB
from tuner_tui.planning.shape import (
    FAMILIES,
    MOST_HEADS,
    MOST_LAYERS,
    WIDEST,
    Family,
    ModelShape,
    count_weights,
)
from tuner_tui.planning.workload import Checkpointing, LoadedAs, Loss, OptimizerKind, Stack, Workload

CARDS = {
    "A100-80GB": 79.2,
    "A100-40GB": 39.5,
    "L40S": 44.5,
    "A10G": 22.3,
    "T4": 14.74,
    "H100": 79.2,
    "H200": 140.0,
}
"""GiB that CUDA shows of cards as the rows name them."""
LEAST_CONTEXT = 0.2
"""GiB that a process has outside torch's allocator at least: runs on a T4 have reserved all but 0.23 GiB of it."""
SUFFIXES = re.compile(r"(-unsloth)?(-bnb-4bit)?$|-(gptq|awq)$", re.IGNORECASE)
ADAPTERS = (
    "adalora", "adamss", "boft", "c3a", "deft", "delora", "fourierft", "frod", "glora", "gralora", "hira", "ia3",
    "lily", "loha", "lokr", "miss", "oft", "osf", "peanut", "psoft", "pvera", "randlora", "road", "shira", "tinylora",
    "unilora", "vblora", "vera", "waveft", "beft",
)  # fmt: skip
"""Other adapters on a frozen base: known by how many numbers they train, not by what they save."""
KNOWN_OTHERS: tuple[OptimizerKind, ...] = ("adafactor", "sgd")
COMPARED = re.compile(
    r"llama|mistral|mixtral|zephyr|/qwen-?[23]|gemma|phi-3|power(lm|moe)|granite|smollm|/yi-", re.IGNORECASE
)
"""Models whose architecture is one of planning's FAMILIES; the activations of others are a guess."""


class NotJudged(Exception):
    """Why a row gives no prediction."""


@dataclass(frozen=True)
class Prediction:
    """In GiB: the row's own metric, its range, and what the driver would show.

    Of an architecture without a verified formula nothing is said but the range; its value is the range's middle.
    """

    value: float
    low: float
    high: float
    driver_low: float
    driver_high: float
    is_known: bool = True


class Row:
    """One row's settings, without what was measured."""

    def __init__(self, cells: dict[str, str]) -> None:
        self.cells = cells
        self.notes = cells.get("notes") or ""

    def __getitem__(self, name: str) -> str:
        return (self.cells.get(name) or "").strip()

    @property
    def transformers(self) -> tuple[int, int] | None:
        """The version that the notes name."""
        found = re.search(r"transformers (\d+)\.(\d+)", self.notes)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def is_litgpt(self) -> bool:
        return "litgpt" in self["source"].lower()

    @property
    def is_unsloth(self) -> bool:
        return "unsloth" in self["source"].lower() or "unsloth" in self["method"]


def predict(row: Row, configs: dict[str, Any]) -> Prediction:
    """What the estimate says of a row. Raises NotJudged with the reason where it says nothing."""
    shape = shape_for(row, configs)
    load, is_rough = workload_for(row, shape)
    estimate = estimate_memory(shape, load, _stored_bytes(row, shape, load))
    least = _least(row, shape, load, estimate) if is_rough else estimate
    card = next((gib for name, gib in CARDS.items() if name in row["gpu"]), None)
    most = _most(row, shape, load, estimate)
    high, low = most.high / GIB, least.low / GIB
    if card is not None and low < card:
        high = min(high, card)
    in_torch_low, in_torch_high = (
        low - CONTEXT_LOW / GIB,
        high - (LEAST_CONTEXT if card else CONTEXT_HIGH / GIB),
    )
    value, is_known = estimate.allocated / GIB, shape.is_known
    if row["metric"] == "max_allocated" and is_known:
        return Prediction(value, value, value, low, high)
    if row["metric"] in ("max_allocated", "max_reserved"):
        middle = _between(in_torch_low, in_torch_high)
        return Prediction(middle, in_torch_low, in_torch_high, low, high, is_known)
    return Prediction(
        _between(low, high), in_torch_low, high, low, high, is_known
    )  # which of the two is not said


def _between(low: float, high: float) -> float:
    return (low + high) / 2


def shape_for(row: Row, configs: dict[str, Any]) -> ModelShape:
    """The architecture of a row's model, from the configs; quantised copies count as what they were made from."""
    name = row["model_hf_id"]
    aliases = configs.get("_aliases")
    other = aliases.get(name) if isinstance(aliases, dict) else None
    config = configs.get(name) or configs.get(other or "") or (_alike(name, configs) if name else None)
    if not isinstance(config, dict):
        raise NotJudged(f"no architecture numbers for {name or 'an unnamed model'}")
    needed = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    missing = [key for key in needed if not _is_size(config.get(key))]
    if missing:
        raise NotJudged(f"{name}: {', '.join(missing)} not known")
    known = name if name in configs else other or name
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    experts = int(config.get("num_experts") or 0)
    wide = int(config["intermediate_size"])
    family = _family(known, config)
    shape = ModelShape(
        hidden, int(config["num_hidden_layers"]), heads, int(config.get("num_key_value_heads") or heads),
        int(config.get("head_dim") or hidden // heads), wide, int(config["vocab_size"]), WeightCount((), 0, 0, 0),
        family, _is_known(known, config), experts, int(config.get("num_experts_per_tok") or 0),
        int(config.get("moe_intermediate_size") or wide) if experts else 0,
    )  # fmt: skip
    if (
        max(shape.layers, shape.experts) > MOST_LAYERS
        or max(shape.heads, shape.head_dim, shape.experts_per_token) > MOST_HEADS
        or not 0 < shape.kv_heads <= shape.heads
        or shape.head_dim <= 0
        or not 0 <= shape.experts_per_token <= shape.experts
    ):
        raise NotJudged(f"{name}: sizes that make no sense together")
    return replace(shape, weights=count_weights(shape, tied=_is_tied(row, shape, config)))


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and 0 < value < 1 << 24


def _count(text: str) -> int | None:
    """The one whole number that a cell begins with; None for empty cells and ranges such as 4-8."""
    found = re.fullmatch(r"(\d+)(?:\.0+)?(?:\s+[^\d\s].*)?", text)
    return int(found[1]) if found else None


def _alike(name: str, configs: dict[str, Any]) -> dict[str, Any] | None:
    """A config of the same model by another owner or in another packing."""

    def stem(full: str) -> str:
        short = SUFFIXES.sub("", full.rpartition("/")[2].lower())
        return re.sub(r"-(hf|instruct|chat|it|base)\b|^meta-", "", short).replace("-v0.", "v0.")

    for known, config in configs.items():
        if isinstance(config, dict) and stem(known) == stem(name):
            return config
    return None


def _is_known(name: str, config: dict[str, Any]) -> bool:
    """Whether its formula is verified: Llama's and similar layers, whose MLP has a gate."""
    return COMPARED.search(name) is not None and config.get("mlp_matrices") != 2


def _family(name: str, config: dict[str, Any]) -> Family:
    lower = name.lower()
    for word in ("gemma-3", "gemma-2-", "gemma"):
        if word in lower:
            return FAMILIES[{"gemma-3": "gemma3", "gemma-2-": "gemma2", "gemma": "gemma"}[word]]
    if config.get("mlp_matrices") == 2:
        return Family("layer", mlp_matrices=2)
    if "phi-3" in lower:
        return FAMILIES["phi3"]
    told = config.get("qk_norm")
    return Family(qk_norm=bool(told) if told is not None else "qwen3" in lower)


def _is_tied(row: Row, shape: ModelShape, config: dict[str, Any]) -> bool:
    if isinstance(config.get("tie_word_embeddings"), bool):
        return bool(config["tie_word_embeddings"])
    if re.fullmatch(r"[\d.]+", row["params_b"]):
        numbers = 1e9 * float(row["params_b"])
        both = [abs(count_weights(shape, tied=tied).total - numbers) for tied in (True, False)]
        return both[0] < both[1]
    return False


def workload_for(row: Row, shape: ModelShape) -> tuple[Workload, bool]:
    """The row's step, and whether something about it had to be taken at its bound."""
    method, notes = row["method"], row.notes
    is_rough = False
    found = re.search(r"\d+", row["seq_len"])
    rows = _count(row["batch_size"])
    if not found or not int(found[0]) or not rows:
        raise NotJudged("batch size or length not published")
    if max(int(found[0]), rows, _count(row["rank"]) or 0) > WIDEST:
        raise NotJudged("batch size, length or rank is absurd")
    is_rough = row["seq_len"] != found[0]
    tuning = "full" if method == "full" else "prompt" if "prompt" in method else "lora"
    rank = _count(row["rank"]) or 16
    if tuning == "lora" and not any(word in method for word in ("lora", "dora")):
        trained = re.search(r"trainable (\d+)", notes)
        if method not in ADAPTERS or not trained:
            raise NotJudged(f"the memory of {method} is not modelled")
        is_rough = True
    if method.startswith("full+") or "adapter" in method:
        raise NotJudged(f"the memory of {method} is not modelled")
    stack = _stack(row)
    loaded_as = _held(row)
    checkpointing: Checkpointing = "on" if row["grad_checkpointing"] == "y" else "off"
    if row.is_unsloth:
        checkpointing = "offloaded" if row["grad_checkpointing"] != "n" else "off"
    dropout = re.search(r"(?:lora_)?dropout ([\d.]+)", notes)
    is_no_amp = "no AMP" in notes or row["dtype"].endswith("-true") or row.is_litgpt
    load = Workload(
        rows=rows, length=int(found[0]), method=_method(method),
        tuning=tuning, loaded_as=loaded_as, autocast=not is_no_amp, rank=rank, targets=_targets(row),
        dora="dora" in method, dropout=float(dropout[1].rstrip(".") or 0) if dropout else 0.0,
        adapter_bytes=2 if row.is_litgpt else 4, trains_tables="train embed" in method,
        virtual_tokens=100 if tuning == "prompt" else 0, checkpointing=checkpointing, optimizer=_optimizer(row),
        accumulates=_accumulates(row), loss=_loss(row), stack=stack, padded=is_rough and "flash" not in row["attn"],
        varied=is_rough or "varying lengths" in notes or "variable lengths" in notes,
    )  # fmt: skip
    return load, is_rough


def _method(words: str) -> str:
    """What is optimised, by the words of the method column; sft where it names none."""
    found = [name for name in ("dpo", "cpo", "orpo", "kto", "reward") if name in words.lower()]
    if any(name in words.lower() for name in ("grpo", "ppo", "rloo", "gkd")):
        raise NotJudged(f"the memory of {words} is not modelled: answers of unknown length")
    return found[0] if found else "sft"


def _held(row: Row) -> LoadedAs:
    """How the base was held. Raises NotJudged for words that nobody has taught this."""
    quant, dtype = row["quant"].lower(), row["dtype"].lower()
    if quant in ("", "none", "no", "n"):
        if row["method"].startswith("qlora"):
            return "nf4"
        if re.fullmatch(r"(fp|float)?32(-true)?", dtype):
            return "fp32"
        if re.fullmatch(r"|((bf|fp|float|bfloat)?16)(-true|-mixed)?", dtype):
            return "bf16"
        raise NotJudged(f"the type {row['dtype']} is not known")
    if "gptq" in quant or "awq" in quant:
        return "stored"
    if re.search(r"nf4|fp4|int4|4-?bit", quant) and "mxfp4" not in quant:
        return "nf4"
    if re.search(r"int8|8-?bit", quant):
        return "int8"
    raise NotJudged(f"the precision {row['quant']} is not known")


def _accumulates(row: Row) -> bool:
    steps = re.search(r"grad acc (\d+)", row.notes)
    return bool(steps) and int(steps[1]) > 1 if steps else False


def _stack(row: Row) -> Stack:
    notes, version = row.notes, row.transformers
    is_fused = "fused RMSNorm" in notes or row.is_unsloth
    per_logit = 12.0
    if version is not None and (4, 46) <= version <= (4, 48):
        per_logit = 14.0
    if (
        version is None and "older stack" in notes
    ):  # logits, their shifted copy, softmax and gradient, all in fp32
        per_logit = 16.0
    if row["fused_ce"].startswith("partial"):  # the kernel writes the gradient over the logits
        per_logit -= 4.0
    old_bnb = re.search(r"bitsandbytes 0\.(\d+)\.(\d+)", notes)
    chunk = re.search(r"chunked \((\d+)\)", row["fused_ce"])
    return Stack(
        fused_norms=is_fused,
        fused_experts=version is not None and version >= (5, 0),
        keeps_4bit_inputs=old_bnb is not None and (int(old_bnb[1]), int(old_bnb[2])) < (43, 0),
        fp32_stream="fp32 residual stream" in notes and "no prepare_model" not in notes,
        quantised_head="incl. lm_head" in row["quant"],
        double_quantised=not ("nf4" in row["quant"] and row.is_litgpt and "dq" not in row["quant"]),
        own_tables=row.is_litgpt,
        fused_adapters=is_fused and row["quant"] not in ("", "none"),
        repeats_keys=version is not None
        and version < (4, 48)
        and _has_repeating_attention(row["model_hf_id"]),
        expandable_segments=False,
        bytes_per_logit=8.0 if chunk else per_logit,
        loss_rows=int(chunk[1]) if chunk else 128 if row["fused_ce"].startswith("chunked") else None,
    )


def _has_repeating_attention(model: str) -> bool:
    """Whether a model's flash attention widened keys and values, as Mistral's classes and their copies did."""
    return any(word in model.lower() for word in ("mistral", "mixtral", "qwen2"))


def _loss(row: Row) -> Loss:
    if row["fused_ce"].startswith("y"):
        return "none" if row.is_unsloth else "liger"
    return "chunked" if row["fused_ce"].startswith("chunked") else "plain"


def _optimizer(row: Row) -> OptimizerKind:
    words = row["optimizer"].lower()
    if "8bit" in words or "8-bit" in words:
        return "paged_adamw_8bit" if "paged" in words else "adamw_8bit"
    if "paged" in words:
        return "paged_adamw"
    for kind in KNOWN_OTHERS:
        if kind in words:
            return kind
    if words and "adam" not in words and words != "lora-fa":
        raise NotJudged(f"the optimizer {row['optimizer']} is not modelled")
    version = row.transformers
    is_fused = "fused" in words and "foreach" not in words
    return (
        "adamw"
        if is_fused or (version is not None and version >= (5, 0) and "foreach" not in words)
        else "adamw_foreach"
    )


def _targets(row: Row) -> str | tuple[str, ...]:
    names = re.split(r"[ ,+]+", row["target_modules"])
    text = row["target_modules"]
    if not text or text.lower() in ("all", "default/all-linear"):
        return "all-linear"
    if text.startswith("DEFAULT"):
        return ("q_proj", "k_proj", "v_proj")
    known = {
        "query": ("q_proj",), "key": ("k_proj",), "value": ("v_proj",), "projection": ("o_proj",),
        "mlp": ("gate_proj", "up_proj", "down_proj"), "c_proj": ("o_proj", "down_proj"), "w1": ("gate_proj",),
        "w2": ("up_proj",), "self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
    }  # fmt: skip
    if "q_proj" not in names:
        known["c_attn"] = ("q_proj", "k_proj", "v_proj")
    return tuple(target for name in names for target in known.get(name, (name,)))


def _stored_bytes(row: Row, shape: ModelShape, load: Workload) -> int | None:
    """GPTQ in groups of 128: packed numbers, a 16-bit scale and a packed zero for each group; tables in 16 bit."""
    if load.loaded_as != "stored":
        return None
    bits = 8 if "int8" in row["quant"] else 4
    counted = shape.weights
    packed = counted.linear + counted.experts
    return round(packed * (bits / 8 + (2 + bits / 8) / 128)) + 2 * (
        counted.embedding + counted.head + counted.other
    )


def _least(row: Row, shape: ModelShape, load: Workload, estimate: Estimate) -> Estimate:
    """The same with the least that the row allows: half the length, or next to nothing where it is unknown."""
    share = 16 if "unknown" in row["seq_len"] else 2
    least = replace(load, length=max(32, load.length // share), padded=False)
    return estimate_memory(shape, least, _stored_bytes(row, shape, load))


def _most(row: Row, shape: ModelShape, load: Workload, estimate: Estimate) -> Estimate:
    """The same with the most that the row allows.

    A notebook's output may be older than its code: Unsloth's earlier loss kernel takes whole logits in 16 bit, over
    which it writes their gradient.
    """
    if not (row.is_unsloth and "may be newer" in row.notes):
        return estimate
    with_logits = replace(load, loss="plain", stack=replace(load.stack, bytes_per_logit=2.0))
    return estimate_memory(shape, with_logits, _stored_bytes(row, shape, load))
