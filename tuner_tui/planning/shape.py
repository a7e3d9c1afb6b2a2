"""The architecture sizes of a model that its memory depends on, and the model families that are verified."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tuner_tui.models.architectures import architecture, table
from tuner_tui.models.facts import ModelFacts
from tuner_tui.models.weight_count import Matrix, WeightCount

NormStyle = Literal["rms", "gemma", "layer"]
MOST_LAYERS, MOST_HEADS, MOST_EXPERTS, WIDEST = 10_000, 65_536, 16_384, 1 << 22
"""Larger sizes in a config are treated as errors."""
CLOSE, FAR = 1.1, 2.0
"""Headers whose parameter counts differ more from the config's are rejected."""
USUAL_HEAD_DIM, USUAL_GROWTH = 64, 4
"""For an unverified architecture whose config names no heads (Mamba), or no feed-forward width (GPT-2 and similar)."""


@dataclass(frozen=True)
class Family:
    """How the layers of a model family compute."""

    norm: NormStyle = "rms"
    """rms and gemma are RMSNorms computed in fp32; gemma's also multiplies in fp32. layer is LayerNorm."""
    norms: int = 2
    """Norms over the full width in a layer."""
    qk_norm: bool = False
    """Whether queries and keys are normalised per head."""
    mlp_matrices: int = 3
    """3 with a gate, 2 without."""
    softcap: bool = False
    """Whether attention scores are capped, which only the eager path does."""
    fused_inputs: bool = False
    """Whether query, key and value are one matrix, and gate and up another one."""


_RMS = Family()
FAMILIES: dict[str, Family] = {
    **dict.fromkeys(
        ("llama", "mistral", "ministral", "mixtral", "qwen2", "qwen2_moe", "smollm3", "granite", "helium"),
        _RMS,
    ),
    "phi3": Family(fused_inputs=True),
    **dict.fromkeys(("qwen3", "qwen3_moe"), Family(qk_norm=True)),
    "gemma": Family("gemma"),
    "gemma2": Family("gemma", norms=4, softcap=True),
    **dict.fromkeys(("gemma3", "gemma3_text"), Family("gemma", norms=4, qk_norm=True)),
}
"""Model types whose saved activations are verified against the real code; others get a wide range."""


@dataclass(frozen=True)
class ModelShape:
    """The sizes that the estimate needs of a model. Widths are values per token."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    weights: WeightCount
    family: Family = _RMS
    is_known: bool = True
    """False if the architecture is not in FAMILIES, or its weight files have no or other sizes: a wide range."""
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    shared_intermediate: int = 0
    has_counted_weights: bool = True
    """False if neither headers nor the architecture give the parameter count."""
    doubt: str = ""
    """How the headers differ from config.json; empty if they do not."""
    has_fused_attention: bool = True
    """False where transformers has only attention that materialises its scores."""
    can_checkpoint: bool = True
    """Whether transformers can recompute the activations."""
    state_width: int = 0
    """Values of the recurrent state of one layer's token."""

    @property
    def q(self) -> int:
        """Width of the queries."""
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        """Width of the keys, and of the values."""
        return self.kv_heads * self.head_dim

    @property
    def tied(self) -> bool:
        """Whether input embedding and output layer share a matrix."""
        return self.weights.head == 0

    @property
    def table(self) -> int:
        """Elements of the output layer, own or shared."""
        return self.vocab * self.hidden


