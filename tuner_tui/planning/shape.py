"""The numbers of a model's architecture that memory follows from, and which families are known well enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tuner_tui.models.facts import ModelFacts
from tuner_tui.models.weight_count import Matrix, WeightCount

NormStyle = Literal["rms", "gemma", "layer"]
MOST_LAYERS, MOST_HEADS, WIDEST = 10_000, 65_536, 1 << 22
"""Beyond these a config is a slip or a joke, and nothing is computed from it."""


@dataclass(frozen=True)
class Family:
    """How the layers of some model types compute."""

    norm: NormStyle = "rms"
    """rms and gemma are RMSNorms computed in fp32; gemma's also multiplies in fp32. layer is LayerNorm."""
    norms: int = 2
    """Norms over the whole width in a layer."""
    qk_norm: bool = False
    """Whether queries and keys are normalised per head."""
    mlp_matrices: int = 3
    """3 with a gate, 2 without."""
    softcap: bool = False
    """Whether attention scores are capped, which only the eager path does."""
    fused_inputs: bool = False
    """Whether query, key and value are one matrix, and gate and up another."""


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
"""Model types whose saved activations were compared with the real code; others get a wide range."""


@dataclass(frozen=True)
class ModelShape:
    """What the arithmetic needs of a model. Widths are numbers per token."""

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
    """False where the architecture is not in FAMILIES, or where the weight files tell no sizes: a wide range."""
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    shared_intermediate: int = 0

    @property
    def q(self) -> int:
        """Width of the queries."""
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        """Width of the keys, which the values share."""
        return self.kv_heads * self.head_dim

    @property
    def tied(self) -> bool:
        """Whether input table and output layer are one."""
        return self.weights.head == 0

    @property
    def table(self) -> int:
        """Numbers in the output layer, own or shared."""
        return self.vocab * self.hidden


def shape_of(facts: ModelFacts) -> ModelShape | None:
    """A model's shape from its facts; None where a number is missing or absurd."""
    hidden, layers, heads, vocab = facts.hidden_size, facts.layers, facts.heads, facts.vocab_size
    kv_heads, head_dim = facts.kv_heads or heads, facts.head_dim
    wide = facts.intermediate_size or facts.expert_intermediate_size
    if not (hidden and layers and heads and kv_heads and head_dim and vocab and wide):
        return None
    if layers > MOST_LAYERS or heads > MOST_HEADS or max(hidden, wide, vocab, heads * head_dim) > WIDEST:
        return None
    if kv_heads > heads or (facts.experts_per_token or 0) > (facts.experts or 0):
        return None
    family = FAMILIES.get(facts.model_type or "")
    shape = ModelShape(
        hidden, layers, heads, kv_heads, head_dim, wide, vocab, WeightCount((), 0, 0, 0),
        family or _RMS, family is not None and not facts.header_problem,
        facts.experts or 0, facts.experts_per_token or 0,
        facts.expert_intermediate_size or (wide if facts.experts else 0), facts.shared_intermediate_size or 0,
    )  # fmt: skip
    weights = count_weights(shape, tied=bool(facts.tied_embeddings))
    if facts.weights is not None:
        if shape.is_known and not _agree(facts.weights, weights):
            return None
        weights = facts.weights
    if facts.tied_embeddings and weights.head:  # some repositories store a tied table twice
        weights = replace(weights, head=0)
    return replace(shape, weights=weights)


def _agree(counted: WeightCount, expected: WeightCount) -> bool:
    """Whether the headers' numbers are those of the config's sizes, towers and padding aside."""
    numbers = counted.total - counted.tower
    return 0.5 * expected.total <= numbers <= 2 * expected.total


def count_weights(shape: ModelShape, *, tied: bool, biased: bool = False) -> WeightCount:
    """The weights that a decoder of this shape has by its architecture, where no header tells."""
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
        matrices += [Matrix(name, h, m, count, "expert") for name in ("gate_proj", "up_proj")]
        matrices.append(Matrix("down_proj", m, h, count, "expert"))
        if shape.shared_intermediate:
            matrices += _mlp(shape, shape.shared_intermediate)
    else:
        matrices += _mlp(shape, shape.intermediate)
    other = (shape.family.norms * n + 1) * h + n * shape.experts * h
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
