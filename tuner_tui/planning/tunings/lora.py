"""LoRA in memory: two low-rank matrices for each adapted one, and what their gradients need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner_tui.models.architectures import architecture, table
from tuner_tui.models.weight_count import is_in_tower
from tuner_tui.planning.tunings.targets import missing_targets
from tuner_tui.planning.widths import INPUTS, input_widths, mlp_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner_tui.config.tunings.lora import LoraTuning
    from tuner_tui.models.weight_count import Matrix, WeightCount
    from tuner_tui.planning.shape import ModelShape
    from tuner_tui.planning.workload import Workload

ATTENTION_TARGETS = frozenset(
    ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "query_key_value", "c_attn", "Wqkv", "out_proj")
)


def settings(tuning: LoraTuning) -> Mapping[str, Any]:
    return {
        "rank": tuning.rank,
        "targets": tuning.targets,
        "dora": tuning.dora,
        "dropout": tuning.dropout,
    }


def refusal(tuning: LoraTuning, model_type: str, modules: frozenset[str]) -> tuple[str, str] | None:
    """Targets that the model does not have, and what PEFT refuses for its type."""
    parts = frozenset(table().expert_parts.get(table().expert_types.get(model_type, ""), ()))
    if modules and not isinstance(tuning.targets, str):
        problem = missing_targets(tuning.targets, modules | parts)
        if problem is not None:
            return problem
    known = architecture(model_type)
    refused = _named(tuning.targets).intersection(known.refused if known is not None else ())
    if refused:
        named = ", ".join(sorted(refused))
        return f"LoRA does not adapt {named} of {model_type}", f"Remove {named} from tuning.targets."
    lost = lost_targets(tuning.targets, model_type)
    if lost:
        return (
            f"PEFT {table().versions['peft']} loses adapters of {lost[0]} of {model_type} when it reads them back",
            'Set tuning.targets = "attention", or name targets without '
            f"{', '.join(sorted({name.rpartition('.')[2] for name in lost}))}.",
        )
    is_unknown = modules and tuning.targets == "attention"
    if is_unknown and not (ATTENTION_TARGETS & modules).difference(
        known.refused if known is not None else ()
    ):
        return (
            f"its attention layers are unknown: {model_type} has none of {', '.join(sorted(ATTENTION_TARGETS))}",
            f'Set tuning.targets to "all-linear" or to some of its linear layers: {", ".join(sorted(modules))}.',
        )
    names = adapted_experts(tuning.targets, model_type)
    if not names:
        return None
    of_mixture = f"it is a mixture of experts ({model_type}), and"
    without = 'tuning.targets = "attention" leaves the experts out.'
    if tuning.dropout:
        return (
            f"{of_mixture} adapters on its experts cannot have dropout",
            f"Set tuning.dropout = 0, or {without}",
        )
    if tuning.dora:
        return (
            f"{of_mixture} adapters on its experts cannot be DoRA",
            f"Set tuning.dora = false, or {without}",
        )
    for fused in table().fused_parts[table().expert_types[model_type]].values():
        given = [part for part in fused if part in names]
        missing = [part for part in fused if part not in names]
        if given and missing:
            return (
                f"{of_mixture} {' and '.join(fused)} of its experts are one tensor, and only {given[0]} is named",
                f'Name {missing[0]} in tuning.targets, too, or use "all-linear".',
            )
    return None


def lost_targets(targets: str | tuple[str, ...], model_type: str) -> tuple[str, ...]:
    """The adapted layers that PEFT would lose, of `Architecture.lost`."""
    known = architecture(model_type)
    lost = known.lost if known is not None else ()
    if targets == "attention":
        return tuple(name for name in lost if name.rpartition(".")[2] in ATTENTION_TARGETS)
    return tuple(
        name for name in lost if targets == "all-linear" or name.rpartition(".")[2] in _named(targets)
    )


def _named(targets: str | tuple[str, ...]) -> frozenset[str]:
    """The last parts of the modules that targets name."""
    return frozenset() if isinstance(targets, str) else frozenset(each.rpartition(".")[2] for each in targets)


def adapted_experts(targets: str | tuple[str, ...], model_type: str) -> frozenset[str]:
    """The parts of a mixture's experts that an adapter with these targets changes; none for other models."""
    mapping = table().expert_types.get(model_type)
    if mapping is None or targets == "attention":
        return frozenset()
    parts = frozenset(table().expert_parts[mapping])
    return parts if isinstance(targets, str) else parts & _named(targets)


