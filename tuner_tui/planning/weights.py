"""How much memory a base's weights take in each precision: pure arithmetic on what the files' headers say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tuner_tui.config.spec import Precision
from tuner_tui.models.facts import ModelFacts

Held = Literal["fp32", "bf16", "int8", "nf4"]
HELD: tuple[Held, ...] = ("fp32", "bf16", "int8", "nf4")
"""From heavy to light; bf16 stands for fp16 too, which weighs the same."""

NF4_BLOCK = 64
"""Weights that share one 8-bit scale."""
NF4_SCALES_BLOCK = 256
"""Scales that share one 32-bit scale of their own (double quantisation)."""
NF4_BYTES = 0.5 + (1 + 4 / NF4_SCALES_BLOCK) / NF4_BLOCK
"""Bytes of a weight in 4 bit with its share of both scales: 0.5159."""
INT8_ROW_BYTES = 4
"""Each row of a matrix has one 32-bit scale in int8."""


@dataclass(frozen=True)
class WeightCount:
    """The weights of a model, by what quantisation does to them."""

    linear: int
    """Weights of the matrices inside the layers, which are quantised."""
    linear_rows: int
    """Rows of those matrices."""
    other: int
    """Embeddings, output head, norms and biases, which stay in 16 bit."""


@dataclass(frozen=True)
class WeightTable:
    """Bytes of the weights by precision; None where the headers that would tell are not at hand."""

    bytes_by_precision: dict[Held, int | None]
    note: str = ""
    """Why something is unknown; empty when nothing is."""

    def get(self, held: Held) -> int | None:
        """Bytes in one precision."""
        return self.bytes_by_precision.get(held)


def weigh(facts: ModelFacts | None, parameters: int | None = None) -> WeightTable:
    """The table of a model; `parameters` is what the Hub says of one that is not on this machine."""
    if facts is not None and facts.quantisation:
        note = f"quantised with {facts.quantisation} already; other precisions do not apply"
        return WeightTable(dict.fromkeys(HELD), note)
    counted = facts.parameters if facts is not None else parameters
    if counted is None:
        return WeightTable(
            dict.fromkeys(HELD), "unknown until downloaded" if facts is None else "not in the files' headers"
        )
    whole: dict[Held, int | None] = {"fp32": 4 * counted, "bf16": 2 * counted, "int8": None, "nf4": None}
    split = count_weights(facts) if facts is not None else None
    if split is None:
        reason = "unknown until downloaded" if facts is None else "not all sizes are in its config"
        return WeightTable(whole, f"int8 and 4-bit: {reason}")
    return WeightTable(whole | {"int8": int8_bytes(split), "nf4": nf4_bytes(split)})


def held_as(precision: Precision, tuning: str, is_gpu: bool) -> Held | None:
    """The row of the table that a run will use; None where only the worker can tell (auto on a CPU)."""
    match precision:
        case "auto" if tuning == "full":
            return "fp32"
        case "auto":
            return "bf16" if is_gpu else None
        case "fp16":
            return "bf16"
        case _:
            return precision


def count_weights(facts: ModelFacts) -> WeightCount | None:
    """A model's weights, split into quantised and other ones; None when a size is missing."""
    if facts.parameters is None or facts.vocab_size is None or facts.hidden_size is None:
        return None
    layers = facts.layers or 0
    tables = facts.vocab_size * facts.hidden_size * (1 if facts.tied_embeddings else 2)
    norms = (2 * layers + 1) * facts.hidden_size
    other = min(tables + norms, facts.parameters)
    return WeightCount(facts.parameters - other, layers * _rows_of_a_layer(facts), other)


def nf4_bytes(count: WeightCount) -> int:
    """4-bit NF4 with double quantisation, as bitsandbytes holds it."""
    return round(count.linear * NF4_BYTES) + 2 * count.other


def int8_bytes(count: WeightCount) -> int:
    """8-bit integers with a scale for each row, as bitsandbytes holds them."""
    return count.linear + count.linear_rows * INT8_ROW_BYTES + 2 * count.other


def _rows_of_a_layer(facts: ModelFacts) -> int:
    """Outputs of a layer's matrices: query, key, value, attention output; gate, up and down."""
    hidden, head = facts.hidden_size or 0, facts.head_dim or 0
    attention = (facts.heads or 0) * head + 2 * (facts.kv_heads or 0) * head + hidden
    return attention + 2 * (facts.intermediate_size or 0) + hidden
