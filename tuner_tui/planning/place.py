"""The device that a run would train on, and a spec's training step there: dtypes and micro-batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Literal

from tuner_tui.config.methods import own_options
from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.hardware.system import usable_cpu_count
from tuner_tui.models.stored import is_unpacked
from tuner_tui.planning.checkpointing import checkpoints_activations
from tuner_tui.planning.measurement import Measured, matching
from tuner_tui.planning.micro_batch import choose_micro_batch
from tuner_tui.planning.precision import ShortType, resolve_precision
from tuner_tui.planning.threads import choose_threads
from tuner_tui.planning.tunings import tuning_fields
from tuner_tui.planning.workload import Checkpointing, LoadedAs, Stack, Workload

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.hardware.free_memory import FreeMemory
    from tuner_tui.models.facts import ModelFacts
    from tuner_tui.planning.estimate import Estimate

PRECISIONS: tuple[LoadedAs, ...] = ("fp32", "bf16", "int8", "nf4")
Verdict = Literal["fits", "tight", "too big", "unknown"]
GB = 1_000_000_000
DRAWN_STEPS = 64
"""Steps that padding is counted in."""
_CPU_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


@dataclass(frozen=True)
class Place:
    """The device and memory that a run would train in."""

    is_gpu: bool = True
    name: str = "GPU"
    free_bytes: int | None = None
    total_bytes: int | None = None
    leave_bytes: int = 0
    """Memory to leave free, for a GPU that also drives the desktop."""
    has_16_bit: bool = True
    """Whether 16-bit compute is fast there."""
    threads: int = 1
    """Threads that a CPU computes with."""
    measured: tuple[Measured, ...] = ()
    """Measurements of earlier runs and probes there, with the same libraries."""

    @property
    def room_bytes(self) -> int | None:
        """The memory that a run may use."""
        return None if self.free_bytes is None else max(0, self.free_bytes - self.leave_bytes)


def place_of(free: FreeMemory, leave_bytes: int = 0, measured: Sequence[Measured] = ()) -> Place:
    """The place for a reading of free memory; `measured` are all measurements on this machine."""
    from tuner_tui.versions import library_versions

    where = free.where if free.is_gpu else None
    same = matching(measured, where, library_versions(), free.driver) if measured else ()
    has_16_bit = free.is_gpu or cpu_has_16_bit()
    threads = 1 if free.is_gpu else choose_threads(usable_cpu_count())[0]
    return Place(
        free.is_gpu, free.where, free.free_bytes, free.total_bytes, leave_bytes, has_16_bit, threads, same
    )


def leave_free_bytes() -> int:
    """The memory that the settings leave free."""
    from tuner_tui.config.settings import read_settings

    return round((read_settings().number("memory.leave_free") or 0.0) * GB)


def cpu_has_16_bit(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU computes bf16 natively, by the flags that the system reports; False where unknown."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return False
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return not set(line.split()).isdisjoint(_CPU_FLAGS)


@dataclass(frozen=True)
class Rows:
    """What is known of a run's training rows."""

    longest: int | None = None
    """Tokens of the longest sequence read; None if rows were not counted."""
    count: int | None = None
    """Number of rows; None if they were not counted, or not all were read."""
    first: int | None = None
    """How many rows were read, if there are more: the rest may be longer."""
    sample: tuple[int, ...] = ()
    """Tokens of an even sample of sequences."""
    is_guessed: bool = False
    """Whether the sample was guessed from the rows' bytes, since there is no tokenizer yet."""
    labelled_share: float = 1.0
    """Share of tokens with loss, at most."""
    token_ids: tuple[tuple[str, int], ...] = ()
    """The token IDs that the model must have: what they are of, and the ID."""

    def longest_within(self, limit: int) -> int:
        """Tokens of the longest sequence within a limit; the limit itself if there may be longer ones."""
        return limit if self.longest is None or self.first is not None else min(self.longest, limit)

    @property
    def mean(self) -> float | None:
        """Tokens of a sequence on average."""
        return sum(self.sample) / len(self.sample) if self.sample else None

    def share_over(self, length: int) -> float | None:
        """Share of the sequences that are longer than this many tokens."""
        if not self.sample or self.is_guessed:
            return None
        return sum(tokens > length for tokens in self.sample) / len(self.sample)

    def padding_share(self, at_once: int, limit: int) -> float | None:
        """Share of padding tokens in micro-batches of this many random rows."""
        return _padding_share(self.sample, at_once, limit) if self.sample else None

    def sorted_padding_share(self, at_once: int, of: int, limit: int) -> float | None:
        """The same in micro-batches of `at_once` sequences, where each `of` random ones are sorted by length before."""
        return _sorted_padding_share(self.sample, at_once, of, limit) if self.sample else None


