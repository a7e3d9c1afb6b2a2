"""One training step's settings and how the libraries execute it: the input of the memory estimate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tuner_tui.config.methods.traits import DEFAULT_METHOD, MethodTraits, method_traits
from tuner_tui.config.reference import Reference, reference_of
from tuner_tui.config.tunings.traits import DEFAULT_TUNING, tuning_traits

LoadedAs = Literal["fp32", "bf16", "int8", "nf4", "stored"]
Checkpointing = Literal["on", "off", "offloaded"]
Attention = Literal["fused", "eager"]
Loss = Literal["trl_fused", "plain", "liger", "chunked", "none"]
OptimizerKind = Literal[
    "adamw", "adamw_foreach", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "adafactor", "sgd"
]


@dataclass(frozen=True)
class Stack:
    """How library versions execute a step; the default is the pinned versions."""

    fused_norms: bool = False
    """Kernels that keep a norm's input instead of an fp32 copy (Liger, FOAK, Unsloth)."""
    fused_experts: bool = True
    """Experts in 3-D tensors, which bitsandbytes leaves unquantised (transformers 5)."""
    keeps_4bit_inputs: bool = False
    """bitsandbytes before 0.43.3 saved the input of every 4-bit layer."""
    fp32_stream: bool = False
    """prepare_model_for_kbit_training: norms become fp32, and the residual stream too; TRL casts embeddings back."""
    quantised_head: bool = False
    """litgpt quantises the output layer too, without double quantisation."""
    double_quantised: bool = True
    own_tables: bool = False
    """litgpt loads tied embeddings twice."""
    fused_adapters: bool = False
    """Kernels that compute quantised matrices and adapters in one operation (Unsloth, FOAK)."""
    repeats_keys: bool = False
    """Keys and values expanded to all heads before the fused attention (some models before transformers 4.48)."""
    expandable_segments: bool = True
    """Whether torch's allocator uses expandable segments, which avoids fragmentation by varying lengths."""
    bytes_per_logit: float = 12.0
    """Bytes per logit of an unfused loss at its peak."""
    loss_rows: int | None = None
    """Rows per chunk of a chunked loss."""


PINNED = Stack()


@dataclass(frozen=True)
class Workload:
    """One training step."""

    rows: int = 1
    """Rows in a micro-batch; a pair counts as one, and so does each generated answer."""
    length: int = 1024
    """Tokens of its longest row, to which the others are padded; of the prompt, if answers are generated."""
    concurrent: int = 1
    """How many micro-batches a CPU computes at the same time."""
    method: str = DEFAULT_METHOD
    tuning: str = DEFAULT_TUNING
    loaded_as: LoadedAs = "bf16"
    keeps_fp32: bool = False
    """Whether the unquantised weights of a quantised base stay in fp32 (CPUs without fast 16-bit compute)."""
    autocast: bool = True
    """Whether 16-bit autocast is used with weights of another dtype."""
    rank: int = 16
    targets: str | tuple[str, ...] = "all-linear"
    dora: bool = False
    dropout: float = 0.0
    adapter_bytes: int = 4
    """Bytes per parameter of an adapter."""
    virtual_tokens: int = 0
    """Of prompt tuning."""
    trains_tables: bool = False
    """Adapters with a full copy of embedding and head (modules_to_save)."""
    checkpointing: Checkpointing = "on"
    optimizer: OptimizerKind = "adamw"
    accumulates: bool = True
    """Whether gradients are accumulated over micro-batches."""
    attention: Attention = "fused"
    padded: bool = False
    """Whether rows are padded or packed, so that a mask prevents the fused kernel from sharing keys among heads."""
    packed: bool = False
    """Whether the rows of a micro-batch are joined into one sequence (TRL's packing)."""
    varied: bool = False
    """Whether micro-batches differ in length from step to step."""
    loss: Loss = "trl_fused"
    labelled_share: float = 1.0
    """Share of the tokens with loss."""
    precomputed_reference: bool = False
    is_continued: bool = False
    """Whether the run starts from an adapter."""
    answers: int = 8
    """GRPO and RLOO: answers generated per prompt, in one batch, however small the micro-batch is."""
    answer_length: int = 256
    """Largest number of generated tokens."""
    shared_base: bool = True
    """PPO: policy, value, reward and reference are adapters on one base."""
    is_gpu: bool = True
    stack: Stack = field(default_factory=Stack)

    @property
    def method_traits(self) -> MethodTraits:
        return method_traits(self.method)

    @property
    def trains_base(self) -> bool:
        """Whether the base's own weights are trained."""
        return not tuning_traits(self.tuning).is_adapter

    @property
    def named_targets(self) -> tuple[str, ...]:
        """The modules that an adapter's targets name; none where they are a kind of layer."""
        return () if isinstance(self.targets, str) else self.targets

    @property
    def reference(self) -> Reference:
        return reference_of(self.method, self.tuning, is_continued=self.is_continued)

    @property
    def compares(self) -> bool:
        """Whether each step runs a reference, too."""
        return self.reference != "none" and not self.precomputed_reference

    @property
    def scores_labels_alone(self) -> bool:
        """Whether the logits are those of tokens with loss (worker/training/answer_loss.py)."""
        return self.method_traits.head == "labels" and self.loss == "trl_fused" and not self.is_gpu

    @property
    def sequences(self) -> int:
        """Token sequences in a micro-batch."""
        return self.rows * self.method_traits.sequences_per_row

    @property
    def micro_batch_tokens(self) -> int:
        """Tokens in a micro-batch, padding included."""
        return self.sequences * self.sequence_length

    @property
    def tokens(self) -> int:
        """Tokens in all micro-batches that are computed at the same time, padding included."""
        return self.concurrent * self.micro_batch_tokens

    @property
    def sequence_length(self) -> int:
        """Tokens of one sequence, including a generated answer at full length."""
        written = self.answer_length if self.method_traits.generates else 0
        return self.length + self.virtual_tokens + written

    @property
    def attended_length(self) -> int:
        """Tokens that attention computes with for each token, masked ones included."""
        return self.micro_batch_tokens if self.packed else self.sequence_length

    @property
    def compute_bytes(self) -> int:
        """Bytes of an element in matrix products."""
        return 2 if self.autocast else self.weight_bytes

    @property
    def weight_bytes(self) -> int:
        """Bytes of an unquantised weight."""
        return 4 if self.loaded_as == "fp32" or self.keeps_fp32 else 2

    @property
    def stream_bytes(self) -> int:
        """Bytes of an element in the residual stream."""
        if self.stack.fp32_stream:
            return 4
        return self.weight_bytes
