"""The default micro-batch, if none is set and no estimate can choose one."""

from __future__ import annotations

LARGEST_CPU_MICRO_BATCH = 8
LARGEST_GPU_MICRO_BATCH = 4


def choose_micro_batch(
    micro_batch: int | None, batch_size: int, is_gpu: bool, *, sequences: int = 1, at_least: int = 1
) -> tuple[int, str]:
    """The micro-batch and its reason: the largest divisor of the batch size within a conservative bound.

    A row counts as its number of `sequences` (a pair has two); `at_least` is the smallest possible micro-batch.
    """
    if micro_batch is not None:
        return micro_batch, "as set"
    bound = (LARGEST_GPU_MICRO_BATCH if is_gpu else LARGEST_CPU_MICRO_BATCH) // sequences
    divisors = [size for size in range(at_least, batch_size + 1) if batch_size % size == 0]
    fitting = [size for size in divisors if size <= bound]
    if fitting:
        return fitting[-1], f"the largest divisor of {batch_size} up to {bound}"
    return divisors[0], f"the smallest divisor of {batch_size} from {at_least} on"
