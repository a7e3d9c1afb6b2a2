"""The range of memory that the driver or system shows, from allocated memory: context and fragmentation."""

from __future__ import annotations

from tuner_tui.planning.peaks import Parts, Peak
from tuner_tui.planning.shape import ModelShape
from tuner_tui.planning.states import is_paged
from tuner_tui.planning.workload import Workload

GIB = 1 << 30
CONTEXT_LOW, CONTEXT_HIGH = round(0.3 * GIB), round(1.46 * GIB)
"""CUDA's memory outside torch's allocator, by GPU and driver; measured values replace them."""
PROCESS_LOW, PROCESS_HIGH = round(0.4 * GIB), round(1.0 * GIB)
"""Memory of a worker on a CPU before the model: libraries, tokenizer and data."""
UNKNOWN_LESS, UNKNOWN_MORE = 0.8, 1.25
"""Relative errors allowed for the activations of an unverified architecture, downwards and upwards."""
STATE_COPIES = 8
"""fp32 copies of a recurrent state (Mamba and similar) for each token that a layer keeps without fused kernels."""
UNCOUNTED_SHARE = 0.3
"""The same for weights that neither headers nor a known architecture give."""


def driver_range(shape: ModelShape, load: Workload, parts: Parts, peaks: tuple[Peak, ...]) -> tuple[int, int]:
    """Least and most bytes that the driver (or, on a CPU, the system) will show.

    The allocator reuses freed blocks only where they fit: at worst a loss with full logits keeps its own blocks beside
    the layers', and a fused one at most those of the smaller of the two. Varying lengths split blocks further, most
    without expandable segments (published runs: 14 to 80 % above allocated memory), where all of a step's temporary
    memory may be left in split blocks.
    """
    allocated = peaks[0].bytes
    moving = max(0, allocated - peaks[-1].bytes)
    less, more = (0, 0) if shape.is_known else (round(UNKNOWN_LESS * moving), round(UNKNOWN_MORE * moving))
    if not shape.has_counted_weights:
        less += round(UNCOUNTED_SHARE * parts.weights)
        more += round(UNCOUNTED_SHARE * parts.weights)
    at_once = shape.layers if load.checkpointing == "off" else 1
    more += STATE_COPIES * 4 * shape.state_width * load.tokens * at_once
    if not load.is_gpu:
        return allocated - less + PROCESS_LOW, round(1.3 * allocated) + more + PROCESS_HIGH
    if load.loss in ("plain", "chunked"):
        reserve = max(GIB, round(0.1 * allocated)) + parts.head.backward
    else:
        reserve = max(GIB, round(0.05 * allocated)) + min(parts.head.backward, parts.in_layer)
    if load.varied:
        reserve += round(0.1 * allocated) if load.stack.expandable_segments else moving
    low, high = allocated - less, allocated + reserve + more
    paged = parts.states if is_paged(load.optimizer) else 0
    return low + CONTEXT_LOW, high + CONTEXT_HIGH + paged