def is_target(matrix: Matrix, weights: WeightCount, load: Workload) -> bool:
    """Whether PEFT adapts a matrix; vision and audio towers are left out, unless named in full.

    Experts in 3-D tensors, and their router, it adapts only in the model types of its own table. There it takes the
    names of their parts for the experts alone, so that dense layers of these names get no adapter.
    """
    name = matrix.name
    if matrix.place == "tower":
        return any(is_in_tower(target) and target.rpartition(".")[2] == name for target in load.named_targets)
    is_named = load.targets == "all-linear" or name in (
        ATTENTION_TARGETS if load.targets == "attention" else _named(load.targets)
    )
    if load.stack.fused_experts:
        parts = table().expert_parts.get(weights.expert_mapping, {}) if load.targets != "attention" else {}
        is_listed = weights.has_parts_beside or bool(weights.refused_targets)
        if matrix.place == "router" and is_listed and load.targets == "all-linear":
            return False  # names of linear layers: PEFT finds no router among them
        if matrix.place in ("expert", "router"):
            return bool(parts) and (is_named or _is_fused_from(name, load.targets, weights.expert_mapping))
        if name in parts:  # a router that is a linear layer is found by its weight
            return is_named and parts[name].endswith(".weight")
    elif matrix.place == "router":
        return False
    return is_named and name not in weights.refused_targets


def _is_fused_from(name: str, targets: str | tuple[str, ...], mapping: str) -> bool:
    """Whether a tensor of all experts stands for parts that are named."""
    return any(part in _named(targets) for part in table().fused_parts[mapping].get(name, ()))


def parameters(shape: ModelShape, load: Workload) -> int:
    count = 0
    for matrix in shape.weights.matrices:
        if is_target(matrix, shape.weights, load):
            count += load.rank * _sides(matrix, load) * matrix.count
            count += matrix.outputs * matrix.count if load.dora else 0
    if load.targets != "all-linear" and load.stack.quantised_head and "head" in load.targets:
        count += load.rank * (shape.hidden + shape.vocab)
    return count


def _sides(matrix: Matrix, load: Workload) -> int:
    """Elements of a matrix's adapter per rank; one for fused gate and up matrices has twice the rank."""
    if matrix.place == "expert" and load.stack.fused_experts:
        if matrix.name == "gate_up_proj":
            return 2 * (matrix.inputs + matrix.outputs)
        if matrix.name in ("gate_proj", "up_proj", "w1", "w3"):
            return matrix.inputs + 2 * matrix.outputs
    return matrix.inputs + matrix.outputs


def largest(shape: ModelShape, load: Workload) -> int:
    sides = [
        max(each.inputs, each.outputs)
        for each in shape.weights.matrices
        if is_target(each, shape.weights, load)
    ]
    return load.rank * max(sides, default=0)


def factored(shape: ModelShape, load: Workload) -> int:
    return sum(
        (2 * load.rank + matrix.inputs + matrix.outputs) * matrix.count
        for matrix in shape.weights.matrices
        if is_target(matrix, shape.weights, load)
    )


