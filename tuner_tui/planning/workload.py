"""One training step's settings and how the libraries execute it: the input of the memory estimate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tuner_tui.config.methods.traits import DEFAULT_METHOD, MethodTraits, method_traits
from tuner_tui.config.tunings.traits import DEFAULT_TUNING, tuning_traits

Held = Literal["fp32", "bf16", "int8", "nf4", "stored"]
Checkpointing = Literal["on", "off", "offloaded"]
Attention = Literal["fused", "eager"]
Loss = Literal["trl_fused", "plain", "liger", "chunked", "none"]
OptimizerKind = Literal[
    "adamw", "adamw_foreach", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "adafactor", "sgd"
]


@dataclass(frozen=True)
class Stack:
    """How libraries of some age and kind carry a step out; the default is the pinned stack."""

    fused_norms: bool = False
    """Kernels that keep a norm's input as it is in place of an fp32 copy (Liger, FOAK, Unsloth)."""
    fused_experts: bool = True
    """Experts in 3-D tensors, which bitsandbytes leaves unquantised (transformers 5)."""
    keeps_4bit_inputs: bool = False
    """bitsandbytes before 0.43.3 saved the input of every 4-bit layer."""
    fp32_stream: bool = False
    """prepare_model_for_kbit_training: norms become fp32, and so does the residual stream; TRL casts tables back."""
    quantised_head: bool = False
    """litgpt packs the output layer too, and without a second level of scales."""
    double_quantised: bool = True
    own_tables: bool = False
    """litgpt holds tied tables twice."""
    fused_adapters: bool = False
    """Kernels that compute adapters beside quantised matrices in one operation (Unsloth, FOAK)."""
    repeats_keys: bool = False
    """Keys and values widened to all heads before the fused attention (some models before transformers 4.48)."""
    expandable_segments: bool = True
    """Whether torch's allocator may grow its blocks, which keeps rows of ever new lengths from splitting them."""
    bytes_per_logit: float = 12.0
    """Of an unfused loss, at its peak."""
    loss_rows: int | None = None
    """Rows of a chunked loss's piece."""


PINNED = Stack()


@dataclass(frozen=True)
class Workload:
    """One training step."""

    rows: int = 1
    """Rows in a micro-batch; a pair counts as one, and so does each answer of those that are written."""
    length: int = 1024
    """Tokens of its longest row, to which the others are padded; of its prompt, where answers are written."""
    method: str = DEFAULT_METHOD
    tuning: str = DEFAULT_TUNING
    held: Held = "bf16"
    keeps_fp32: bool = False
    """Whether what a quantised base leaves as it is stays in fp32 (CPUs without fast 16-bit arithmetic)."""
    autocast: bool = True
    """Whether arithmetic is 16-bit beside weights of another type."""
    rank: int = 16
    targets: str | tuple[str, ...] = "all-linear"
    dora: bool = False
    dropout: float = 0.0
    adapter_bytes: int = 4
    """Bytes of one trained number of an adapter."""
    virtual_tokens: int = 0
    """Of prompt tuning."""
    trains_tables: bool = False
    """Adapters with a full copy of embedding and head (modules_to_save)."""
    checkpointing: Checkpointing = "on"
    optimizer: OptimizerKind = "adamw"
    accumulates: bool = True
    """Whether gradients stay from micro-batch to micro-batch."""
    attention: Attention = "fused"
    padded: bool = False
    """Whether rows are padded, so that a mask keeps the fused kernel from sharing keys among heads."""
    varied: bool = False
    """Whether micro-batches differ in length from step to step."""
    loss: Loss = "trl_fused"
    labelled_share: float = 1.0
    """Share of the tokens with loss."""
    precomputed_reference: bool = False
    reference_adapter: bool = False
    """Whether a frozen copy of the adapter lies beside it (a method with a reference that starts from one)."""
    answers: int = 8
    """GRPO and RLOO: answers written for each prompt, together, however few of them are trained on at once."""
    answer_length: int = 256
    """Tokens written at most."""
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
    def compares(self) -> bool:
        """Whether each step runs a reference, too."""
        return self.method_traits.has_reference and not self.precomputed_reference

    @property
    def sequences(self) -> int:
        """Token sequences that run through the model at once."""
        return self.rows * self.method_traits.sequences_per_row

    @property
    def tokens(self) -> int:
        """Tokens in a micro-batch, padding counted."""
        return self.sequences * self.sequence_length

    @property
    def sequence_length(self) -> int:
        """Tokens of one sequence that runs through the model, a written answer at its longest."""
        written = self.answer_length if self.method_traits.generates else 0
        return self.length + self.virtual_tokens + written

    @property
    def compute_bytes(self) -> int:
        """Bytes of a number in matrix products."""
        return 2 if self.autocast else self.weight_bytes

    @property
    def weight_bytes(self) -> int:
        """Bytes of an unquantised weight."""
        return 4 if self.held == "fp32" or self.keeps_fp32 else 2

    @property
    def stream_bytes(self) -> int:
        """Bytes of a number in the residual stream."""
        if self.stack.fp32_stream:
            return 4
        return self.weight_bytes
