"""Memory of the output layer and the loss, by kind of loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner_tui.planning.shape import ModelShape
from tuner_tui.planning.workload import Workload

TILE_ROWS, TILE_COLUMNS = 4096, 32768
"""TRL 1.16's fused head computes the logits in tiles of at most this many tokens and token IDs (trl.kernels)."""
LIGER_BYTES_PER_LOGIT = 6.0
PAIR_BYTES_PER_LOGIT, PAIR_BYTES_PER_16_BIT_LOGIT = 18.0, 6.0
"""Bytes per logit of TRL's trainers that materialise full logits, at the peak of the loss's backward pass: in fp32, and
with 16-bit logits; from tests/worker/fake_memory."""
ANSWER_BYTES_PER_LOGIT = 12.0
"""Logits, log-probabilities and gradient in fp32, where only tokens with loss are scored."""
ANSWER_BYTES = 2**30
"""Above this a micro-batch is scored in TRL's tiles."""


def most_answer_tokens(vocab: int) -> int:
    """The most tokens with loss of a micro-batch that are scored alone and at once on a CPU."""
    return int(ANSWER_BYTES / (ANSWER_BYTES_PER_LOGIT * vocab))


@dataclass(frozen=True)
class HeadBytes:
    """Peaks of the head in bytes."""

    forward: int
    backward: int
    words: str
    """The formula with this model's values."""


def head_bytes(shape: ModelShape, load: Workload) -> HeadBytes:
    """Peak of output layer and loss on top of what the layers keep."""
    tokens, h, v = load.tokens, shape.hidden, shape.vocab
    # the last norm's input (in fp32, unless its kernel is fused) and its result
    norm = (load.stream_bytes if load.stack.fused_norms else 4) * h * tokens + 2 * h * tokens
    if load.method_traits.head == "score":  # a scalar head
        return HeadBytes(norm, norm + 2 * load.stream_bytes * h * tokens, f"{tokens:,} x 6 x {h:,}")
    trains_head = load.trains_base or load.trains_tables
    if load.method_traits.head == "logits" and load.loss == "trl_fused":
        per = (
            PAIR_BYTES_PER_LOGIT if load.autocast or load.compute_bytes == 4 else PAIR_BYTES_PER_16_BIT_LOGIT
        )
        size = round(tokens * v * per) + (shape.table * load.weight_bytes if trains_head else 0)
        return HeadBytes(norm + tokens * v * 8, norm + size, f"{tokens:,} x {v:,} x {per:g}")
    match load.loss:
        case "trl_fused" if load.is_gpu:
            return _fused(shape, load, norm, trains_head=trains_head)
        case "trl_fused" if load.scores_labels_alone:
            return _labels_on_cpu(shape, load, norm, trains_head=trains_head)
        case "trl_fused":
            return _fused_on_cpu(shape, load, norm, trains_head=trains_head)
        case "liger":
            rows = _power_of_two(math.ceil(tokens / math.ceil(v / h)))
            size = round(rows * v * LIGER_BYTES_PER_LOGIT) + 2 * h * tokens
            size += 2 * v * h if trains_head else 0
            return HeadBytes(norm + size, norm + size, f"{rows:,} x {v:,} x 6")
        case "chunked":
            rows = min(load.stack.loss_rows or tokens, tokens)
            size = round(rows * v * load.stack.bytes_per_logit) + 2 * v * tokens
            return HeadBytes(norm + size, norm + size, f"{tokens:,} x {v:,} x 2, {rows:,} rows at a time")
        case "none":
            return HeadBytes(norm, norm + 2 * h * tokens, "cut cross-entropy keeps no logits")
        case _:
            per = load.stack.bytes_per_logit
            size = round(tokens * v * per)
            return HeadBytes(norm + size, norm + size, f"{tokens:,} x {v:,} x {per:g}")


def _fused(shape: ModelShape, load: Workload, norm: int, *, trains_head: bool) -> HeadBytes:
    """TRL's fused head on a GPU: a tile, the labelled hidden states and their gradient in fp32."""
    c, s, h = load.compute_bytes, load.stream_bytes, shape.hidden
    labelled = math.ceil(load.tokens * load.labelled_share)
    tile = min(labelled, TILE_ROWS) * TILE_COLUMNS * c
    pieces = (TILE_COLUMNS + min(labelled, TILE_ROWS)) * h * c if load.weight_bytes != c else 0
    hidden = s * h * labelled if load.labelled_share < 1 or load.sequences > 1 else 0
    gradient = 4 + s if s < 4 else 4  # computed in fp32, passed on in the stream's dtype
    backward = tile + pieces + hidden + gradient * h * labelled
    if trains_head:
        backward += (4 if load.weight_bytes == 4 else 6) * shape.table
    words = f"{min(labelled, TILE_ROWS):,} x {TILE_COLUMNS:,} x {c} + {labelled:,} x {h:,} x 4"
    return HeadBytes(norm + tile + pieces + hidden, norm + backward, words)


def _fused_on_cpu(shape: ModelShape, load: Workload, norm: int, *, trains_head: bool) -> HeadBytes:
    """The same without Triton: all positions are scored, and each tile has fp32 copies."""
    c, s, h = load.compute_bytes, load.stream_bytes, shape.hidden
    rows = load.concurrent * min(load.micro_batch_tokens, TILE_ROWS)
    tile = rows * TILE_COLUMNS
    columns = min(TILE_COLUMNS, shape.vocab)
    folded = rows * columns
    hidden = s * h * load.tokens if load.sequences > 1 else 0
    forward = tile * c + 3 * 4 * folded + hidden
    backward = tile * c + 6 * 4 * folded + hidden + 4 * h * load.tokens
    if c != 4:
        backward += 4 * h * (columns + rows)
    if trains_head:
        backward += 4 * shape.table
    return HeadBytes(norm + forward, norm + backward, f"{rows:,} x {columns:,} x 24")


def _labels_on_cpu(shape: ModelShape, load: Workload, norm: int, *, trains_head: bool) -> HeadBytes:
    """Logits of tokens with loss alone; a micro-batch with more of them than that is scored in tiles."""
    h, v = shape.hidden, shape.vocab
    most = load.concurrent * most_answer_tokens(v)
    # shares differ by row; where some micro-batches may have more labels than that, both are looked at
    labelled = min(most, math.ceil(load.tokens * load.labelled_share))
    per = ANSWER_BYTES_PER_LOGIT + (0 if load.stream_bytes == 4 else 2)
    size = round(labelled * v * per) + 2 * load.stream_bytes * h * labelled
    size += 4 * h * load.tokens + (4 * shape.table if trains_head else 0)
    words = f"{labelled:,} x {v:,} x {per:g}"
    alone = HeadBytes(norm + round(labelled * v * (per - 4)), norm + size, words)
    if load.tokens <= most:
        return alone
    tiles = _fused_on_cpu(shape, load, norm, trains_head=trains_head)
    return max(alone, tiles, key=lambda head: head.backward)


def _power_of_two(number: int) -> int:
    return 1 << max(0, math.ceil(math.log2(max(number, 1))))
