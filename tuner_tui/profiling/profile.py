"""A profile of training steps: the measured figures, and the settings that they were measured with."""

from __future__ import annotations

import msgspec

PARTS = ("data", "forward", "head", "backward", "optimizer", "callbacks", "waiting")
"""The parts of a step, in their order; together they are its wall time."""
COMPUTED = ("forward", "head", "backward")
"""The parts that compute rows."""


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """One of PyTorch's operators in one part, without the operators that it calls."""

    name: str
    part: str
    ms: float
    """Milliseconds per step, summed over threads; on a GPU those of its kernels."""
    calls: float
    """Per step."""


class PartTime(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a step."""

    name: str
    ms: float
    """Milliseconds of a step's wall time."""
    share: float
    """Of the wall time, from 0 to 1."""
    thread_ms: float
    """Milliseconds per step, summed over the threads that compute rows side by side."""
    operators: tuple[Operator, ...] = ()
    """Those that took most, the longest first."""


class MatrixSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """The speed of one matrix product of the model's width, measured after the steps with the run's threads."""

    tokens: int
    gflops: float
    """10^9 floating-point operations per second."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What of a run decides its speed."""

    method: str
    tuning: str
    micro_batch: int
    accumulation: int
    concurrent: int = 1
    """Micro-batches that a CPU computes at the same time."""
    is_checkpointing: bool
    is_gpu: bool
    threads: int
    cores: int
    """Cores that this process may use."""
    all_cores: int = 0
    """Cores of the machine; 0 where unknown."""
    loss_on: str = ""
    """A value of method.loss_on; empty if the method has no such choice."""
    is_grouped: bool = False
    is_packed: bool = False
    can_pack: bool = False
    max_length: int
    evaluation_every: int | None = None
    """Optimizer steps between evaluations; None at each epoch's end, or without held-out rows."""
    checkpoints_every: int | None = None
    samples_every: int | None = None
    has_trackers: bool = False


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What fits into memory, by the estimate scaled to the memory that these steps took; None where unknown."""

    micro_batches: dict[int, bool] = {}
    """Whether a larger micro-batch fits, by its rows."""
    is_checkpointing_needed: bool | None = None


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """Time between steps, in milliseconds per step of the run; None where unknown."""

    evaluation_ms: float | None = None
    checkpoints_ms: float | None = None
    samples_ms: float | None = None
    is_estimated: bool = False
    """Whether evaluation is by arithmetic: held-out rows times the forward pass of a row."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of some steps went. All figures are means per optimizer step."""

    at: float
    """Unix time."""
    model_name: str
    device_name: str
    first_step: int
    steps: int
    step_ms: float
    """Wall time of a step, with the profiler on."""
    plain_step_ms: float | None = None
    """Wall time of a step without the profiler, for as many tokens; None if no such step was made."""
    parts: tuple[PartTime, ...]
    operators: tuple[Operator, ...]
    """Those that took most of a step, the longest first."""
    tokens: float
    """Without padding."""
    padded_tokens: float
    """With padding."""
    tokens_with_loss: float | None = None
    rows: float
    head_backward_ms: float = 0.0
    """How much of `backward` was the loss head."""
    matrix_ms: float = 0.0
    """Matrix products in the forward and backward pass, as a share of the wall time like `parts`."""
    matrix_speeds: tuple[MatrixSpeed, ...] = ()
    """The first at the tokens of a micro-batch, then at those of larger ones."""
    cpu_ms: float | None = None
    """Processor time of all threads of the process."""
    others_cores: float | None = None
    """How many cores other programs kept busy meanwhile, on average."""
    settings: Settings
    room: Room = Room()
    outside: Outside = Outside()

    @property
    def overhead(self) -> float | None:
        """How much longer a step takes with the profiler on: 0.1 is a tenth."""
        return None if not self.plain_step_ms else self.step_ms / self.plain_step_ms - 1

    @property
    def tokens_per_second(self) -> float:
        """Tokens without padding, by the steps without the profiler if there are any."""
        return 1000 * self.tokens / (self.plain_step_ms or self.step_ms)

    @property
    def padding(self) -> float:
        """Share of the computed tokens that is padding."""
        return 1 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0

    @property
    def threads_used(self) -> float | None:
        """How many threads computed at a time, on average, including the libraries' own."""
        return None if self.cpu_ms is None or not self.step_ms else self.cpu_ms / self.step_ms

    def ms(self, *names: str) -> float:
        """Milliseconds of parts together."""
        return sum(part.ms for part in self.parts if part.name in names)