def shape_of(facts: ModelFacts) -> ModelShape | None:
    """A model's shape from its facts; None if a size is missing or implausible.

    Of an architecture without a verified formula only the hidden size, the layers and the vocabulary are needed: its
    weights are counted, and its activations get a wide range.
    """
    family = next(filter(None, (FAMILIES.get(each or "") for each in _types(facts))), None)
    hidden, layers, vocab = facts.hidden_size, facts.layers, facts.vocab_size
    heads, head_dim = facts.heads, facts.head_dim
    wide = facts.intermediate_size or facts.expert_intermediate_size
    if family is None and hidden:
        heads = heads or max(1, hidden // (head_dim or USUAL_HEAD_DIM))
        head_dim = head_dim or max(1, hidden // heads)
        wide = wide or USUAL_GROWTH * hidden
    kv_heads = facts.kv_heads or heads
    if not (hidden and layers and heads and kv_heads and head_dim and vocab and wide):
        return None
    widths = (hidden, wide, vocab, heads * head_dim)
    of_experts = (facts.expert_intermediate_size or 0, facts.shared_intermediate_size or 0)
    if layers > MOST_LAYERS or heads > MOST_HEADS or max(*widths, *of_experts) > WIDEST:
        return None
    experts, chosen = _mixture(facts)
    if kv_heads > heads or experts > MOST_EXPERTS or chosen > experts or (experts and not chosen):
        return None
    known = facts.known
    shape = ModelShape(
        hidden, layers, heads, kv_heads, head_dim, wide, vocab, WeightCount((), 0, 0, 0),
        family or _guessed(facts.weights), family is not None and not facts.header_problem,
        experts, chosen,
        facts.expert_intermediate_size or (wide if experts else 0), facts.shared_intermediate_size or 0,
        family is not None or facts.weights is not None,
        has_fused_attention=known is None or not known.is_known or "sdpa" in known.attention,
        can_checkpoint=known is None or known.can_checkpoint,
        state_width=facts.state_width or 0,
    )  # fmt: skip
    weights = _as_peft_sees(count_weights(shape, tied=bool(facts.tied_embeddings)), facts)
    if facts.weights is None:
        return replace(shape, weights=weights)
    counted = _as_peft_sees(facts.weights, facts)
    if facts.tied_embeddings and counted.head:  # some repositories store a tied embedding twice
        counted = replace(counted, head=0)
    doubt = _doubt(facts, counted, weights) if shape.is_known else ""
    if shape.is_known and not _are_close(counted, weights, FAR):
        return None
    return replace(shape, weights=counted, is_known=shape.is_known and not doubt, doubt=doubt)


def _mixture(facts: ModelFacts) -> tuple[int, int]:
    """Experts of a layer and those of a token; none where the weights have none, whatever the settings say."""
    if facts.weights is not None and facts.quantisation is None and not facts.weights.experts:
        return 0, 0
    return facts.experts or 0, facts.experts_per_token or 0


def _types(facts: ModelFacts) -> tuple[str | None, ...]:
    """The model types that a model's layers may be of, its own first."""
    return facts.model_type, facts.loaded_type, facts.text_type


def _guessed(weights: WeightCount | None) -> Family:
    """How the layers of an unverified architecture may compute, by the names of its matrices."""
    if weights is None or any("gate" in matrix.name or matrix.name == "w3" for matrix in weights.matrices):
        return _RMS
    return Family("layer", mlp_matrices=2)


def _as_peft_sees(weights: WeightCount, facts: ModelFacts) -> WeightCount:
    """The weights with what PEFT's own tables say of the type that a run loads."""
    known = architecture(facts.loaded_type)
    return replace(
        weights,
        expert_mapping=table().expert_types.get(facts.loaded_type or "", ""),
        refused_targets=known.refused if known is not None else (),
        has_parts_beside=facts.known is not None
        and bool(facts.known.beside)
        and facts.known.loader != "text",
    )


def _doubt(facts: ModelFacts, counted: WeightCount, expected: WeightCount) -> str:
    """How the headers of a known architecture differ from its config."""
    if facts.stored_layers is not None and facts.stored_layers != facts.layers:
        return f"the headers have {facts.stored_layers} layers, but config.json says {facts.layers}"
    if not _are_close(counted, expected, CLOSE):
        numbers = counted.total - counted.tower
        return f"the headers have {numbers:,} parameters, but by config.json there are {expected.total:,}"
    return ""


def _are_close(counted: WeightCount, expected: WeightCount, factor: float) -> bool:
    """Whether the headers' parameter counts match the config's sizes, apart from towers and padding."""
    numbers = counted.total - counted.tower
    return expected.total / factor <= numbers <= factor * expected.total


def count_weights(shape: ModelShape, *, tied: bool, biased: bool = False) -> WeightCount:
    """The weights of a decoder of this shape by its architecture, without headers."""
    h, q, kv, n = shape.hidden, shape.q, shape.kv, shape.layers
    if shape.family.fused_inputs:
        matrices = [Matrix("qkv_proj", h, q + 2 * kv, n), Matrix("o_proj", q, h, n)]
    else:
        matrices = [
            Matrix("q_proj", h, q, n), Matrix("k_proj", h, kv, n), Matrix("v_proj", h, kv, n),
            Matrix("o_proj", q, h, n),
        ]  # fmt: skip
    if shape.experts:
        m, count = shape.expert_intermediate, n * shape.experts
        matrices.append(Matrix("gate", h, shape.experts, n, "router"))
        matrices += [Matrix(name, h, m, count, "expert") for name in ("gate_proj", "up_proj")]
        matrices.append(Matrix("down_proj", m, h, count, "expert"))
        if shape.shared_intermediate:
            matrices += _mlp(shape, shape.shared_intermediate)
    else:
        matrices += _mlp(shape, shape.intermediate)
    other = (shape.family.norms * n + 1) * h
    if shape.family.qk_norm:
        other += 2 * n * shape.head_dim
    if biased:
        other += n * (q + 2 * kv)
    return WeightCount(tuple(matrices), shape.table, 0 if tied else shape.table, other)


def _mlp(shape: ModelShape, width: int) -> list[Matrix]:
    h, n = shape.hidden, shape.layers
    down = Matrix("down_proj", width, h, n)
    if shape.family.mlp_matrices == 2:
        return [Matrix("up_proj", h, width, n), down]
    if shape.family.fused_inputs:
        return [Matrix("gate_up_proj", h, 2 * width, n), down]
    return [Matrix("gate_proj", h, width, n), Matrix("up_proj", h, width, n), down]