@lru_cache(maxsize=256)
def _padding_share(sample: tuple[int, ...], at_once: int, limit: int) -> float:
    lengths = sorted(min(tokens, limit) for tokens in sample)
    count = len(lengths)
    longest = sum(
        length * (((rank + 1) / count) ** at_once - (rank / count) ** at_once)
        for rank, length in enumerate(lengths)
    )
    return 1 - sum(lengths) / count / longest if longest else 0.0


@lru_cache(maxsize=256)
def _sorted_padding_share(sample: tuple[int, ...], at_once: int, of: int, limit: int) -> float:
    draw = Random(0)
    rows = padded = 0
    for _ in range(DRAWN_STEPS):
        lengths = sorted(min(tokens, limit) for tokens in draw.choices(sample, k=of))
        rows += sum(lengths)
        padded += sum(at_once * lengths[last] for last in range(at_once - 1, of, at_once))
    return 1 - rows / padded if padded else 0.0


UNCOUNTED = Rows()


def is_stored(facts: ModelFacts) -> bool:
    """Whether a run uses the base quantised as in its files."""
    return facts.quantisation is not None and not is_unpacked(facts.quantisation)


def loaded_precision(spec: RunSpec, place: Place) -> LoadedAs:
    """The precision in which the base is loaded; bf16 stands for fp16 too, which takes the same memory."""
    fast: ShortType | None = "bf16" if place.has_16_bit else None
    precision = resolve_precision(
        spec.model.precision, fast, trains_base=not tuning_traits(spec.tuning.kind).is_adapter
    )
    return "bf16" if precision == "fp16" else precision


def judge(estimate: Estimate, place: Place) -> Verdict:
    """Whether an estimate fits into a place's room.

    It fits if the upper bound does, is tight if only the lower bound does, and is too big otherwise.
    """
    room = place.room_bytes
    if room is None:
        return "unknown"
    if estimate.high <= room:
        return "fits"
    if estimate.low <= room:
        return "tight"
    return "too big"


def is_applicable(loaded_as: LoadedAs, spec: RunSpec) -> bool:
    """Whether a precision can be used with the tuning: quantised weights cannot be trained themselves."""
    if loaded_as == "stored":
        return True
    return loaded_as in tuning_traits(spec.tuning.kind).precisions and spec.tuning.works_on(loaded_as)


def workload_of(
    spec: RunSpec,
    place: Place,
    rows: Rows = UNCOUNTED,
    *,
    loaded_as: LoadedAs | None = None,
) -> Workload:
    """The training step of a spec at a place; `loaded_as` overrides the precision."""
    training, method, tuning = spec.training, spec.method, spec.tuning
    loaded_as = loaded_as or loaded_precision(spec, place)
    is_full, is_short = not tuning_traits(tuning.kind).is_adapter, place.has_16_bit
    precision = spec.model.precision
    if loaded_as == "fp32":  # set explicitly with an adapter, it is fp32 throughout
        autocast = is_short and is_full
    else:
        autocast = is_short and not (loaded_as == "bf16" and is_full)
    length = rows.longest_within(training.max_length)
    is_packed = own_options.is_packed(method)
    if is_packed:
        length = training.max_length
    on = checkpoints_activations(training.checkpointing, is_gpu=place.is_gpu)
    load = Workload(
        rows=1, length=max(1, length), method=method.kind, tuning=tuning.kind,
        loaded_as=loaded_as, autocast=autocast or precision == "fp16",
        keeps_fp32=loaded_as in ("int8", "nf4") and not is_short,
        checkpointing="on" if on else "off", optimizer=training.optimizer,
        attention="eager" if spec.model.attention == "eager" else "fused",
        packed=is_packed, varied=not is_packed, labelled_share=rows.labelled_share,
        precomputed_reference=own_options.precomputes_reference(method), is_gpu=place.is_gpu,
    )  # fmt: skip
    load = replace(load, is_continued=spec.model.adapter is not None, **tuning_fields(tuning))
    if not place.is_gpu:
        load = replace(load, stack=replace(Stack(), expandable_segments=False))
    return with_rows(load, spec, training.micro_batch or default_micro_batch(spec, place), load.checkpointing)


def with_rows(
    load: Workload, spec: RunSpec, micro_batch: int, checkpointing: Checkpointing, concurrent: int = 1
) -> Workload:
    """The step with this micro-batch, with gradient accumulation up to the batch size."""
    return replace(
        load,
        rows=micro_batch,
        concurrent=concurrent,
        checkpointing=checkpointing,
        accumulates=spec.training.batch_size > micro_batch,
        padded=spec.model.attention != "flash_attention_2"
        and (load.packed or (load.varied and micro_batch * load.method_traits.sequences_per_row > 1)),
    )


def default_micro_batch(spec: RunSpec, place: Place) -> int:
    """The micro-batch if none is set."""
    traits = method_traits(spec.method.kind)
    return choose_micro_batch(
        None, spec.training.batch_size, place.is_gpu,
        sequences=traits.sequences_per_row, at_least=traits.fewest_rows,
    )[0]  # fmt: skip