def saved_bytes(shape: ModelShape, load: Workload) -> int:
    """Inputs of adapters: a separate copy for each if cast, else one shared by all with the same input."""
    widths = input_widths(shape)
    saved, shared = 0, set()
    is_cast = load.adapter_bytes != load.weight_bytes or load.stream_bytes != load.compute_bytes
    for matrix in shape.weights.matrices:
        if matrix.place == "tower" or not is_target(matrix, shape.weights, load):
            continue
        per_layer = matrix.count / shape.layers
        if matrix.place in ("expert", "router") and load.stack.fused_experts:
            continue  # see expert_copies
        if matrix.place == "expert":
            per_layer = per_layer * shape.experts_per_token / max(shape.experts, 1)
        element_bytes = load.compute_bytes if load.autocast else load.adapter_bytes
        source = INPUTS.get(matrix.name)
        if load.stack.fused_adapters:  # the input once, and a copy with zeros for each adapter; no masks
            if source not in shared and source != "attention output":
                saved += int(element_bytes * matrix.inputs * min(per_layer, 1))
            shared.add(source)
            saved += int(element_bytes * matrix.inputs * per_layer) if load.dropout else 0
        elif not is_cast and source in widths:
            if source not in shared and source != "attention output":
                saved += int(element_bytes * matrix.inputs * min(per_layer, 1))
            shared.add(source)
        else:
            saved += int(element_bytes * matrix.inputs * per_layer)
        saved += int(element_bytes * load.rank * per_layer)
        if load.dropout and not load.stack.fused_adapters:
            mask = 1 if load.is_gpu else load.adapter_bytes  # CPUs have no kernel with byte masks
            saved += int((mask + (0 if is_cast else element_bytes)) * matrix.inputs * per_layer)
        if load.dora:
            saved += int(2 * load.compute_bytes * matrix.outputs * per_layer)
    return saved


def keeps_mlp_product(shape: ModelShape, load: Workload) -> bool:
    return any(
        INPUTS.get(matrix.name) == "mlp output" and is_target(matrix, shape.weights, load)
        for matrix in shape.weights.matrices
    )


def casts_mlp_product(load: Workload) -> bool:
    return load.autocast and load.adapter_bytes == 4


def autocast_copies(shape: ModelShape, load: Workload, adapters: int) -> int:
    return adapters // 2 if load.autocast and load.adapter_bytes == 4 else 0


def expert_copies(shape: ModelShape, load: Workload) -> int:
    """Bytes of a layer's experts with their adapters added, which PEFT computes in full and keeps for backward.

    An adapter on a 3-D tensor of experts is not a second path for the tokens: weight + B A is computed for all experts.
    """
    if not load.stack.fused_experts or not shape.experts:
        return 0
    changed = sum(
        matrix.elements
        for matrix in shape.weights.matrices
        if matrix.place == "expert" and is_target(matrix, shape.weights, load)
    )
    return load.compute_bytes * changed // shape.layers


def moving(shape: ModelShape, load: Workload) -> int:
    """Bytes that DoRA's largest matrix needs while its norm and its result are computed (peft.tuners.lora.dora).

    PEFT multiplies an identity matrix of the input's width through the adapter to get B A, adds it to the weight in the
    type of its input, which is cast to the adapter's, and mixes the result in fp32.
    """
    if not load.dora:
        return 0
    c, a = load.compute_bytes, load.adapter_bytes
    is_cast = load.autocast and c != a
    x = a if is_cast else c
    most = 0
    for matrix in shape.weights.matrices:
        if matrix.place == "expert" or not is_target(matrix, shape.weights, load):
            continue
        weight, square = matrix.inputs * matrix.outputs, matrix.inputs * matrix.inputs
        kept_square = c * square  # for the adapter's gradient
        dequantised = 2 * weight if load.loaded_as in ("int8", "nf4", "stored") else 0
        product = kept_square + (a * square if is_cast else 0) + c * weight
        norm = kept_square + dequantised + (c + 4 * x if is_cast else 3 * x) * weight
        result = kept_square + dequantised + (2 * x if is_cast else x) * weight
        if (
            INPUTS.get(matrix.name) == "mlp output"
        ):  # the last of a layer, when everything else is already kept
            tokens = load.tokens * (x * matrix.inputs if is_cast else 0)
            result += load.tokens * (6 if is_cast else 2) * 4 * matrix.outputs
        else:
            tokens = -load.tokens * mlp_bytes(shape, load)
        most = max(most, tokens + max(product, norm, result))
    return most


def words(shape: ModelShape, load: Workload, adapter_bytes: int) -> str:
    count = adapter_bytes // load.adapter_bytes
    return f"{count:,} parameters of rank {load.rank}, {load.adapter_bytes} bytes"
