"""The time of a run by arithmetic, where nothing was measured: floating-point operations over a range of speeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.config.tunings.traits import tuning_traits

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.planning.place import Rows
    from tuner_tui.planning.shape import ModelShape
    from tuner_tui.planning.workload import Workload

CPU_CORE_FLOPS = (4e9, 80e9)
"""Operations per second that a core of a CPU does in training, at least and at most: old and new vector units, fp32.

A recorded run of the demo's 135M model did 94 tokens/s on two cores, which is 38e9 for each.
"""
GPU_FLOPS = (4e12, 120e12)
"""The same for a GPU with 16-bit units, from an entry-level one to a large one, at a third of its peak."""
SHORTEST_MEAN = 50
"""Tokens of a mean row, at least, where rows were not counted in tokens."""


def active_parameters(shape: ModelShape) -> int:
    """Parameters that compute one token: of a mixture's experts only those that a token is routed to.

    An embedding is looked up, which computes nothing; where it is tied it is the output layer, too.
    """
    total = shape.weights.total - (0 if shape.tied else shape.table)
    if shape.experts and shape.experts_per_token:
        experts = 3 * shape.hidden * shape.expert_intermediate * shape.layers
        total -= experts * (shape.experts - shape.experts_per_token)
    return max(total, 0)


def operations_per_token(parameters: int, load: Workload) -> int:
    """Floating-point operations that training takes for each token.

    2 per parameter forward, 2 backward to the inputs, and 2 more to the weights where these are trained: 6 in all for
    full tuning (Kaplan et al., 2020, Scaling Laws for Neural Language Models, section 2.1). Recomputed activations are
    one more forward pass, and so is a reference.
    """
    passes = 2 if tuning_traits(load.tuning).is_adapter else 3
    passes += load.checkpointing != "off"
    passes += load.compares
    return 2 * passes * parameters


def rough_seconds(
    spec: RunSpec, load: Workload, shape: ModelShape, rows: Rows, count: int | None, cores: int
) -> tuple[float, float] | None:
    """(at least, at most) seconds of a run's steps; None if the number of rows or the model's size is unknown.

    `count` is the number of rows where `rows` does not have it. The range is that of machines, not of this one.
    """
    parameters = active_parameters(shape)
    steps = steps_taken(spec, rows.count or rows.first or count)
    if steps is None or not parameters:
        return None
    limit = spec.training.max_length
    mean = (min(rows.mean, limit),) * 2 if rows.mean is not None else (min(SHORTEST_MEAN, limit), limit)
    sequences = load.sequences / load.rows
    operations = steps * spec.training.batch_size * sequences * operations_per_token(parameters, load)
    slow, fast = GPU_FLOPS if load.is_gpu else (CPU_CORE_FLOPS[0] * cores, CPU_CORE_FLOPS[1] * cores)
    return operations * mean[0] / fast, operations * mean[1] / slow


def steps_taken(spec: RunSpec, count: int | None) -> float | None:
    """Optimizer steps of a run on so many rows, parts of a step included."""
    most = spec.training.max_steps
    if not count:
        return None
    steps = spec.training.epochs * count / spec.training.batch_size
    return min(steps, most) if most is not None else steps
