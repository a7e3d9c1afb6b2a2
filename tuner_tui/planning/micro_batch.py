"""How many rows are computed at once where nobody chose, and no estimate could."""

from __future__ import annotations

LARGEST_CPU_MICRO_BATCH = 8
LARGEST_GPU_MICRO_BATCH = 4


def choose_micro_batch(
    asked: int | None, batch_size: int, is_gpu: bool, *, sequences: int = 1, at_least: int = 1
) -> tuple[int, str]:
    """Rows computed at once, and why: the largest divisor of the batch size within a cautious bound.

    A row of `sequences` sequences (a pair has two) counts for as many; `at_least` is the fewest rows that can be
    trained at once.
    """
    if asked is not None:
        return asked, "as asked"
    bound = (LARGEST_GPU_MICRO_BATCH if is_gpu else LARGEST_CPU_MICRO_BATCH) // sequences
    divisors = [size for size in range(at_least, batch_size + 1) if batch_size % size == 0]
    fitting = [size for size in divisors if size <= bound]
    if fitting:
        return fitting[-1], f"the largest divisor of {batch_size} up to {bound}"
    return divisors[0], f"the smallest divisor of {batch_size} from {at_least} on"
